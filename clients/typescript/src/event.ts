import { types } from "node:util";
import { invalid } from "./errors.js";
import type { Event as WireEvent } from "./generated/duebus/v1/event_bus.js";
import { durationToWire, integer, MAX_UINT32, moment, shown, text } from "./values.js";

/** An event to dispatch. The server chooses what is left out. */
export interface NewEvent {
  /**
   * Unique within the topic, at most 255 bytes of printable text. An event whose id the topic holds, or held within its
   * dedupe window, adds nothing. Left out: the server makes a UUIDv7.
   */
  id?: string | undefined;
  /** The payload, at most 1 MiB, opaque to the bus; text is sent as UTF-8. */
  data?: Uint8Array | string | undefined;
  /** Instead of `data`: a value to send as JSON, with the content type `application/json`. */
  json?: unknown;
  /** The media type of `data`, at most 255 bytes. */
  contentType?: string | undefined;
  /** For handlers, at most 64 KiB of names and values together. */
  attributes?: Readonly<Record<string, string>> | undefined;
  /** How long after it was stored the event is due, up to 10 years. */
  delayMs?: number | undefined;
  /** When the event is due, instead of `delayMs`; a past time means now. */
  deliverAt?: Date | undefined;
  /** How many times the event is retried before it is dead; left out: by the topic's retry policy. */
  maxRetries?: number | undefined;
  /**
   * What the event is in order by, for example an order's number: at most 255 bytes of printable text. A group gets the
   * events of a key one at a time, in the order in which they are due. Left out: in no order.
   */
  key?: string | undefined;
  /**
   * A head start in seconds, -86,400 to 86,400: of the events of a group that are due, one of priority p is delivered as
   * if it had been due p seconds earlier. It is never early, and does not overtake events with its key.
   */
  priority?: number | undefined;
}

const FIELDS: Readonly<Record<keyof NewEvent, true>> = {
  id: true,
  data: true,
  json: true,
  contentType: true,
  attributes: true,
  delayMs: true,
  deliverAt: true,
  maxRetries: true,
  key: true,
  priority: true,
};
const MAX_INT32 = 2 ** 31 - 1;

/**
 * The event as a protobuf message.
 *
 * @param path is a prefix for its field names in errors, for example `events[3].`
 */
export function eventToWire(event: NewEvent, path: string): WireEvent {
  refuseOthers(event, path);
  const { maxRetries } = event;
  return {
    id: text(`${path}id`, event.id),
    ...payload(event, path),
    attributes: attributes(event.attributes === undefined ? {} : event.attributes, `${path}attributes`),
    due: due(event, path),
    maxRetries: maxRetries === undefined ? undefined : integer(`${path}max_retries`, maxRetries, 0, MAX_UINT32),
    key: text(`${path}key`, event.key),
    priority: integer(`${path}priority`, event.priority ?? 0, -MAX_INT32, MAX_INT32),
  };
}

/** A payload in place of an event would be dispatched as an event without one: to TypeScript, its type may fit. */
function refuseOthers(event: NewEvent, path: string): void {
  if (typeof event !== "object" || event === null || Symbol.iterator in event || types.isPromise(event)) {
    throw invalid(path.slice(0, -1), `is not an event: ${shown(event)}`);
  }
  const other = Object.keys(event).find((name) => !Object.hasOwn(FIELDS, name));
  if (other !== undefined) {
    throw invalid(`${path}${other}`, "is not a field of an event; its payload is data, or json");
  }
}

function payload(event: NewEvent, path: string): { data: Buffer; contentType: string } {
  const contentType = text(`${path}content_type`, event.contentType);
  if (event.data !== undefined && event.json !== undefined) {
    throw invalid(`${path}json`, "can't be set together with data");
  }
  if (event.data !== undefined || !("json" in event)) {
    return { data: bytes(event.data === undefined ? "" : event.data, `${path}data`), contentType };
  }
  return { data: Buffer.from(jsonOf(event.json, `${path}json`)), contentType: contentType || "application/json" };
}

function bytes(data: Uint8Array | string, field: string): Buffer {
  if (typeof data === "string") {
    return Buffer.from(text(field, data));
  }
  if (types.isUint8Array(data)) {
    return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  }
  throw invalid(field, `is neither text nor a Uint8Array: ${shown(data)}; for other values there is json`);
}

function jsonOf(value: unknown, field: string): string {
  if (types.isPromise(value)) {
    throw invalid(field, "is a promise, which JSON has no form for; await it");
  }
  let encoded: string | undefined;
  try {
    encoded = JSON.stringify(value);
  } catch (error) {
    throw invalid(field, `can't be encoded: ${String(error)}`, error);
  }
  if (encoded === undefined) {
    throw invalid(field, `can't be encoded: JSON has no ${typeof value}`);
  }
  return encoded;
}

function attributes(given: Readonly<Record<string, string>>, field: string): Record<string, string> {
  if (typeof given !== "object" || given === null || Symbol.iterator in given) {
    throw invalid(field, `is not an object of names and values: ${shown(given)}`);
  }
  for (const [name, value] of Object.entries(given)) {
    const own = `${field}[${JSON.stringify(name)}]`;
    if (text(own, value) !== value) {
      throw invalid(own, "is undefined");
    }
    text(field, name);
  }
  return { ...given };
}

function due(event: NewEvent, path: string): WireEvent["due"] {
  const delay = durationToWire(`${path}delay`, event.delayMs);
  const deliverAt = moment(`${path}deliver_at`, event.deliverAt);
  if (deliverAt === undefined) {
    return delay && { $case: "delay", delay };
  }
  if (delay !== undefined) {
    throw invalid(`${path}delay`, "can't be set together with deliver_at");
  }
  // Anything in the past means at once; a time before 1970 would only be harder to express.
  return { $case: "deliverAt", deliverAt: new Date(Math.max(0, deliverAt.getTime())) };
}
