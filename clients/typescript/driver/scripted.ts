import {
  type Client,
  DeadLetter,
  type Delivery,
  type HandlerContext,
  type PauseScope,
  RateLimited,
  Release,
  RetryAfter,
  topics,
  Worker,
} from "duebus";
import { type Fields, report } from "./lines.js";
import { DriverError, optional, readDelivery, readError, required } from "./values.js";

/** How a handler ends. */
interface Outcome {
  do:
    | "ack"
    | "fail"
    | "retry_after"
    | "rate_limited"
    | "dead_letter"
    | "release"
    | "panic"
    | "exit"
    | "unprintable"
    | "hold";
  message?: string;
  delay_ms?: number;
  scope?: PauseScope;
}

const toStandardError = (message: string, details: object): void => console.error(message, details);
const logger = {
  debug: toStandardError,
  info: toStandardError,
  warn: toStandardError,
  error: toStandardError,
};

/** What `zod` would make of `z.object({ number: z.int(), item: z.string() })`. */
const order = {
  parse(value: unknown): { number: number; item: string } {
    const { number, item } = Object(value);
    if (!Number.isInteger(number) || typeof item !== "string") {
      throw new Error("it has no number, or no item");
    }
    return { number, item };
  },
};

/** A worker of the SDK whose handler follows a script. */
export class ScriptedWorker {
  readonly #name: string;
  readonly #script: Outcome[];
  readonly #worker: Worker;
  readonly #stop = new AbortController();
  readonly #holding = new Map<string, (outcome: Outcome) => void>();
  readonly #run: Promise<void>;

  constructor(client: Client, command: Fields) {
    this.#name = required(command, "worker");
    this.#script = required(command, "script");
    this.#worker = new Worker(client, {
      group: optional(command, "group"),
      ephemeral: optional(command, "ephemeral"),
      engine: optional(command, "engine"),
      consumer: optional(command, "consumer"),
      maxInFlight: optional(command, "max_in_flight"),
      concurrency: optional(command, "concurrency"),
      leaseMs: optional(command, "lease_ms"),
      maxExecutionMs: optional(command, "max_execution_ms"),
      drainTimeoutMs: optional(command, "drain_timeout_ms"),
      logger,
    });
    const topic = required<string>(command, "topic");
    if (optional(command, "typed")) {
      const handle = (payload: object, delivery: Delivery, context: HandlerContext) =>
        this.#handle(delivery, context, { payload });
      topics({ [topic]: order }).handle(this.#worker, topic, handle);
    } else {
      this.#worker.handle(topic, (delivery, context) => this.#handle(delivery, context, {}));
    }
    this.#run = this.#runAndReport();
    void this.#announce();
  }

  /** Drains, and resolves when it has stopped. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#run;
  }

  /** Ends the handler that holds the event. */
  finish(eventId: string, outcome: Outcome): void {
    const end = this.#holding.get(eventId);
    if (end === undefined) {
      throw new DriverError(`nobody holds ${eventId}`);
    }
    this.#holding.delete(eventId);
    end(outcome);
  }

  async #runAndReport(): Promise<void> {
    // The answer to the command must come before the worker's reports.
    await Promise.resolve();
    const error = await this.#worker.run(this.#stop.signal).then(() => null, readError);
    report("stopped", { worker: this.#name, error });
  }

  async #announce(): Promise<void> {
    if (await this.#worker.ready()) {
      report("ready", { worker: this.#name });
    }
  }

  /** Not an async function, so that it can throw synchronously. */
  #handle(delivery: Delivery, { signal }: HandlerContext, fields: object): Promise<void> | undefined {
    const outcome = this.#script[Math.min(delivery.attempt, this.#script.length) - 1] ?? { do: "ack" };
    const held = outcome.do === "hold" ? this.#hold(delivery, signal) : undefined;
    report("handling", { worker: this.#name, at_ms: Date.now(), delivery: readDelivery(delivery), ...fields });
    return held === undefined ? end(outcome) : held.then(end);
  }

  #hold({ eventId, attempt }: Delivery, signal: AbortSignal): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      this.#holding.set(eventId, resolve);
      const cancelled = (): void => {
        if (this.#holding.get(eventId) === resolve) {
          this.#holding.delete(eventId);
        }
        report("cancelled", { worker: this.#name, event_id: eventId, attempt });
        reject(signal.reason);
      };
      signal.addEventListener("abort", cancelled, { once: true });
    });
  }
}

function end({ do: how, message = "", delay_ms = 0, scope }: Outcome): Promise<never> | undefined {
  switch (how) {
    case "ack":
      return;
    case "fail":
      throw new Error(message);
    case "retry_after":
      throw new RetryAfter(delay_ms, message);
    case "rate_limited":
      throw new RateLimited(delay_ms, scope, message);
    case "dead_letter":
      throw new DeadLetter(message);
    case "release":
      throw new Release();
    case "exit":
      return Promise.reject();
    case "unprintable":
      throw {
        toString: () => {
          throw new Error("the error has no text");
        },
      };
    default:
      // The worst that can be thrown: not an error, with neither a name nor a stack.
      throw Object.assign(Object.create(null), { toString: () => message });
  }
}
