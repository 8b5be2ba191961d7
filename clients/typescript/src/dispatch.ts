import { randomUUID } from "node:crypto";
import { DueBusError } from "./errors.js";
import { eventToWire, type NewEvent } from "./event.js";
import type { DispatchRequest, DispatchResponse } from "./generated/duebus/v1/event_bus.js";
import type { CallOptions } from "./retry.js";
import { type Engine, enginesToWire, list, text } from "./values.js";

/** The options of a dispatch. */
export interface DispatchOptions extends CallOptions {
  /** The engines that store the events; the server's default engine otherwise. */
  engines?: readonly Engine[] | undefined;
  /**
   * Lets the caller repeat a dispatch safely: within the dedupe window the same id, of at most 255 bytes, returns the
   * first answer and adds nothing. Otherwise each dispatch gets its own id, for the client's retries.
   */
  requestId?: string | undefined;
  /** Fail with `NO_HANDLER_FOUND` unless a subscriber of the topic is connected to some replica. */
  requireSubscriber?: boolean | undefined;
}

/** An event that the bus has stored. */
export interface Dispatched {
  eventId: string;
  /** It added nothing, because the topic holds an event with that id, or held one within its dedupe window. */
  duplicate: boolean;
}

export function dispatchRequest(topic: string, events: readonly NewEvent[], options: DispatchOptions): DispatchRequest {
  return {
    topic: text("topic", topic),
    events: list("events", events).map((event, index) => eventToWire(event, `events[${index}].`)),
    engines: enginesToWire(options.engines),
    requestId: text("request_id", options.requestId) || randomUUID(),
    requireSubscriber: options.requireSubscriber ?? false,
  };
}

/** One result for each event, in order. */
export function readDispatched(response: DispatchResponse, events: number): Dispatched[] {
  if (response.eventIds.length !== events) {
    const message = `the server answered ${response.eventIds.length} event ids for ${events} events`;
    throw new DueBusError("INTERNAL", message);
  }
  const duplicates = new Map<string, number>();
  for (const id of response.duplicateEventIds) {
    duplicates.set(id, (duplicates.get(id) ?? 0) + 1);
  }
  // Of several events with one id in a request, the first is the one that was stored.
  const dispatched = response.eventIds.toReversed().map((eventId) => {
    const left = duplicates.get(eventId) ?? 0;
    duplicates.set(eventId, left - 1);
    return { eventId, duplicate: left > 0 };
  });
  return dispatched.reverse();
}
