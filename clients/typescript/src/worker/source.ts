import type { Client } from "../client.js";
import { DEFAULT_MAX_REQUEST_BYTES } from "../connection.js";
import { DueBusError, heals, inBrief } from "../errors.js";
import { type Logger, withDetails } from "../logger.js";
import { reconnectBackoff } from "../retry.js";
import { fitting } from "../settle.js";
import type { Frame, Started } from "../subscription.js";
import type { Changes } from "./changes.js";
import { LeaseClock } from "./clock.js";
import { CANCEL_GRACE_MS, Executor, type Handler } from "./executor.js";
import { Keeper } from "./keeper.js";
import { Leases } from "./leases.js";
import { Outage } from "./outage.js";
import type { WorkerSettings } from "./settings.js";
import { Settler } from "./settler.js";

/**
 * In ms. A frame in flight when the handlers are paused arrives within the first; the other bounds the wait for a
 * server that keeps sending.
 */
const QUIET_MS = 50;
const QUIET_AT_MOST_MS = 1000;

type Closing = Extract<Frame, { kind: "closing" }>;

/**
 * The events of one topic and group: a stream that is reopened whenever it ends, the executor that it feeds, and the
 * keeper of their leases.
 */
export class Source {
  readonly #client: Client;
  readonly #topic: string;
  readonly #settings: WorkerSettings;
  readonly #changes: Changes;
  readonly #logger: Logger;
  readonly #leases: Leases;
  readonly #clock: LeaseClock;
  readonly #settler: Settler;
  readonly #executor: Executor;
  readonly #keeper: Keeper;
  /** Ends settling and extending. */
  readonly #working = new AbortController();
  readonly #pauses = reconnectBackoff();
  readonly #outage = new Outage();
  #group: string | undefined;
  /** The group has limits, so that nothing is prefetched. */
  #limited = false;
  /** The open stream holds more than the handlers can begin, in a group with limits. */
  #tooWide = false;
  #stopping = false;
  #failure: unknown;
  /** Whether a stream was ever open. */
  started = false;

