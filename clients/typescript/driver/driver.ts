import { Client, type Subscription } from "duebus";
import { adminCalls, toJson } from "./admin.js";
import { answer, type Fields, write } from "./lines.js";
import { scheduleCommands } from "./schedules.js";
import { ScriptedWorker } from "./scripted.js";
import { read, readStarted } from "./stream.js";
import { DriverError, engines, eventOf, nackOf, optional, readError, readFailures, required } from "./values.js";

type Command = (fields: Fields) => Fields | Promise<Fields>;

/** The clients, subscriptions and workers that the runner asked for, by name. */
export class Driver {
  readonly #clients = new Map<string, Client>();
  readonly #subscriptions = new Map<string, { subscription: Subscription; reading: Promise<void> }>();
  readonly #workers = new Map<string, ScriptedWorker>();
  readonly #commands: Readonly<Record<string, Command>> = {
    hello: () => ({ language: "typescript", protocol: 1 }),
    connect: (fields) => this.#connect(fields),
    close: (fields) => this.#close(fields),
    dispatch: (fields) => this.#dispatch(fields),
    ack: async (fields) => readFailures(await this.#client(fields).ack(required(fields, "lease_tokens"))),
    nack: async (fields) =>
      readFailures(await this.#client(fields).nack(required<Fields[]>(fields, "nacks").map(nackOf))),
    extend: async (fields) => {
      const leaseMs = optional<number>(fields, "lease_ms");
      return readFailures(await this.#client(fields).extend(required(fields, "lease_tokens"), leaseMs));
    },
    subscribe: (fields) => this.#subscribe(fields),
    unsubscribe: (fields) => this.#unsubscribe(fields),
    stop: (fields) => this.#stop(fields),
    is_serving: async (fields) => ({ serving: await this.#client(fields).isServing(optional(fields, "service")) }),
    admin: (fields) => this.#admin(fields),
    ...scheduleCommands((fields) => this.#client(fields).schedules),
    "worker.start": (fields) => this.#startWorker(fields),
    "worker.finish": (fields) => this.#finish(fields),
    "worker.stop": (fields) => this.#stopWorker(fields),
  };

  /** Carries out a command and answers it, with its result or its error. */
  async carryOut(fields: Fields): Promise<void> {
    try {
      const name = required<string>(fields, "command");
      const command = this.#commands[name];
      if (command === undefined) {
        throw new DriverError(`no command is called ${name}`);
      }
      answer(fields.id, await command(fields));
    } catch (error) {
      write({ id: fields.id, error: readError(error) });
    }
  }

  /** Closes everything that is open. */
  async close(): Promise<void> {
    for (const { subscription } of this.#subscriptions.values()) {
      subscription.close();
    }
    await Promise.all([...this.#workers.values()].map((each) => each.stop()));
    for (const client of this.#clients.values()) {
      client.close();
    }
  }

  #client(fields: Fields): Client {
    return named(this.#clients, required(fields, "client"));
  }

  #connect(fields: Fields): Fields {
    const tls = optional<{ ca: string }>(fields, "tls");
    const options = {
      tls,
      token: optional<string>(fields, "token"),
      timeoutMs: optional<number>(fields, "timeout_ms"),
    };
    this.#clients.set(required(fields, "client"), new Client(required(fields, "target"), options));
    return {};
  }

  #close(fields: Fields): Fields {
    this.#client(fields).close();
    return {};
  }

  async #dispatch(fields: Fields): Promise<Fields> {
    const topic = required<string>(fields, "topic");
    const events = required<Fields[]>(fields, "events").map(eventOf);
    const options = {
      engines: engines(fields),
      requestId: optional<string>(fields, "request_id"),
      requireSubscriber: optional<boolean>(fields, "require_subscriber"),
      timeoutMs: optional<number>(fields, "timeout_ms"),
    };
    const [only, ...others] = events;
    const dispatched =
      only !== undefined && others.length === 0
        ? [await this.#client(fields).dispatch(topic, only, options)]
        : await this.#client(fields).dispatchMany(topic, events, options);
    const duplicates = dispatched.filter(({ duplicate }) => duplicate);
    const ids = (some: typeof dispatched): string[] => some.map(({ eventId }) => eventId);
    return { event_ids: ids(dispatched), duplicate_event_ids: ids(duplicates) };
  }

  async #subscribe(fields: Fields): Promise<Fields> {
    const name = required<string>(fields, "subscription");
    const subscription = await this.#client(fields).subscribe(required(fields, "topic"), {
      group: optional(fields, "group"),
      ephemeral: optional(fields, "ephemeral"),
      engine: optional(fields, "engine"),
      consumer: optional(fields, "consumer"),
      maxInFlight: optional(fields, "max_in_flight"),
      maxInFlightBytes: optional(fields, "max_in_flight_bytes"),
      leaseMs: optional(fields, "lease_ms"),
      disconnectGraceMs: optional(fields, "disconnect_grace_ms"),
      heldLeaseTokens: optional(fields, "held_lease_tokens"),
      timeoutMs: optional(fields, "timeout_ms"),
    });
    // The answer must come before the frames.
    const reading = new Promise<void>((resolve) => setImmediate(() => resolve(read(name, subscription))));
    this.#subscriptions.set(name, { subscription, reading });
    return readStarted(subscription);
  }

  async #unsubscribe(fields: Fields): Promise<Fields> {
    const { subscription, reading } = named(this.#subscriptions, required(fields, "subscription"));
    subscription.close();
    await reading;
    return {};
  }

  async #stop(fields: Fields): Promise<Fields> {
    const drainTimeoutMs = optional<number>(fields, "drain_timeout_ms");
    return { engines: await this.#client(fields).stop(engines(fields), { drainTimeoutMs }) };
  }

  async #admin(fields: Fields): Promise<Fields> {
    const call = named(new Map(Object.entries(adminCalls)), required(fields, "method"));
    const request = Buffer.from(required<string>(fields, "request"), "base64");
    return { response: toJson(await call(this.#client(fields).admin, request)) };
  }

  #startWorker(fields: Fields): Fields {
    this.#workers.set(required(fields, "worker"), new ScriptedWorker(this.#client(fields), fields));
    return {};
  }

  #finish(fields: Fields): Fields {
    named(this.#workers, required(fields, "worker")).finish(required(fields, "event_id"), required(fields, "outcome"));
    return {};
  }

  async #stopWorker(fields: Fields): Promise<Fields> {
    await named(this.#workers, required(fields, "worker")).stop();
    return {};
  }
}

function named<T>(things: ReadonlyMap<string, T>, name: string): T {
  const thing = things.get(name);
  if (thing === undefined) {
    throw new DriverError(`nothing is called ${name}`);
  }
  return thing;
}
