/** What several pages are made of. */

import { html } from "htm/preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { session } from "./api.js";

/**
 * A dialog. It closes with Escape, and gives the focus back.
 *
 * @param {{ title: string, onClose: () => void, children?: any }} props
 */
export function Dialog({ title, onClose, children }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => dialog.current?.showModal(), []);
  return html`<dialog ref=${dialog} onClose=${onClose} aria-labelledby="dialog-title">
    <h2 id="dialog-title">${title}</h2>
    ${children}
  </dialog>`;
}

/**
 * Asks before something is done, and shows how it went.
 *
 * @param {{ title: string, action: string, danger?: boolean, children?: any, onClose: () => void,
 *   run: (form: FormData) => Promise<string | void> }} props `run` returns what to say when it is done; nothing
 *   closes the dialog
 */
export function Ask({ title, action, danger, children, onClose, run }) {
  const [state, set] = useState({ busy: false, done: "", problem: "" });
  /** @param {SubmitEvent} event */
  const submit = async (event) => {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    set({ busy: true, done: "", problem: "" });
    try {
      const done = await run(form);
      if (done) set({ busy: false, done, problem: "" });
      else onClose();
    } catch (error) {
      set({ busy: false, done: "", problem: String(/** @type {Error} */ (error).message) });
    }
  };
  if (state.done) {
    return html`<${Dialog} title=${title} onClose=${onClose}>
      <p role="status">${state.done}</p>
      <div class="buttons"><button type="button" class="primary" onClick=${onClose}>Close</button></div>
    <//>`;
  }
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <form onSubmit=${submit}>
      ${children}
      ${state.problem && html`<p class="problem" role="alert">${state.problem}</p>`}
      <div class="buttons">
        <button type="button" onClick=${onClose}>Cancel</button>
        <button class=${danger ? "danger" : "primary"} disabled=${state.busy}>${state.busy ? "Working …" : action}</button>
      </div>
    </form>
  <//>`;
}

/**
 * A value, or the last one that there was while `keep` is true: a dialog says how a deletion went when its object is gone.
 *
 * @template T
 * @param {T | undefined} value
 * @param {boolean} keep
 * @returns {T | undefined}
 */
export function useLast(value, keep) {
  const last = useRef(value);
  if (value || !keep) last.current = value;
  return last.current;
}

/**
 * A labelled input of a form. `value` is what it starts with: as the input's own `value`, it would replace what was
 * typed each time the page is drawn again.
 *
 * @param {{ label: string, name: string, value?: string | number, hint?: string, [more: string]: any }} props
 */
export function Field({ label, name, value, hint, ...more }) {
  return html`<label class="field">
    <span>${label}</span>
    <input name=${name} defaultValue=${value} autocomplete="off" spellcheck=${false} ...${more} />
    ${hint && html`<small>${hint}</small>`}
  </label>`;
}

const WIDTH = 90;
const HEIGHT = 20;

/** A line of some values, beside the number that they end with. @param {{ values: number[] }} props */
export function Sparkline({ values }) {
  const last = values.slice(-60);
  const highest = Math.max(...last, 0.001);
  const step = WIDTH / 59;
  const from = WIDTH - (last.length - 1) * step;
  const points = last.map((value, at) => `${(from + at * step).toFixed(1)},${(HEIGHT - 1 - (value / highest) * (HEIGHT - 2)).toFixed(1)}`);
  return html`<svg class="spark" width=${WIDTH} height=${HEIGHT} viewBox="0 0 ${WIDTH} ${HEIGHT}" aria-hidden="true">
    ${last.length > 1 && html`<polyline points=${points.join(" ")} />`}
  </svg>`;
}

/** What the caller may do on a topic. @param {string} topic @returns {Set<string>} */
export function useRights(topic) {
  const [rights, set] = useState(/** @type {Set<string>} */ (new Set()));
  useEffect(() => {
    let current = true;
    session(topic).then(
      (found) => current && set(new Set(found.may)),
      () => {},
    );
    return () => {
      current = false;
    };
  }, [topic]);
  return rights;
}

/**
 * The answer of a call, kept while it is asked again.
 *
 * @template T
 * @param {() => Promise<T>} ask
 * @param {any[]} changes what it depends on
 * @returns {{ value: T | null, problem: string, again: () => void }}
 */
export function useAnswer(ask, changes) {
  const [state, set] = useState({ value: /** @type {T | null} */ (null), problem: "" });
  const [turn, next] = useState(0);
  useEffect(() => {
    let current = true;
    ask().then(
      (value) => current && set({ value, problem: "" }),
      (error) => current && set({ value: null, problem: error.message }),
    );
    return () => {
      current = false;
    };
  }, [...changes, turn]);
  return { ...state, again: () => next((number) => number + 1) };
}

/** @param {{ children?: any }} props */
export function Empty({ children }) {
  return html`<p class="empty">${children}</p>`;
}

/** A table that scrolls by itself where it is too wide. @param {{ label: string, children?: any }} props */
export function Table({ label, children }) {
  return html`<div class="scroll" role="region" aria-label=${label} tabindex="0"><table>${children}</table></div>`;
}
