import type { Client } from "./client.js";
import type { Delivery } from "./delivery.js";
import type { Dispatched, DispatchOptions } from "./dispatch.js";
import { invalid } from "./errors.js";
import type { NewEvent } from "./event.js";
import type { HandlerContext } from "./worker/executor.js";
import { DeadLetter } from "./worker/outcome.js";
import type { WorkerOptions } from "./worker/settings.js";
import type { Worker } from "./worker/worker.js";

/** Checks payloads. The schemas of zod and of similar libraries are such objects. */
export interface Schema<T> {
  /** Returns the value as a `T`, or throws if it is none. */
  parse(value: unknown): T;
}

/** The schemas of payloads, by topic. */
export type Schemas = Readonly<Record<string, Schema<unknown>>>;

/** What a schema's `parse` returns. */
export type PayloadOf<S> = S extends Schema<infer T> ? T : never;

/** A handler that gets the payload as its schema returns it. */
export type TypedHandler<T> = (payload: T, delivery: Delivery, context: HandlerContext) => unknown;

/**
 * Gives topics the types of their payloads.
 *
 * ```ts
 * const orders = topics({ "order.created": z.object({ id: z.number() }) });
 * orders.handle(worker, "order.created", async (order, delivery, { signal }) => bill(order.id, signal));
 * await orders.dispatch(bus, "order.created", { id: 42 });
 * ```
 */
export function topics<S extends Schemas>(schemas: S): Topics<S> {
  return new Topics(schemas);
}

/** Topics whose payloads are JSON with a schema. */
export class Topics<S extends Schemas> {
  readonly #schemas: S;

  constructor(schemas: S) {
    this.#schemas = schemas;
  }

  /**
   * Registers a handler, as `Worker.handle` does. A payload that is not JSON, or that the schema refuses, becomes a dead
   * letter with the reason, because no retry can help; the handler is not called.
   *
   * @throws DueBusError `INVALID_ARGUMENT` when an argument can't be used.
   */
  handle<K extends keyof S & string>(
    worker: Worker,
    topic: K,
    handler: TypedHandler<PayloadOf<S[K]>>,
    options: WorkerOptions = {},
  ): this {
    const schema = this.#schema(topic);
    if (typeof handler !== "function") {
      throw invalid("handler", "is not a function");
    }
    worker.handle(topic, (delivery, context) => handler(decoded(schema, delivery), delivery, context), options);
    return this;
  }

  /**
   * Dispatches a payload as JSON, as `Client.dispatch` does. It is sent as it is given, not as the schema returns it.
   *
   * @param event has the other fields of the event, such as `id` and `delayMs`.
   * @throws DueBusError `INVALID_ARGUMENT` when the schema refuses the payload, with its error as the cause.
   */
  async dispatch<K extends keyof S & string>(
    client: Client,
    topic: K,
    payload: PayloadOf<S[K]>,
    event: Omit<NewEvent, "data" | "json"> = {},
    options: DispatchOptions = {},
  ): Promise<Dispatched> {
    const schema = this.#schema(topic);
    try {
      schema.parse(payload);
    } catch (error) {
      throw invalid("payload", `does not fit ${topic}: ${reason(error)}`, error);
    }
    return client.dispatch(topic, { ...event, json: payload }, options);
  }

  #schema<K extends keyof S & string>(topic: K): Schema<PayloadOf<S[K]>> {
    const schema = Object.hasOwn(this.#schemas, topic) ? this.#schemas[topic] : undefined;
    if (schema === undefined) {
      throw invalid("topic", `${JSON.stringify(topic)} has no schema`);
    }
    return schema as Schema<PayloadOf<S[K]>>;
  }
}

function decoded<T>(schema: Schema<T>, delivery: Delivery): T {
  try {
    return schema.parse(delivery.json());
  } catch (error) {
    throw new DeadLetter(`the payload does not fit ${delivery.topic}: ${reason(error)}`, { cause: error });
  }
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
