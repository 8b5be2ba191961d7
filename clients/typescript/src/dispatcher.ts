import { randomUUID } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import { type Connection, cancelled, type TryOptions } from "./connection.js";
import { type Dispatched, readDispatched } from "./dispatch.js";
import { DueBusError } from "./errors.js";
import { type DispatchRequest, EventBusService, type Event as WireEvent } from "./generated/duebus/v1/event_bus.js";
import { repeated } from "./retry.js";
import { MAX_TIMER_MS } from "./values.js";

// The server accepts 1000 events and 4 MiB in one call; a quarter is left for what surrounds the events.
const MAX_EVENTS = 1000;
const MAX_BYTES = 3 << 20;

/** The dispatches that may share calls: one call at a time, and those that wait for the next. */
interface Lane {
  key: string;
  waiting: Waiting[];
  /** The latest failure that a retry may cure, since a call last succeeded. */
  failure: DueBusError | undefined;
}

/** A dispatch that waits for its turn or its answer, until its time is over or its signal aborts. */
class Waiting {
  readonly request: DispatchRequest;
  readonly signal: AbortSignal | undefined;
  readonly result: Promise<Dispatched>;
  /** When it gives up, by the clock of `performance`. */
  readonly deadline: number;
  gaveUp = false;
  #resolve!: (dispatched: Dispatched) => void;
  #reject!: (error: unknown) => void;
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #abort = (): void => this.#giveUp(cancelled(this.signal as AbortSignal));

  constructor(lane: Lane, request: DispatchRequest, { timeoutMs, signal }: TryOptions) {
    this.request = request;
    this.signal = signal;
    this.deadline = performance.now() + timeoutMs;
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    if (timeoutMs <= MAX_TIMER_MS) {
      // The failure of the lane, if there is one, says more.
      const late = () => lane.failure ?? new DueBusError("DEADLINE_EXCEEDED", `no answer within ${timeoutMs} ms`);
      this.#timer = setTimeout(() => this.#giveUp(late()), timeoutMs);
    }
    signal?.addEventListener("abort", this.#abort, { once: true });
  }

  get event(): WireEvent {
    return this.request.events[0] as WireEvent;
  }

  /** What is left of its time. */
  get limits(): TryOptions {
    return { signal: this.signal, timeoutMs: Math.max(1, this.deadline - performance.now()) };
  }

  answer(dispatched: Dispatched): void {
    this.#unwatch();
    this.#resolve(dispatched);
  }

  fail(error: unknown): void {
    this.#unwatch();
    this.#reject(error);
  }

  #giveUp(error: DueBusError): void {
    this.gaveUp = true;
    this.fail(error);
  }

  #unwatch(): void {
    clearTimeout(this.#timer);
    this.signal?.removeEventListener("abort", this.#abort);
  }
}

/**
 * Dispatches single events. A lone one is sent at once. Those that arrive while a call for their topic is running share
 * the next call, which stores all or none of them.
 *
 * If that call is refused for a reason that may lie in one event, each event is sent alone, so that no caller gets the
 * error of another's event; those with the same key are sent one after the other. If some of its events were stored,
 * every caller gets the error: an event without an id that is sent again could be stored twice.
 */
export class Dispatcher {
  readonly #connection: Connection;
  /** A lane is here while one of its calls is running. */
  readonly #lanes = new Map<string, Lane>();

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** @param request has one event and at most one engine. */
  async run(request: DispatchRequest, options: TryOptions): Promise<Dispatched> {
    const key = `${request.requireSubscriber} ${request.engines} ${request.topic}`;
    const running = this.#lanes.get(key);
    if (running !== undefined) {
      return this.#wait(running, request, options);
    }
    const lane: Lane = { key, waiting: [], failure: undefined };
    this.#lanes.set(key, lane);
    try {
      return await this.#sendOne(lane, request, options);
    } finally {
      void this.#sendWaiting(lane);
    }
  }

  #wait(lane: Lane, request: DispatchRequest, options: TryOptions): Promise<Dispatched> {
    if (options.signal?.aborted) {
      throw cancelled(options.signal);
    }
    const waiting = new Waiting(lane, request, options);
    lane.waiting.push(waiting);
    return waiting.result;
  }

