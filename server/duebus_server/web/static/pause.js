/** Asks before a group is paused or resumed. */

import { html } from "htm/preact";
import { useState } from "preact/hooks";
import { call, engineName } from "./api.js";
import { counted } from "./format.js";
import { Ask } from "./parts.js";

/** @param {{ where: import("./settings.js").Where, found: import("./live.js").Topic, onClose: () => void }} props */
export function PauseOrResume({ where, found, onClose }) {
  const { engine, topic, group } = where;
  const info = found.groups.find((each) => each.group === group);
  const [isPaused] = useState(info?.paused ?? false); // as it was when the dialog was opened
  const ready = info?.ready ?? 0;
  const verb = isPaused ? "Resume" : "Pause";
  const run = () => call(`EventBusAdmin/${verb}Group`, { engine: engineName(engine), topic, group }).then(() => {});
  return html`<${Ask} title=${`${verb} ${group}?`} action=${`${verb} ${group}`} onClose=${onClose} run=${run}>
    ${isPaused
      ? html`<p>${counted(ready, "event")} ${ready === 1 ? "is" : "are"} ready to be delivered.</p>`
      : html`<p>Nothing more is delivered to ${group} of ${topic} until it is resumed. Its events keep waiting, and what is in flight may still be acked.</p>`}
  <//>`;
}
