import type { Delivery as WireDelivery } from "./generated/duebus/v1/event_bus.js";

/** An event leased to this subscriber. The same event may be delivered more than once. */
export class Delivery {
  readonly eventId: string;
  readonly data: Uint8Array;
  readonly contentType: string;
  readonly attributes: Readonly<Record<string, string>>;
  /** What the event is in order by; empty for none. */
  readonly key: string;
  /** The event's head start in seconds. */
  readonly priority: number;
  readonly topic: string;
  readonly group: string;
  /** The token that settles this delivery, on any replica. Opaque. */
  readonly leaseToken: string;
  /**
   * Grows with every lease of the event, and of the events with its key: a write guarded by "only if greater" can't be
   * undone by a holder whose lease has run out.
   */
  readonly fencingToken: bigint;
  /** The number of the attempt, from 1. A release is not counted. */
  readonly attempt: number;
  /** When the event was due; for a retry, when the retry was due. */
  readonly deliverAt: Date;
  /** When the engine stored the event, by the engine's clock. */
  readonly dispatchedAt: Date;
  /** By the engine's clock; a worker extends leases while handlers run. */
  readonly leaseExpiresAt: Date;
  /** Why the previous attempt failed; empty on the first attempt. */
  readonly lastError: string;

  constructor(wire: WireDelivery) {
    this.eventId = wire.event?.id ?? "";
    this.data = wire.event?.data ?? new Uint8Array();
    this.contentType = wire.event?.contentType ?? "";
    this.attributes = wire.event?.attributes ?? {};
    this.key = wire.event?.key ?? "";
    this.priority = wire.event?.priority ?? 0;
    this.topic = wire.topic;
    this.group = wire.group;
    this.leaseToken = wire.leaseToken;
    this.fencingToken = wire.fencingToken;
    this.attempt = wire.attempt;
    this.deliverAt = wire.deliverAt ?? new Date(0);
    this.dispatchedAt = wire.dispatchedAt ?? new Date(0);
    this.leaseExpiresAt = wire.leaseExpiresAt ?? new Date(0);
    this.lastError = wire.lastError;
  }

  /** The payload as text. */
  text(): string {
    return new TextDecoder().decode(this.data);
  }

  /**
   * The payload decoded from JSON, regardless of its media type.
   *
   * @throws SyntaxError if it is not JSON.
   */
  json<T = unknown>(): T {
    return JSON.parse(this.text()) as T;
  }
}
