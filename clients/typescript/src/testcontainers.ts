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
import { AbstractStartedContainer, GenericContainer, Wait } from "testcontainers";
import { type Bus, type ConnectOptions, connectBus } from "./testing.js";

const PORT = 50051;

/** A container of an image of DueBus. */
export class DueBusContainer extends GenericContainer {
  constructor(image: string) {
    super(image);
    this.withCommand(["serve", "--test-clock"])
      .withExposedPorts(PORT)
      .withWaitStrategy(Wait.forLogMessage("duebus ready on "));
  }

  override async start(): Promise<StartedDueBusContainer> {
    return new StartedDueBusContainer(await super.start());
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
