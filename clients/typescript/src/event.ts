import { invalid } from "./errors.js";
import type { Event as WireEvent } from "./generated/duebus/v1/event_bus.js";
import { durationToWire, integer, moment, text } from "./values.js";

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

const MAX_UINT32 = 2 ** 32 - 1;
const MAX_INT32 = 2 ** 31 - 1;

/**
 * The event as a protobuf message.
 *
 * @param path is a prefix for its field names in errors, for example `events[3].`
 */
export function eventToWire(event: NewEvent, path: string): WireEvent {
  const { maxRetries } = event;
  return {
    id: text(`${path}id`, event.id),
    ...payload(event, path),
    attributes: attributes(event.attributes ?? {}, `${path}attributes`),
    due: due(event, path),
    maxRetries: maxRetries === undefined ? undefined : integer(`${path}max_retries`, maxRetries, 0, MAX_UINT32),
    key: text(`${path}key`, event.key),
    priority: integer(`${path}priority`, event.priority ?? 0, -MAX_INT32, MAX_INT32),
  };
}

function payload(event: NewEvent, path: string): { data: Buffer; contentType: string } {
  const contentType = text(`${path}content_type`, event.contentType);
  if (event.json === undefined) {
    return { data: bytes(event.data ?? "", `${path}data`), contentType };
  }
  if (event.data !== undefined) {
    throw invalid(`${path}json`, "can't be set together with data");
  }
  return { data: Buffer.from(jsonOf(event.json, `${path}json`)), contentType: contentType || "application/json" };
}

function bytes(data: Uint8Array | string, field: string): Buffer {
  if (typeof data === "string") {
    return Buffer.from(text(field, data));
  }
  if (data instanceof Uint8Array) {
    return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  }
  throw invalid(field, "is neither text nor a Uint8Array; for other values there is json");
}

function jsonOf(value: unknown, field: string): string {
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
  for (const [name, value] of Object.entries(given)) {
    text(field, name);
    text(`${field}[${JSON.stringify(name)}]`, value);
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
