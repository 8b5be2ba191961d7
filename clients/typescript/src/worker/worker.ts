import type { Client } from "../client.js";
import { invalid } from "../errors.js";
import { interceptedHandler } from "../interceptor.js";
import { subscribeRequest } from "../subscription.js";
import { Changes } from "./changes.js";
import type { Handler } from "./executor.js";
import { checked, given, type WorkerOptions, type WorkerSettings } from "./settings.js";
import { Source } from "./source.js";

interface Entry {
  topic: string;
  handler: Handler;
  settings: WorkerSettings;
}

/**
 * Runs handlers on the events of topics until it is stopped.
 *
 * ```ts
 * const worker = new Worker(client, { group: "billing" });
 * worker.handle("order.created", async (delivery, { signal }) => bill(delivery.json(), signal));
 * process.once("SIGTERM", () => worker.stop());
 * await worker.run();
 * ```
 *
 * Leases are extended while handlers run. Acks and nacks go in batches. A broken stream is always reopened,
 * with the leases still held.
 */
export class Worker {
  readonly #client: Client;
  readonly #defaults: WorkerOptions;
  readonly #entries: Entry[] = [];
  readonly #changes = new Changes();
  #sources: Source[] | undefined;
  #stopping = false;
  #ended = false;

  /** @param options apply to handlers unless their own options differ. */
  constructor(client: Client, options: WorkerOptions = {}) {
    this.#client = client;
    this.#defaults = options;
  }

  /**
   * Registers a handler for a topic, before `run`. Each handler has its own subscription, in the group that its options
   * name.
   *
   * @throws DueBusError `INVALID_ARGUMENT` when an argument can't be used.
   */
  handle(topic: string, handler: Handler, options: WorkerOptions = {}): this {
    if (typeof handler !== "function") {
      throw invalid("handler", "is not a function");
    }
    if (this.#sources !== undefined) {
      throw invalid("worker", "is already running, or has run");
    }
    const settings = checked({ ...this.#defaults, ...given(options) });
    subscribeRequest(topic, settings); // checks what the worker will send
    this.#entries.push({ topic, handler, settings });
    return this;
  }

  /**
   * Handles events until the signal aborts or `stop` is called. Then it drains: running handlers are finished and their
   * events settled, for at most the drain timeout; after that their signals abort and the events are released.
   * Deliveries that were not started are released. A worker runs once.
   *
   * @throws DueBusError an error that no retry can cure, after a drain: a topic or a group that the server refuses,
   *   `NO_DISPATCHER_SPECIFIED`, `UNAUTHENTICATED`, `PERMISSION_DENIED`, `UNIMPLEMENTED`, `CLIENT_CLOSED`.
   */
  async run(signal?: AbortSignal): Promise<void> {
    if (this.#sources !== undefined) {
      throw invalid("worker", "is already running, or has run");
    }
    this.#sources = this.#entries.map(
      ({ topic, handler, settings }) =>
        new Source(
          this.#client,
          topic,
          interceptedHandler(this.#client.interceptors, handler),
          settings,
          this.#changes,
        ),
    );
    const stop = (): void => this.#stop();
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted || this.#stopping) {
      stop();
    }
    try {
      await this.#runAll(this.#sources);
    } finally {
      signal?.removeEventListener("abort", stop);
      this.#ended = true;
      this.#changes.notify();
    }
  }

  /**
   * Waits until the worker has subscribed for every handler: events dispatched from now on are handled.
   *
   * @returns false if the worker was stopped or failed before that.
   */
  async ready(): Promise<boolean> {
    await this.#changes.until(() => this.#stopping || this.#ended || this.#started());
    return this.#started();
  }

  /** Drains as `run` does when its signal aborts, and waits until it has. Not for handlers: it waits for them. */
  async stop(): Promise<void> {
    this.#stop();
    if (this.#sources !== undefined) {
      await this.#changes.until(() => this.#ended);
    }
  }

  #stop(): void {
    this.#stopping = true;
    for (const each of this.#sources ?? []) {
      each.stop();
    }
    this.#changes.notify();
  }

  #started(): boolean {
    const sources = this.#sources ?? [];
    return sources.length > 0 && sources.every((each) => each.started);
  }

  /** The end of one subscription ends all, with the error of the first that failed. */
  async #runAll(sources: readonly Source[]): Promise<void> {
    if (sources.length === 0) {
      throw invalid("worker", "has no handler");
    }
    const failures: unknown[] = [];
    const failed = (error: unknown): void => {
      failures.push(error);
      this.#stop();
    };
    await Promise.all(sources.map((each) => each.run().catch(failed)));
    if (failures.length > 0) {
      throw failures[0];
    }
  }
}
