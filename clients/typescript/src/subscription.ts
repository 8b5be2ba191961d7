import type { Connection } from "./connection.js";
import { Delivery } from "./delivery.js";
import { DueBusError } from "./errors.js";
import {
  Closing_Reason as ClosingReason,
  EventBusService,
  type SubscribeRequest,
  type SubscribeResponse,
  type Started as WireStarted,
} from "./generated/duebus/v1/event_bus.js";
import {
  durationFromWire,
  durationToWire,
  type Engine,
  engineToWire,
  integer,
  list,
  MAX_TIMER_MS,
  MAX_UINT32,
  text,
} from "./values.js";

/** The options of one stream. The server chooses what is left out. */
export interface SubscribeOptions {
  /** The workers that share one copy of each event; otherwise "default", or with `ephemeral` a name of the server's. */
  group?: string | undefined;
  /** The group goes with its last stream, and gets only what is dispatched while it exists. */
  ephemeral?: boolean | undefined;
  /** The engine that holds the events; the server's default engine otherwise. */
  engine?: Engine | undefined;
  /** A name that identifies the worker in the admin views, at most 255 bytes. */
  consumer?: string | undefined;
  /** How many events may be leased to the stream at once, 1 to 100,000; 64 otherwise. */
  maxInFlight?: number | undefined;
  /** How many bytes of events may be leased to the stream at once, up to 1 GiB; 16 MiB otherwise. */
  maxInFlightBytes?: number | undefined;
  /** How long a delivery is leased, 100 ms to 12 h; the topic's setting otherwise. */
  leaseMs?: number | undefined;
  /** How long leases last after the stream breaks, 0 to 1 h; the server's setting otherwise. */
  disconnectGraceMs?: number | undefined;
  /** Leases still held from a broken stream; they move to this one. */
  heldLeaseTokens?: readonly string[] | undefined;
  /** How long the stream may take to start; the client's timeout otherwise. */
  timeoutMs?: number | undefined;
  /** Ends the stream. */
  signal?: AbortSignal | undefined;
}

/** The limits of a stream that are in force. */
export interface Started {
  /** Identifies the stream in the admin views and the server's logs. */
  sessionId: string;
  /** The group of the stream, whether the options or the server named it. */
  group: string;
  maxInFlight: number;
  maxInFlightBytes: number;
  leaseMs: number;
  disconnectGraceMs: number;
  /** The largest request that the server accepts, in bytes; 0 if it does not say. */
  maxRequestBytes: number;
  /** The `heldLeaseTokens` that are no longer held. */
  lostLeaseTokens: string[];
  /** The group has limits, so what is delivered counts at once: ask for no more than can be handled at once. */
  limited: boolean;
}

/**
 * A frame of a stream. `deliveries`: events that are due. `heartbeat`: nothing else was sent for 10 s; `backlog` events
 * of the group are ready. `closing`: the server ends the stream; the leases stay in force.
 */
export type Frame =
  | { kind: "deliveries"; deliveries: Delivery[] }
  | { kind: "heartbeat"; serverTime: Date; backlog: number }
  | {
      kind: "closing";
      reason: "draining" | "group_deleted" | "topic_deleted" | "rebalance" | "unknown";
      /** How long to wait before subscribing again. */
      reconnectAfterMs: number;
    };

/**
 * One stream of the bus, which has started: the group exists, and nothing dispatched from now on is missed. Read it
 * with `for await`; it does not reconnect. Settle what it delivers with the client. A `Worker` does all that
 * automatically.
 */
export class Subscription implements AsyncIterable<Frame>, AsyncDisposable {
  readonly started: Started;
  readonly #responses: AsyncGenerator<SubscribeResponse, void, undefined>;
  readonly #end: AbortController;

  /** @internal Use `Client.subscribe`. */
  constructor(started: Started, responses: AsyncGenerator<SubscribeResponse, void, undefined>, end: AbortController) {
    this.started = started;
    this.#responses = responses;
    this.#end = end;
  }

