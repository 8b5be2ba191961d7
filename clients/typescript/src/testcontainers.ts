/**
 * The image of DueBus for tests, in memory, with a clock that the test moves. It needs a Docker engine, and the package
 * `testcontainers`.
 *
 * ```ts
 * const container = await new DueBusContainer(image).start();
 * const bus = container.bus();
 * ```
 *
 * @module
 */
import type { Readable } from "node:stream";
import { finished } from "node:stream/promises";
import { AbstractStartedContainer, GenericContainer, Wait } from "testcontainers";
import { type Bus, type ConnectOptions, connectBus } from "./testing.js";

const PORT = 50051;
/** How long the log of a container that has failed may take, in milliseconds. */
const LOG_TIMEOUT_MS = 5_000;

/** A container of an image of DueBus. */
export class DueBusContainer extends GenericContainer {
  constructor(image: string) {
    super(image);
    this.withCommand(["serve", "--test-clock"])
      .withExposedPorts(PORT)
      .withWaitStrategy(Wait.forLogMessage("duebus ready on "));
  }

  /** Starts it, and resolves when it serves. If it does not, what it printed is in the error. */
  override async start(): Promise<StartedDueBusContainer> {
    const consumer = this.logConsumer;
    const printed: string[] = [];
    const print = (text: string) => printed.push(text);
    let log: Readable | undefined;
    this.logConsumer = (stream) => {
      log = stream.on("data", print);
      return consumer?.(stream);
    };
    try {
      return new StartedDueBusContainer(await super.start());
    } catch (error) {
      if (!log) throw error;
      await finished(log, { signal: AbortSignal.timeout(LOG_TIMEOUT_MS) }).catch(() => {});
      throw new Error(`${error}\n${printed.join("")}`, { cause: error });
    } finally {
      log?.off("data", print);
      if (consumer) this.logConsumer = consumer;
      else delete this.logConsumer;
    }
  }
}

/** A container that serves, until its `stop`. */
export class StartedDueBusContainer extends AbstractStartedContainer {
  /** Where it listens, `host:port`, for clients and workers. */
  get address(): string {
    return `${this.getHost()}:${this.getMappedPort(PORT)}`;
  }

  /** Connects to it. Each bus has a client of its own, and stopping it leaves the container running. */
  bus(options: ConnectOptions = {}): Bus {
    return connectBus(this.address, options);
  }
}
