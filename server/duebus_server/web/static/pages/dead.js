/** Dead letters grouped by their error; redriven and purged by it, with a preview of the number. */

import { html } from "htm/preact";
import { useEffect, useState } from "preact/hooks";
import { call, engineName } from "../api.js";
import { ago, count, counted, seconds } from "../format.js";
import { useLive } from "../live.js";
import { Ask, Field, Table } from "../parts.js";

/** @typedef {import("./group.js").Where} Where */
/** @typedef {{ error: string, number: number, last: number }} Kind */
/** @typedef {{ verb: "Redrive" | "Purge", kind: Kind | null }} Action */

const PAGE = 1_000;
const EXAMINED = 10_000;
const MAX_FILTER_BYTES = 4_096;

/** The error without its traceback, which the filter finds in it. @param {string | undefined} error */
function headline(error) {
  const line = (error ?? "").split("\n")[0];
  return new TextEncoder().encode(line).length <= MAX_FILTER_BYTES ? line : line.slice(0, MAX_FILTER_BYTES / 4);
}

/** The dead letters by error, the most frequent first, and whether there are more. @param {Where} where @param {string} key */
async function kindsOf(where, key) {
  /** @type {Map<string, Kind>} */
  const kinds = new Map();
  let pageToken = "";
  let examined = 0;
  do {
    const page = await call("EventBusAdmin/ListEvents", {
      ...where,
      engine: engineName(where.engine),
      state: "EVENT_STATE_DEAD",
      order: "ORDER_NEWEST_FIRST",
      pageSize: PAGE,
      pageToken,
      key,
    });
    for (const info of page.events ?? []) {
      const [group] = info.groups;
      const error = headline(group.lastError);
      const kind = kinds.get(error) ?? { error, number: 0, last: seconds(group.deadAt) };
      kind.number += 1;
      kinds.set(error, kind);
    }
    examined += page.events?.length ?? 0;
    pageToken = page.nextPageToken ?? "";
  } while (pageToken && examined < EXAMINED);
  const sorted = [...kinds.values()].sort((one, other) => other.number - one.number);
  return { kinds: sorted, examined, hasMore: pageToken !== "" };
}

/** @param {{ where: Where, dead: number, query: Record<string, string>, rights: Set<string> }} props */
export function DeadLetters({ where, dead, query, rights }) {
  const live = useLive();
  const { key = "" } = query;
  const [found, set] = useState(/** @type {Awaited<ReturnType<typeof kindsOf>> | null} */ (null));
  const [problem, setProblem] = useState("");
  const [action, act] = useState(/** @type {Action | null} */ (null));
  useEffect(() => {
    let current = true;
    kindsOf(where, key).then(
      (kinds) => current && set(kinds),
      (error) => current && setProblem(error.message),
    );
    return () => {
      current = false;
    };
  }, [where.engine, where.topic, where.group, key, dead]);
  if (problem) return html`<p class="problem" role="alert">${problem}</p>`;
  if (!found || !found.examined) return null;
  const now = live.now();
  const all = { error: "", number: found.hasMore && !key ? dead : found.examined, last: 0 };
  const mayAct = rights.has("admin");
  return html`<section>
    <div class="heading">
      <h2>By error${found.hasMore && html` <span class="muted">of the latest ${count(found.examined)}</span>`}</h2>
      ${mayAct && html`<div class="buttons">
        <button onClick=${() => act({ verb: "Redrive", kind: null })}>Redrive all</button>
        <button class="danger" onClick=${() => act({ verb: "Purge", kind: null })}>Purge all</button>
      </div>`}
    </div>
    <${Table} label="Dead letters by error">
      <thead><tr><th class="number">Events</th><th>Error</th><th>Last</th>${mayAct && html`<th><span class="hidden">Actions</span></th>`}</tr></thead>
      <tbody>${found.kinds.slice(0, 50).map((kind) => html`<tr key=${kind.error}>
        <td class="number bad">${count(kind.number)}</td>
        <th scope="row" class="error">${kind.error || "without an error"}</th>
        <td class="time">${ago(kind.last, now)}</td>
        ${mayAct && html`<td class="actions">${kind.error && html`
          <button aria-label=${`Redrive the events with ${kind.error}`} onClick=${() => act({ verb: "Redrive", kind })}>Redrive</button>
          <button aria-label=${`Purge the events with ${kind.error}`} class="danger" onClick=${() => act({ verb: "Purge", kind })}>Purge</button>`}</td>`}
      </tr>`)}</tbody>
    <//>
    ${action && html`<${Act} where=${where} keyOf=${key} action=${action} number=${action.kind?.number ?? all.number} isAtLeast=${found.hasMore && (action.kind !== null || key !== "")} onClose=${() => act(null)} />`}
  </section>`;
}

/** @param {{ where: Where, keyOf: string, action: Action, number: number, isAtLeast: boolean, onClose: () => void }} props */
function Act({ where, keyOf, action, number, isAtLeast, onClose }) {
  const { verb, kind } = action;
  const amount = `${isAtLeast ? "at least " : ""}${counted(number, "event")}`;
  const filter = { errorContains: kind?.error ?? "", key: keyOf };
  const which = `${kind ? ` whose error contains “${kind.error}”` : ""}${keyOf ? `${kind ? " and" : ""} of key ${keyOf}` : ""}`;
  /** @param {FormData} form */
  const run = async (form) => {
    const request = { ...where, engine: engineName(where.engine), filter };
    if (verb === "Purge") {
      const { purged = "0" } = await call("EventBusAdmin/PurgeEvents", request);
      return `${counted(Number(purged), "event")} purged.`;
    }
    const { redriven = "0" } = await call("EventBusAdmin/RedriveEvents", { ...request, rate: Number(form.get("rate")) });
    return `${counted(Number(redriven), "event")} redriven.`;
  };
  return html`<${Ask} title=${`${verb} dead letters of ${where.group}?`} danger=${verb === "Purge"} action=${`${verb} ${amount}`} onClose=${onClose} run=${run}>
    <p>${verb === "Purge" ? "This removes" : "This makes ready again, with all their retries,"} ${amount} of ${where.topic} / ${where.group}${which}.${verb === "Purge" ? " It can't be undone." : ""}</p>
    ${verb === "Redrive" && html`<${Field} label="Events a second" name="rate" type="number" min="0" max="1000000" step="any" value="0" hint="0: all at once" />`}
  <//>`;
}