  /** Sends what arrived while a call was running, until nothing waits. */
  async #sendWaiting(lane: Lane): Promise<void> {
    for (let batch = nextBatch(lane); batch.length > 0; batch = nextBatch(lane)) {
      await this.#send(lane, batch);
      // Callers that just got their answers may dispatch again at once: they share the next call.
      await nextTurn();
    }
    // Nothing may come between the last look and this.
    this.#lanes.delete(lane.key);
  }

  /** One call for all of them. Each caller gets the result of its own event. */
  async #send(lane: Lane, batch: readonly Waiting[]): Promise<void> {
    try {
      const answers = await this.#call(lane, together(batch), untilLast(batch));
      for (const [index, waiting] of batch.entries()) {
        waiting.answer(answers[index] as Dispatched);
      }
    } catch (error) {
      if (mayLieInOne(error)) {
        await Promise.all(byKey(batch).map((inTurn) => this.#sendInTurn(lane, inTurn)));
        return;
      }
      for (const waiting of batch) {
        waiting.fail(error);
      }
    }
  }

  async #sendInTurn(lane: Lane, batch: readonly Waiting[]): Promise<void> {
    for (const waiting of batch) {
      if (!waiting.gaveUp) {
        await this.#sendAlone(lane, waiting);
      }
    }
  }

  async #sendAlone(lane: Lane, waiting: Waiting): Promise<void> {
    try {
      waiting.answer(await this.#sendOne(lane, waiting.request, waiting.limits));
    } catch (error) {
      waiting.fail(error);
    }
  }

  async #sendOne(lane: Lane, request: DispatchRequest, options: TryOptions): Promise<Dispatched> {
    const [dispatched] = await this.#call(lane, request, options);
    return dispatched as Dispatched;
  }

  async #call(lane: Lane, request: DispatchRequest, options: TryOptions): Promise<Dispatched[]> {
    const onFailure = (failure: DueBusError): void => {
      lane.failure = failure;
    };
    try {
      const repeat = { ...options, onFailure };
      const { response } = await repeated(this.#connection, EventBusService.dispatch, request, repeat);
      lane.failure = undefined;
      return readDispatched(response, request.events.length);
    } catch (error) {
      throw error instanceof DueBusError && error.is("DEADLINE_EXCEEDED") ? (lane.failure ?? error) : error;
    }
  }
}

/** Takes as many as fit into one call, without those whose callers have given up. */
function nextBatch(lane: Lane): Waiting[] {
  const batch: Waiting[] = [];
  let bytes = 0;
  let taken = 0;
  for (const waiting of lane.waiting) {
    if (!waiting.gaveUp) {
      bytes += sizeAtMost(waiting.event);
      if (batch.length === MAX_EVENTS || (batch.length > 0 && bytes > MAX_BYTES)) {
        break;
      }
      batch.push(waiting);
    }
    taken++;
  }
  lane.waiting.splice(0, taken);
  return batch;
}

/** Puts those with the same key together, in order, and each one without a key alone. */
function byKey(batch: readonly Waiting[]): Waiting[][] {
  const lists = new Map<string | Waiting, Waiting[]>();
  for (const waiting of batch) {
    const key = waiting.event.key || waiting;
    const list = lists.get(key) ?? [];
    list.push(waiting);
    lists.set(key, list);
  }
  return [...lists.values()];
}

/** At most how many bytes an event takes: UTF-8 needs up to three for each unit of a string. */
function sizeAtMost({ data, id, contentType, attributes, key }: WireEvent): number {
  let characters = id.length + contentType.length + key.length;
  for (const [name, value] of Object.entries(attributes)) {
    characters += name.length + value.length + 8;
  }
  return data.length + 3 * characters + 128;
}

function together(batch: readonly Waiting[]): DispatchRequest {
  const [first] = batch as [Waiting];
  return { ...first.request, events: batch.map(({ event }) => event), requestId: randomUUID() };
}

/** Until the last of their deadlines; the others stop waiting on their own. */
function untilLast(batch: readonly Waiting[]): TryOptions {
  const last = Math.max(...batch.map(({ deadline }) => deadline));
  return { timeoutMs: Math.max(1, last - performance.now()) };
}

/** Whether the error of a shared call may lie in one of its events, and nothing was stored. */
function mayLieInOne(error: unknown): boolean {
  return (
    error instanceof DueBusError &&
    error.storedEngines.length === 0 &&
    (error.is("INVALID_ARGUMENT") || error.is("MAX_QUEUED_EVENTS_REACHED"))
  );
}