  /**
   * The frames, until the stream ends or is closed; leaving the loop closes it.
   *
   * @throws DueBusError when the stream breaks.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Frame, void, undefined> {
    try {
      for await (const response of this.#responses) {
        const frame = readFrame(response);
        if (frame !== undefined) {
          yield frame;
        }
      }
    } catch (error) {
      if (!this.#end.signal.aborted) {
        throw error;
      }
    }
  }

  /** Ends the stream; its leases run out after the disconnect grace. */
  close(): void {
    this.#end.abort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
}

/** Opens a stream and waits until it has started. */
export async function subscribe(
  connection: Connection,
  topic: string,
  options: SubscribeOptions & { timeoutMs: number },
): Promise<Subscription> {
  const request = subscribeRequest(topic, options);
  const end = new AbortController();
  const signal = options.signal === undefined ? end.signal : AbortSignal.any([end.signal, options.signal]);
  const responses = connection.stream(EventBusService.subscribe, request, signal);
  let late = false;
  const timer = setTimeout(
    () => {
      late = true;
      end.abort();
    },
    Math.min(options.timeoutMs, MAX_TIMER_MS),
  );
  try {
    const first = await responses.next();
    return new Subscription(expectStarted(first.done ? undefined : first.value), responses, end);
  } catch (error) {
    end.abort();
    const message = `the server did not start the subscription within ${options.timeoutMs} ms`;
    throw late ? new DueBusError("DEADLINE_EXCEEDED", message, { cause: error }) : error;
  } finally {
    clearTimeout(timer);
  }
}

export function subscribeRequest(topic: string, options: SubscribeOptions): SubscribeRequest {
  const bytes = integer("max_in_flight_bytes", options.maxInFlightBytes ?? 0, 0, Number.MAX_SAFE_INTEGER);
  return {
    topic: text("topic", topic),
    group: text("group", options.group),
    engine: engineToWire("engine", options.engine),
    consumer: text("consumer", options.consumer),
    maxInFlight: integer("max_in_flight", options.maxInFlight ?? 0, 0, MAX_UINT32),
    maxInFlightBytes: BigInt(bytes),
    lease: durationToWire("lease", options.leaseMs),
    disconnectGrace: durationToWire("disconnect_grace", options.disconnectGraceMs),
    heldLeaseTokens: list("held_lease_tokens", options.heldLeaseTokens ?? []).map((each, index) =>
      text(`held_lease_tokens[${index}]`, each),
    ),
    ephemeral: options.ephemeral ?? false,
  };
}

function expectStarted(response: SubscribeResponse | undefined): Started {
  const frame = response?.frame;
  if (frame?.$case === "started") {
    return readStarted(frame.started);
  }
  if (frame === undefined || frame.$case === "closing") {
    throw new DueBusError("UNAVAILABLE", "the server ended the subscription before it had started");
  }
  throw new DueBusError("INTERNAL", `the server began the subscription with ${frame.$case}, not with started`);
}

function readStarted(started: WireStarted): Started {
  return {
    sessionId: started.sessionId,
    group: started.group,
    maxInFlight: started.maxInFlight,
    maxInFlightBytes: Number(started.maxInFlightBytes),
    leaseMs: durationFromWire(started.lease),
    disconnectGraceMs: durationFromWire(started.disconnectGrace),
    maxRequestBytes: Number(started.maxRequestBytes),
    lostLeaseTokens: started.lostLeaseTokens,
    limited: started.limited,
  };
}

/** The frame; undefined if this client is too old to know its kind. */
function readFrame({ frame }: SubscribeResponse): Frame | undefined {
  switch (frame?.$case) {
    case "deliveries":
      return { kind: "deliveries", deliveries: frame.deliveries.deliveries.map((each) => new Delivery(each)) };
    case "heartbeat": {
      const { serverTime, backlog } = frame.heartbeat;
      return { kind: "heartbeat", serverTime: serverTime ?? new Date(0), backlog: Number(backlog) };
    }
    case "closing": {
      const { reason, reconnectAfter } = frame.closing;
      return { kind: "closing", reason: closingReason(reason), reconnectAfterMs: durationFromWire(reconnectAfter) };
    }
    default:
      return undefined;
  }
}

function closingReason(reason: ClosingReason): Extract<Frame, { kind: "closing" }>["reason"] {
  switch (reason) {
    case ClosingReason.DRAINING:
      return "draining";
    case ClosingReason.GROUP_DELETED:
      return "group_deleted";
    case ClosingReason.TOPIC_DELETED:
      return "topic_deleted";
    case ClosingReason.REBALANCE:
      return "rebalance";
    default:
      return "unknown";
  }
}
