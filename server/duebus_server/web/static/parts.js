/** What several pages are made of. */

import { html } from "htm/preact";
import { createContext } from "preact";
import { useContext, useEffect, useRef, useState } from "preact/hooks";
import { FieldError, session } from "./api.js";

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

/** What is wrong with which field of a form; null while nothing is known to be. */
const Wrong = createContext(/** @type {FieldError | null} */ (null));

const IDLE = { busy: false, done: "", problem: "", wrong: /** @type {FieldError | null} */ (null), warnings: /** @type {string[]} */ ([]) };

/**
 * Asks before something is done, and shows how it went. What is wrong with a field is shown beside it.
 *
 * @param {{ title: string, action: string, danger?: boolean, children?: any, onClose: () => void,
 *   run: (form: FormData) => Promise<string | void>, consequences?: (form: FormData) => string[] }} props `run` returns
 *   what to say when it is done; nothing closes the dialog. What `consequences` returns has to be agreed to first.
 */
export function Ask({ title, action, danger, children, onClose, run, consequences = () => [] }) {
  const [state, set] = useState(IDLE);
  /** @param {SubmitEvent} event */
  const submit = async (event) => {
    event.preventDefault();
    const element = /** @type {HTMLFormElement} */ (event.target);
    const form = new FormData(element);
    try {
      const warnings = state.warnings.length ? [] : consequences(form);
      if (warnings.length) return set({ ...IDLE, warnings });
      set({ ...IDLE, busy: true });
      const done = await run(form);
      if (done) set({ ...IDLE, done });
      else onClose();
    } catch (error) {
      const input = error instanceof FieldError ? inputOf(element, error.field) : undefined;
      const wrong = input ? new FieldError(input.name, /** @type {FieldError} */ (error).problem) : null;
      set({ ...IDLE, wrong, problem: wrong ? "" : String(/** @type {Error} */ (error).message) });
      input?.focus();
    }
  };
  if (state.done) {
    return html`<${Dialog} title=${title} onClose=${onClose}>
      <p role="status">${state.done}</p>
      <div class="buttons"><button type="button" class="primary" onClick=${onClose}>Close</button></div>
    <//>`;
  }
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <form onSubmit=${submit} onInput=${() => state.warnings.length && set(IDLE)}>
      <${Wrong.Provider} value=${state.wrong}>${children}<//>
      ${state.problem && html`<p class="problem" role="alert">${state.problem}</p>`}
      ${state.warnings.length > 0 && html`<ul class="problem" role="alert">${state.warnings.map((each) => html`<li>${each}</li>`)}</ul>`}
      <div class="buttons">
        <button type="button" onClick=${onClose}>Cancel</button>
        <button class=${danger || state.warnings.length ? "danger" : "primary"} disabled=${state.busy}>${state.busy ? "Working …" : state.warnings.length ? `${action} all the same` : action}</button>
      </div>
    </form>
  <//>`;
}

/** The input of a field, or the first one of its parts. @param {HTMLFormElement} form @param {string} field */
function inputOf(form, field) {
  const inputs = /** @type {HTMLInputElement[]} */ ([...form.elements]);
  return inputs.find((each) => each.name === field || each.name.startsWith(`${field}.`));
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
  const wrong = useWrong(name);
  return html`<label class="field">
    <span>${label}</span>
    <input name=${name} defaultValue=${value} autocomplete="off" spellcheck=${false} aria-invalid=${wrong ? "true" : undefined} ...${more} />
    ${wrong ? html`<small class="bad" role="alert">${wrong}</small>` : hint && html`<small>${hint}</small>`}
  </label>`;
}

/**
 * A labelled choice of a form. `options` are values with their texts.
 *
 * @param {{ label: string, name: string, value: string, options: [string, string][] }} props
 */
export function Choice({ label, name, value, options }) {
  const wrong = useWrong(name);
  return html`<label class="field">
    <span>${label}</span>
    <select name=${name} aria-invalid=${wrong ? "true" : undefined}>${options.map(([each, text]) => html`<option value=${each} selected=${each === value}>${text}</option>`)}</select>
    ${wrong && html`<small class="bad" role="alert">${wrong}</small>`}
  </label>`;
}

