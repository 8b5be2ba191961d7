import {
  type Delivery,
  DueBusError,
  type Engine,
  type LeaseFailure,
  type Nack,
  type NewEvent,
  type Pause,
} from "duebus";
import type { Fields } from "./lines.js";

/** A command that the driver does not know, or whose arguments it can't read. */
export class DriverError extends Error {}

/** A field of a command; `null` is the same as absent. */
export function optional<T>(fields: Fields, name: string): T | undefined {
  return (fields[name] ?? undefined) as T | undefined;
}

export function required<T>(fields: Fields, name: string): T {
  const value = optional<T>(fields, name);
  if (value === undefined) {
    throw new DriverError(`${name} is missing`);
  }
  return value;
}

export function engines(fields: Fields): Engine[] {
  return optional<Engine[]>(fields, "engines") ?? [];
}

/** A time since the Unix epoch; `null` is the same as absent. */
export function moment(fields: Fields, name: string): Date | undefined {
  const ms = optional<number>(fields, name);
  return ms === undefined ? undefined : new Date(ms);
}

/** An event to dispatch. */
export function eventOf(fields: Fields): NewEvent {
  return {
    id: optional(fields, "id"),
    data: Buffer.from(optional<string>(fields, "data") ?? "", "base64"),
    contentType: optional(fields, "content_type"),
    attributes: optional(fields, "attributes"),
    delayMs: optional(fields, "delay_ms"),
    deliverAt: moment(fields, "deliver_at_ms"),
    maxRetries: optional(fields, "max_retries"),
    key: optional(fields, "key"),
    priority: optional(fields, "priority"),
  };
}

export function nackOf(fields: Fields): Nack {
  return {
    leaseToken: required(fields, "lease_token"),
    error: optional(fields, "error"),
    delayMs: optional(fields, "delay_ms"),
    deadLetter: optional(fields, "dead_letter"),
    release: optional(fields, "release"),
    pause: pauseOf(optional(fields, "pause")),
  };
}

function pauseOf(fields: Fields | undefined): Pause | undefined {
  return fields && { durationMs: required(fields, "duration_ms"), scope: required(fields, "scope") };
}

/** A delivery with all its fields. */
export function readDelivery(delivery: Delivery): Fields {
  return {
    event_id: delivery.eventId,
    data: Buffer.from(delivery.data).toString("base64"),
    content_type: delivery.contentType,
    attributes: delivery.attributes,
    key: delivery.key,
    priority: delivery.priority,
    topic: delivery.topic,
    group: delivery.group,
    lease_token: delivery.leaseToken,
    fencing_token: Number(delivery.fencingToken),
    attempt: delivery.attempt,
    deliver_at_ms: delivery.deliverAt.getTime(),
    dispatched_at_ms: delivery.dispatchedAt.getTime(),
    lease_expires_at_ms: delivery.leaseExpiresAt.getTime(),
    last_error: delivery.lastError,
  };
}

export function readFailures(failures: readonly LeaseFailure[]): Fields {
  return { failures: failures.map(({ leaseToken, reason }) => ({ lease_token: leaseToken, reason })) };
}

/** An error with all its fields. */
export function readError(error: unknown): Fields {
  if (!(error instanceof DueBusError)) {
    return { reason: "DRIVER_ERROR", message: String(error) };
  }
  return {
    reason: error.reason,
    message: error.message,
    field_violations: error.fieldViolations,
    retry_after_ms: error.retryAfterMs ?? null,
    metadata: error.metadata,
    stored_engines: error.storedEngines,
    stored_event_ids: error.storedEventIds,
  };
}
