/**
 * Calls of the server. A session is a cookie that this page can't read; the header says that the page itself asks.
 *
 * @typedef {{ identity: string, open: boolean, may: string[] }} Session
 */

const PAGE = { "Duebus-Page": "1" };

/** A call that failed. */
export class CallError extends Error {
  /** @param {number} status @param {string} code @param {string} message */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** @param {Response} response @returns {Promise<any>} */
async function read(response) {
  const body = response.status === 204 ? {} : await response.json();
  if (response.ok) return body;
  if (response.status === 401) window.dispatchEvent(new Event("signed-out"));
  throw new CallError(response.status, body.code, body.message);
}

/**
 * Call an RPC, such as "EventBusAdmin/GetTopic".
 *
 * @param {string} rpc
 * @param {object} request
 * @returns {Promise<any>}
 */
export async function call(rpc, request) {
  const headers = { ...PAGE, "Content-Type": "application/json" };
  return read(await fetch(`/duebus.v1.${rpc}`, { method: "POST", headers, body: JSON.stringify(request) }));
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
