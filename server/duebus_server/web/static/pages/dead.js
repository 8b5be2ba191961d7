/** Dead letters grouped by their error; redriven and purged by a filter, with their number before, and progress. */

import { html } from "htm/preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { call, engineName } from "../api.js";
import { ago, count, counted, seconds, span } from "../format.js";
import { useLive } from "../live.js";
import { countDead, moveDead } from "../moving.js";
import { Dialog, Field, Table, useAnswer } from "../parts.js";
import { change } from "../route.js";

/** @typedef {import("../settings.js").Where} Where */
/** @typedef {{ error: string, number: number, last: number }} Kind */
/** @typedef {{ verb: "Redrive" | "Purge", error: string }} Action */
/**
 * How far it has come: it counts, waits to be agreed to, moves, and is done or stopped.
 *
 * @typedef {{ step: "asks" | "counted" | "moves" | "done", counted: import("../moving.js").Counted | null, moved: number, problem: string }} State
 */

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
  const { key = "" } = query;
  const [action, act] = useState(/** @type {Action | null} */ (null));
  const answer = useAnswer(() => kindsOf(where, key), [where.engine, where.topic, where.group, key], [dead]);
  /** @param {Action} chosen */
  const open = (chosen) => {
    change({ show: "dead" }); // else the page shows another state once none is dead
    act(chosen);
  };
  const close = () => {
    act(null);
    answer.again();
  };
  return html`<section>
    ${answer.problem && html`<p class="problem" role="alert">${answer.problem}</p>`}
    ${answer.value && answer.value.examined > 0 && html`<${ByError} found=${answer.value} mayAct=${rights.has("admin")} open=${open} />`}
    ${action && html`<${Act} where=${where} keyOf=${key} action=${action} dead=${dead} onClose=${close} />`}
  </section>`;
}

/** @param {{ found: Awaited<ReturnType<typeof kindsOf>>, mayAct: boolean, open: (action: Action) => void }} props */
function ByError({ found, mayAct, open }) {
  const now = useLive().now();
  return html`
    <div class="heading">
      <h2>By error${found.hasMore && html` <span class="muted">of the latest ${count(found.examined)}</span>`}</h2>
      ${mayAct && html`<div class="buttons">
        <button onClick=${() => open({ verb: "Redrive", error: "" })}>Redrive all</button>
        <button class="danger" onClick=${() => open({ verb: "Purge", error: "" })}>Purge all</button>
      </div>`}
    </div>
    <${Table} label="Dead letters by error">
      <thead><tr><th class="number">Events</th><th>Error</th><th class="wide">Last</th>${mayAct && html`<th><span class="hidden">Actions</span></th>`}</tr></thead>
      <tbody>${found.kinds.slice(0, 50).map((kind) => html`<tr key=${kind.error}>
        <td class="number bad">${count(kind.number)}</td>
        <th scope="row" class="error">${kind.error || "without an error"}</th>
        <td class="time wide">${ago(kind.last, now)}</td>
        ${mayAct && html`<td class="actions">${kind.error && html`
          <button aria-label=${`Redrive the events with ${kind.error}`} onClick=${() => open({ verb: "Redrive", error: kind.error })}>Redrive</button>
          <button aria-label=${`Purge the events with ${kind.error}`} class="danger" onClick=${() => open({ verb: "Purge", error: kind.error })}>Purge</button>`}</td>`}
      </tr>`)}</tbody>
    <//>`;
}

const IDLE = /** @type {State} */ ({ step: "asks", counted: null, moved: 0, problem: "" });

/**
 * Selects dead letters, says how many they are, and moves them.
 *
 * @param {{ where: Where, keyOf: string, action: Action, dead: number, onClose: () => void }} props
 */