/** What is wrong with a field of the form; empty if nothing is. @param {string} name */
function useWrong(name) {
  const wrong = useContext(Wrong);
  return wrong && wrong.field === name ? wrong.problem : "";
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

const NONE = /** @type {Set<string>} */ (new Set());
/** @type {Map<string, Promise<Set<string>>>} By topic, of who is signed in. */
const rightsOn = new Map();
window.addEventListener("signed-out", () => rightsOn.clear());

/** What the caller may do on a topic. @param {string} topic @returns {Set<string>} */
export function useRights(topic) {
  const [rights, set] = useState(NONE);
  useEffect(() => {
    let current = true;
    const asked = rightsOn.get(topic) ?? session(topic).then((found) => new Set(found.may));
    rightsOn.set(topic, asked);
    asked.then(
      (found) => current && set(found),
      () => rightsOn.delete(topic),
    );
    return () => {
      current = false;
    };
  }, [topic]);
  return rights;
}

const QUIET_MS = 2_000;
const QUIET_SHARE = 10;

/** Asks something again and again, with a pause in between that is the longer the longer it took. @template T */
class Asking {
  #earliest = 0;
  #timer = 0;
  #isUnderWay = false;
  #isStale = false;
  #hasEnded = false;

  /** @param {(state: { value: T | null, problem: string }) => void} answered */
  constructor(answered) {
    this.answered = answered;
  }

  /** @param {() => Promise<T>} ask */
  again(ask) {
    this.#isStale = this.#isUnderWay;
    if (this.#isUnderWay || this.#hasEnded) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#send(ask), Math.max(0, this.#earliest - Date.now()));
  }

  end() {
    this.#hasEnded = true;
    clearTimeout(this.#timer);
  }

  /** @param {() => Promise<T>} ask */
  async #send(ask) {
    const began = Date.now();
    this.#isUnderWay = true;
    const state = await ask().then(
      (value) => ({ value, problem: "" }),
      (error) => ({ value: null, problem: error.message }),
    );
    this.#isUnderWay = false;
    this.#earliest = Date.now() + Math.max(QUIET_MS, QUIET_SHARE * (Date.now() - began));
    if (!this.#hasEnded) this.answered(state);
    if (this.#isStale) this.again(ask);
  }
}

/**
 * The answer of a call, kept while it is asked again. Where only figures have changed, it is asked again after a pause, so
 * that a page that is left open costs the server little.
 *
 * @template T
 * @param {() => Promise<T>} ask
 * @param {any[]} place what it is about
 * @param {any[]} [figures] what else it depends on
 * @returns {{ value: T | null, problem: string, again: () => void }}
 */
export function useAnswer(ask, place, figures = []) {
  const [state, set] = useState({ value: /** @type {T | null} */ (null), problem: "" });
  const [turn, next] = useState(0);
  const asking = useRef(/** @type {Asking<T> | null} */ (null));
  useEffect(() => {
    const own = new Asking(set);
    asking.current = own;
    return () => own.end();
  }, [...place, turn]);
  useEffect(() => asking.current?.again(ask), [...place, ...figures, turn]);
  return { ...state, again: () => next((number) => number + 1) };
}

/**
 * A list that is fetched page by page. It is kept up to date until a second page has been fetched.
 *
 * @template T
 * @param {(token: string) => Promise<{ items: T[], next: string }>} ask fetches the page of a token; `next` is empty on
 *   the last
 * @param {any[]} place what it is about
 * @param {any[]} figures what else it depends on
 */
export function useList(ask, place, figures) {
  const about = JSON.stringify(place);
  const [kept, keep] = useState({ about, items: /** @type {T[]} */ ([]), next: "" });
  const [problem, setProblem] = useState("");
  const isFetching = useRef(false);
  const fetched = useRef("");
  const more = kept.about === about && kept.items.length > 0 ? kept : null;
  const known = useRef(figures);
  if (!more) known.current = figures;
  const first = useAnswer(() => filled(ask, ""), place, known.current);
  const next = (more ?? first.value)?.next ?? "";
  const fetchMore = async () => {
    if (isFetching.current || fetched.current === next) return;
    isFetching.current = true;
    try {
      const page = await filled(ask, next);
      fetched.current = next;
      keep({ about, items: [...(more?.items ?? []), ...page.items], next: page.next });
      setProblem("");
    } catch (error) {
      setProblem(/** @type {Error} */ (error).message);
    }
    isFetching.current = false;
  };
  return {
    items: first.value && [...first.value.items, ...(more?.items ?? [])],
    problem: first.problem || problem,
    fetchMore: next ? fetchMore : undefined,
    isKept: more !== null,
    again: () => {
      window.scrollTo(0, 0); // else the end of the list would be in view, and fetch more
      fetched.current = "";
      keep({ about: "", items: [], next: "" });
      first.again();
    },
  };
}

/** The first page from a token on that has something. @template T @param {(token: string) => Promise<{ items: T[], next: string }>} ask @param {string} token */
async function filled(ask, token) {
  let page = await ask(token);
  while (!page.items.length && page.next) page = await ask(page.next);
  return page;
}

/** @param {{ children?: any }} props */
export function Empty({ children }) {
  return html`<p class="empty">${children}</p>`;
}

/**
 * A table that scrolls by itself where it is too wide.
 *
 * @param {{ label: string, rows?: number, children?: any }} props `rows` is their number where not all are in the
 *   document; then all rows are of the same height
 */
export function Table({ label, rows, children }) {
  return html`<div class="scroll" role="region" aria-label=${label} tabindex="0">
    <table class=${rows === undefined ? "" : "even"} aria-rowcount=${rows === undefined ? undefined : rows + 1}>${children}</table>
  </div>`;
}