  constructor(client: Client, topic: string, handler: Handler, settings: WorkerSettings, changes: Changes) {
    const common = { topic, group: settings.group || (settings.ephemeral ? "ephemeral" : "default") };
    const logger = withDetails(settings.logger, common);
    const leases = new Leases(changes);
    const clock = new LeaseClock(settings.leaseMs);
    const fail = (error: unknown): void => this.#fail(error);
    const parts = { client, leases, changes, logger, fail, signal: this.#working.signal };
    this.#client = client;
    this.#topic = topic;
    this.#settings = settings;
    this.#group = settings.group;
    this.#changes = changes;
    this.#logger = logger;
    this.#leases = leases;
    this.#clock = clock;
    this.#settler = new Settler(parts);
    const confirmed = (): void => this.#executor.startWaiting();
    const doubt = (): void => this.#keeper.extendNow();
    this.#keeper = new Keeper({ ...parts, clock, leaseMs: settings.leaseMs, confirmed });
    const { concurrency, maxExecutionMs } = settings;
    const settler = this.#settler;
    const running = { handler, concurrency, maxExecutionMs };
    this.#executor = new Executor({ ...running, leases, clock, settler, changes, logger, doubt });
  }

  /** Makes `run` drain and end. */
  stop(): void {
    this.#stopping = true;
    this.#changes.notify();
  }

  /**
   * Handles events until it is stopped, and then drains: it finishes running handlers, for at most the drain timeout,
   * and gives back the rest.
   *
   * @throws DueBusError an error that no retry can cure.
   */
  async run(): Promise<void> {
    try {
      await this.#read();
    } catch (error) {
      this.#fail(error);
    }
    this.#executor.pause();
    this.#executor.release();
    this.#settler.resume();
    await this.#finish();
    this.#working.abort();
    if (this.#failure !== undefined) {
      throw this.#failure;
    }
  }

  #fail(error: unknown): void {
    if (this.#failure === undefined) {
      this.#failure = error;
      this.#logger.error("the subscription ended", {
        error: error instanceof DueBusError ? inBrief(error) : error,
      });
    }
    this.stop();
  }

  async #finish(): Promise<void> {
    if (await this.#settled(this.#settings.drainTimeoutMs)) {
      return;
    }
    this.#leases.cancelAll("stopped");
    if (!(await this.#settled(2 * CANCEL_GRACE_MS))) {
      const count = this.#leases.size;
      this.#logger.warn("stopped with unsettled leases; their events will be delivered again", { count });
    }
  }

  #settled(ms: number): Promise<boolean> {
    return this.#changes.until(() => this.#executor.idle && this.#leases.size === 0, ms);
  }

  /** Reads streams until it is stopped. */
  async #read(): Promise<void> {
    while (!this.#stopping) {
      if (this.#executor.stuck) {
        await this.#untilUsable();
      } else {
        const pause = await this.#readOne();
        await this.#changes.until(() => this.#stopping, pause);
      }
    }
  }

  /** While abandoned handlers take every slot, other workers can handle what waits here. */
  async #untilUsable(): Promise<void> {
    this.#logger.error("cancelled handlers occupy every slot; unsubscribed until one ends", {});
    this.#executor.release();
    await this.#changes.until(() => this.#stopping || !this.#executor.stuck);
  }

  /** Reads a stream until it ends; resolves to how many ms to wait before the next. */
  async #readOne(): Promise<number> {
    const closing = new AbortController();
    const reading = { ended: false };
    const watch = this.#closeInTime(reading, closing);
    try {
      return await this.#readFrames(closing.signal);
    } catch (error) {
      return closing.signal.aborted ? 0 : this.#pauseAfter(error);
    } finally {
      this.#keeper.detach();
      reading.ended = true;
      this.#changes.notify();
      await watch;
    }
  }

  async #readFrames(signal: AbortSignal): Promise<number> {
    const { ephemeral, engine, consumer, concurrency, maxInFlightBytes, leaseMs, disconnectGraceMs } = this.#settings;
    const maxInFlight = this.#limited ? concurrency : this.#settings.maxInFlight;
    const limits = { maxInFlight, maxInFlightBytes, leaseMs, disconnectGraceMs };
    const tokens = this.#leases.tokens();
    const { maxRequestBytes } = this.#client.connection;
    const heldLeaseTokens = tokens.slice(0, fitting(tokens, maxRequestBytes, Buffer.byteLength, tokens.length));
    const options = { group: this.#group, ephemeral, engine, consumer, ...limits, heldLeaseTokens, signal };
    const subscription = await this.#client.subscribe(this.#topic, options);
    this.#tooWide = subscription.started.limited && maxInFlight > concurrency;
    this.#onStarted(subscription.started);
    if (heldLeaseTokens.length < tokens.length) {
      this.#keeper.extendNow(); // leases that the stream did not name run out
    }
    for await (const frame of subscription) {
      if (frame.kind === "deliveries") {
        this.#executor.accept(frame.deliveries);
      } else if (frame.kind === "closing") {
        return this.#pauseAfterClosing(frame);
      }
    }
    return signal.aborted ? 0 : this.#pauses.next();
  }

  /** Closes a stream when the worker stops, when no slot is left to handle its events, or when it holds too many. */
  async #closeInTime(reading: { ended: boolean }, closing: AbortController): Promise<void> {
    this.#tooWide = false;
    await this.#changes.until(() => reading.ended || this.#stopping || this.#executor.stuck || this.#tooWide);
    const drained = !reading.ended && (this.#stopping || this.#tooWide);
    if (drained) {
      await this.#drainStream(reading);
    }
    closing.abort();
    if (drained && !this.#stopping) {
      this.#settler.resume();
    }
  }

  /**
   * Waits until no delivery is in flight. One that arrives after the stream is closed can't be released: it costs an
   * attempt and the disconnect grace.
   */
  async #drainStream(reading: { ended: boolean }): Promise<void> {
    if (this.#stopping) {
      this.#executor.pause();
    }
    this.#settler.hold();
    const end = performance.now() + QUIET_AT_MOST_MS;
    let moved = true;
    while (moved && !reading.ended && performance.now() < end) {
      const seen = this.#executor.arrivals;
      moved = await this.#changes.until(() => reading.ended || this.#executor.arrivals > seen, QUIET_MS);
    }
  }

  #onStarted(started: Started): void {
    this.#group = started.group || this.#group; // the server has named an ephemeral group that had no name
    const lost = this.#leases.lose(started.lostLeaseTokens);
    this.#logger.info("subscribed", { session: started.sessionId, kept: this.#leases.size, lost });
    this.#limited = started.limited;
    this.#client.connection.maxRequestBytes = started.maxRequestBytes || DEFAULT_MAX_REQUEST_BYTES;
    this.#clock.leaseMs = started.leaseMs;
    this.#keeper.attach(started.leaseMs, started.disconnectGraceMs);
    this.#settler.retryNow();
    this.#pauses.reset();
    this.#outage.over();
    this.started = true;
    this.#changes.notify();
  }

  #pauseAfterClosing({ reason, reconnectAfterMs }: Closing): number {
    if (reason === "rebalance") {
      this.#logger.debug("the server asked for a new stream, to spread them over its replicas", {});
      return 0;
    }
    // The added backoff spreads out the workers of a server that closes all its streams at once.
    const nextTryMs = reconnectAfterMs + this.#pauses.next();
    this.#logger.info("the server closed the stream", { reason, nextTryMs });
    return nextTryMs;
  }

  #pauseAfter(error: unknown): number {
    if (!heals(error)) {
      throw error;
    }
    const nextTryMs = this.#pauses.next() + (error.retryAfterMs ?? 0);
    this.#logger[this.#outage.level()]("the stream broke", { error: inBrief(error), nextTryMs });
    return nextTryMs;
  }
}