function Act({ where, keyOf, action, dead, onClose }) {
  const { verb } = action;
  const live = useLive();
  const [filter, choose] = useState({ error: action.error, key: keyOf, age: 0 });
  const [rate, setRate] = useState(0);
  const [state, set] = useState(IDLE);
  const stop = useRef(new AbortController());
  /** @param {Partial<State>} changes */
  const update = (changes) => set((before) => ({ ...before, ...changes }));
  useEffect(() => {
    const own = new AbortController();
    stop.current = own;
    update(IDLE);
    countDead(where, filter, live.now(), own.signal, (counted) => update({ counted })).then(
      () => update({ step: "counted" }),
      (error) => own.signal.aborted || update({ step: "counted", problem: error.message }),
    );
    return () => own.abort();
  }, [filter.error, filter.key, filter.age]);
  useEffect(() => () => stop.current.abort(), []);
  /** @param {SubmitEvent} event */
  const submit = async (event) => {
    event.preventDefault();
    const own = new AbortController();
    stop.current = own;
    update({ step: "moves" });
    try {
      await moveDead(verb, where, filter, rate, live.now(), own.signal, (moved) => update({ moved }));
      update({ step: "done" });
    } catch (error) {
      update({ step: "done", problem: own.signal.aborted ? "" : /** @type {Error} */ (error).message });
    }
  };
  const title = `${verb} dead letters of ${where.group}${state.step === "asks" || state.step === "counted" ? "?" : ""}`;
  if (state.step === "moves" || state.step === "done") {
    return html`<${Dialog} title=${title} onClose=${onClose}>
      <${Progress} verb=${verb} state=${state} rate=${rate} isStopped=${stop.current.signal.aborted} />
      <div class="buttons">
        ${state.step === "moves" && html`<button type="button" class="danger" onClick=${() => stop.current.abort()}>Stop</button>`}
        ${state.step === "done" && html`<button type="button" class="primary" onClick=${onClose}>Close</button>`}
      </div>
    <//>`;
  }
  const matching = state.counted?.matching ?? 0;
  const amount = counted(matching, "event");
  const isCounted = state.step === "counted";
  /** @param {string} name @param {(text: string) => any} read */
  const choosing = (name, read) => ({ onChange: (/** @type {any} */ event) => choose({ ...filter, [name]: read(event.target.value) }) });
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <form onSubmit=${submit}>
      <fieldset>
        <legend>Which</legend>
        <${Field} label="Error has" name="error" value=${filter.error} placeholder="any" ...${choosing("error", String)} />
        <${Field} label="Key" name="key" value=${filter.key} placeholder="any" ...${choosing("key", String)} />
        <${Field} label="Dead for at least, s" name="age" type="number" min="0" step="any" value="0" ...${choosing("age", Number)} />
      </fieldset>
      <p role="status">${isCounted ? "" : "Counting: "}${count(matching)} of ${counted(Math.max(dead, state.counted?.examined ?? 0), "dead letter")} ${matching === 1 ? "matches" : "match"}.</p>
      ${verb === "Redrive" && html`<${Field} label="Events a second" name="rate" type="number" min="0" max="1000000" step="any" value="0" hint="0: all at once" onInput=${(/** @type {any} */ event) => setRate(Number(event.target.value))} />`}
      <p>${verb === "Purge" ? `This removes ${amount} of ${where.topic} / ${where.group}. It can't be undone.` : `This makes ${amount} of ${where.topic} / ${where.group} ready again, with all their retries.`}</p>
      ${rate > 0 && html`<p class="muted">This takes ${span(matching / rate)}, and goes on while this dialog is open.</p>`}
      ${state.problem && html`<p class="problem" role="alert">${state.problem}</p>`}
      <div class="buttons">
        <button type="button" onClick=${onClose}>Cancel</button>
        <button class=${verb === "Purge" ? "danger" : "primary"} disabled=${!isCounted || !matching || state.problem !== ""}>${verb} ${amount}</button>
      </div>
    </form>
  <//>`;
}

/** @param {{ verb: Action["verb"], state: State, rate: number, isStopped: boolean }} props */
function Progress({ verb, state, rate, isStopped }) {
  const { moved, step, problem } = state;
  const done = `${counted(moved, "event")} ${verb === "Purge" ? "purged" : "redriven"}`;
  const total = Math.max(moved, state.counted?.matching ?? 0);
  if (step === "done" && !problem && !isStopped) return html`<p role="status">${done}.</p>`;
  const left = total - moved;
  return html`
    <progress max=${total} value=${moved} aria-label=${`${verb} dead letters`}></progress>
    <p role="status">${done} of ${count(total)}${step === "moves" ? (rate ? `, ${span(left / rate)} to go` : "") : `: stopped. ${counted(left, "dead letter")} ${left === 1 ? "is" : "are"} left`}.</p>
    ${problem && html`<p class="problem" role="alert">${problem}</p>`}`;
}
