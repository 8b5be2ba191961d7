/**
 * Calls of the server. A session is a cookie that this page can't read; the header says that the page itself asks.
 *
 * @typedef {{ identity: string, open: boolean, may: string[] }} Session
 */

const PAGE = { "Duebus-Page": "1" };

/** A field with a value that can't be: its path in the request, such as "config.lease", and what is wrong with it. */
export class FieldError extends Error {
  /** @param {string} field @param {string} problem */
  constructor(field, problem) {
    super(`${field}: ${problem}`);
    this.field = field;
    this.problem = problem;
  }
}

/** The error of a call that failed. @param {any} body */
function errorOf(body) {
  /** @type {any[]} */
  const details = body.details ?? [];
  const [violation] = details.flatMap((each) => each.debug?.fieldViolations ?? []);
  if (!violation) return new Error(body.message);
  const field = violation.field.replace(/[A-Z]/g, (/** @type {string} */ each) => `_${each.toLowerCase()}`);
  return new FieldError(field, violation.description);
}

/** @param {Response} response @returns {Promise<any>} */
async function read(response) {
  const body = response.status === 204 ? {} : await response.json();
  if (response.ok) return body;
  if (response.status === 401) window.dispatchEvent(new Event("signed-out"));
  throw errorOf(body);
}

/**
 * Call an RPC, such as "EventBusAdmin/GetTopic".
 *
 * @param {string} rpc
 * @param {object} request
 * @param {AbortSignal} [signal] gives up
 * @returns {Promise<any>}
 */
export async function call(rpc, request, signal) {
  const headers = { ...PAGE, "Content-Type": "application/json" };
  return read(await fetch(`/duebus.v1.${rpc}`, { method: "POST", headers, body: JSON.stringify(request), signal }));
}

/** Who uses the page, and what they may do on a topic, or on all. @param {string} [topic] @returns {Promise<Session>} */
export async function session(topic) {
  return read(await fetch(topic ? `/session?topic=${encodeURIComponent(topic)}` : "/session"));
}

/** Sign in with a token. @param {string} token @returns {Promise<Session>} */
export async function signIn(token) {
  return read(await fetch("/session", { method: "POST", headers: PAGE, body: token }));
}

/** Sign out. */
export async function signOut() {
  await read(await fetch("/session", { method: "DELETE", headers: PAGE }));
}

/** The engine as the contract names it. @param {string} engine */
export function engineName(engine) {
  return `ENGINE_${engine.toUpperCase()}`;
}

/**
 * Who serves an engine, and the state of what it stores events in; `problem` in place of all that if it can't be read.
 * Times are in seconds, sizes in bytes.
 *
 * @typedef {{ name: string, place: string, version: string, since: number | null, streams: number | null,
 *   layout: number | null, isThis: boolean }} ReplicaInfo
 * @typedef {{ address: string, version: string, role: string, replicas: number, uptime: number, memory: number,
 *   maxMemory: number, policy: string, appends: boolean, saved: number, unsaved: number }} RedisInfo
 * @typedef {{ path: string, fsync: string, segments: number, size: number, live: number, oldest: number,
 *   synced: number | null, unsynced: number, space: string }} JournalInfo
 * @typedef {{ engine: string, problem: string, layout: number, replicas: ReplicaInfo[], redis: RedisInfo[],
 *   journal: JournalInfo | null }} EngineInfo
 */

/** The engines of this server. @returns {Promise<EngineInfo[]>} */
export async function engines() {
  return read(await fetch("/engines"));
}

/**
 * What an operator did. `at` is in seconds; `identity` is empty where callers need no credentials.
 *
 * @typedef {{ engine: string, at: number, identity: string, peer: string, verb: string, topic: string, group: string,
 *   subject: string, outcome: string }} Action
 */

/** The actions that the caller may see, the latest first. @returns {Promise<Action[]>} */
export async function actions() {
  return read(await fetch("/actions"));
}
