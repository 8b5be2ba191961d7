import type { ChannelOptions, MethodDefinition } from "@grpc/grpc-js";
import { Admin } from "./admin.js";
import { Connection, type TlsOptions, type TokenProvider } from "./connection.js";
import { type Dispatched, type DispatchOptions, dispatchRequest, readDispatched } from "./dispatch.js";
import { Dispatcher } from "./dispatcher.js";
import { DueBusError } from "./errors.js";
import type { NewEvent } from "./event.js";
import { EventBusService } from "./generated/duebus/v1/event_bus.js";
import { HealthCheckResponse_ServingStatus, HealthService } from "./generated/grpc/health/v1/health.js";
import { type Interceptor, intercepted } from "./interceptor.js";
import { type CallOptions, limitsOf, repeated } from "./retry.js";
import { Schedules } from "./schedules.js";
import {
  batches,
  DONE_BY_LOST_ACK,
  DONE_BY_LOST_NACK,
  type LeaseFailure,
  type Nack,
  nackSize,
  nacksToWire,
  readFailures,
  tokensToWire,
} from "./settle.js";
import { type SubscribeOptions, type Subscription, subscribe } from "./subscription.js";
import { durationToWire, type Engine, engineFromWire, enginesToWire, list, text, timerMs } from "./values.js";

/** The settings of a client. */
export interface ClientOptions {
  /** TLS; `{}` trusts the system's authorities. Without it, connections are plaintext. */
  tls?: TlsOptions | undefined;
  /**
   * A bearer token, sent with each call, or a function that is asked for one before each call and each stream. Empty:
   * none. While it fails, calls fail with `UNAVAILABLE` and are retried, and workers reconnect. Over plaintext, anyone on the network
   * path can read the token.
   */
  token?: string | TokenProvider | undefined;
  /** How long a call may take, including retries, unless it sets its own timeout; 30 s by default. */
  timeoutMs?: number | undefined;
  /** What comes between this client and the calls of its user, the outermost first. */
  interceptors?: readonly Interceptor[] | undefined;
  /** Options of the gRPC channels, in addition to those that the client sets, or in place of them. */
  channelOptions?: ChannelOptions | undefined;
}

/** An engine that `Client.stop` has stopped. */
export interface StoppedEngine {
  engine: Engine;
  /** How many leases were released because they were not settled in time. */
  released: number;
  /** How many events the engine holds: on `local` they are lost with the process, on `redis` they stay. */
  queued: number;
}

/**
 * A client of the bus. It connects on the first call and reconnects automatically.
 *
 * A call is retried with a growing backoff while the server is unavailable, until it succeeds or its deadline passes:
 * a dispatch has a request id, so a retry adds nothing, and a lease is settled only once. `stop`,
 * `subscribe`, `isServing` and the calls of `admin` whose answer counts what they did are not retried. Every failed call
 * rejects with a `DueBusError`.
 */
export class Client implements AsyncDisposable {
  /** What an operator needs: it shows topics, groups and events, and changes and repairs them. */
  readonly admin: Admin;
  /** Rules that dispatch an event again and again. */
  readonly schedules: Schedules;
  /** @internal */
  readonly connection: Connection;
  /** @internal */
  readonly interceptors: readonly Interceptor[];
  /** The default timeout of calls. */
  readonly timeoutMs: number;
  readonly #dispatcher: Dispatcher;

  /**
   * @param target the server: `host:port`, several of them separated by commas, or any other name that gRPC resolves.
   *   Several servers are replicas that share one Redis; calls are spread over those that answer.
   * @throws DueBusError `INVALID_ARGUMENT` when the target or an option can't be used.
   */
  constructor(target: string, options: ClientOptions = {}) {
    this.timeoutMs = timerMs("timeout", options.timeoutMs ?? 30_000, 1);
    this.interceptors = [...list("interceptors", options.interceptors ?? [])];
    this.connection = new Connection(target, options, this.interceptors);
    this.#dispatcher = new Dispatcher(this.connection);
    this.admin = new Admin(this.connection, this.timeoutMs);
    this.schedules = new Schedules(this.connection, this.timeoutMs);
  }

  /**
   * Ends open calls and subscriptions and disconnects. Workers of the client end with `CLIENT_CLOSED`: stop them first.
   * Closing twice is not an error.
   */
  close(): void {
    this.connection.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  /**
   * Stores an event, to be delivered to each group of the topic, now or when it is due.
   *
   * Calls for one topic that are made while another is running share the next request to the server. One with a
   * `requestId`, or for several engines, has a request of its own.
   */
  async dispatch(topic: string, event: NewEvent, options: DispatchOptions = {}): Promise<Dispatched> {
    const mayShare = !options.requestId && (options.engines?.length ?? 0) <= 1;
    const [dispatched] = await intercepted(this.interceptors, topic, [event], async (events) =>
      mayShare ? [await this.#sendShared(topic, events, options)] : this.#send(topic, events, options),
    );
    if (dispatched === undefined) {
      throw new DueBusError("INTERNAL", "an interceptor has returned no result for the event");
    }
    return dispatched;
  }

  /**
   * Stores 1 to 1000 events, of at most 4 MiB together: all of them or none.
   *
   * @returns one result for each event, in order.
   */
  async dispatchMany(topic: string, events: readonly NewEvent[], options: DispatchOptions = {}): Promise<Dispatched[]> {
    return intercepted(this.interceptors, topic, events, (given) => this.#send(topic, given, options));
  }

  /** Opens one stream of a topic's events, and waits until it has started. */
  async subscribe(topic: string, options: SubscribeOptions = {}): Promise<Subscription> {
    return subscribe(this.connection, topic, { ...options, ...limitsOf(options, this.timeoutMs) });
  }

  /**
   * Removes delivered events from their group: they are done. A `Worker` does that automatically: this, `nack` and
   * `extend` are for programs that read a `Subscription`.
   *
   * @returns those that could not be settled; the others are.
   */
  async ack(leaseTokens: readonly string[], options: CallOptions = {}): Promise<LeaseFailure[]> {
    const failures: LeaseFailure[] = [];
    for (const batch of batches(tokensToWire(leaseTokens), this.connection.maxRequestBytes, Buffer.byteLength)) {
      const { response, again } = await this.#repeated(EventBusService.ack, { leaseTokens: batch }, options);
      failures.push(...readFailures(response.failures, again ? DONE_BY_LOST_ACK : []));
    }
    return failures;
  }

  /**
   * Gives delivered events back.
   *
   * @returns those that could not be settled; the others are.
   */
  async nack(nacks: readonly Nack[], options: CallOptions = {}): Promise<LeaseFailure[]> {
    const failures: LeaseFailure[] = [];
    for (const batch of batches(nacksToWire(nacks), this.connection.maxRequestBytes, nackSize)) {
      const { response, again } = await this.#repeated(EventBusService.nack, { nacks: batch }, options);
      failures.push(...readFailures(response.failures, again ? DONE_BY_LOST_NACK : []));
    }
    return failures;
  }

  /**
   * Renews leases: they expire `leaseMs` from now, 100 ms to 12 h; undefined: the topic's setting.
   *
   * @returns those that could not be extended; the others are.
   */
  async extend(leaseTokens: readonly string[], leaseMs?: number, options: CallOptions = {}): Promise<LeaseFailure[]> {
    const lease = durationToWire("lease", leaseMs);
    const failures: LeaseFailure[] = [];
    for (const batch of batches(tokensToWire(leaseTokens), this.connection.maxRequestBytes, Buffer.byteLength)) {
      const { response } = await this.#repeated(EventBusService.extend, { leaseTokens: batch, lease }, options);
      failures.push(...readFailures(response.failures));
    }
    return failures;
  }

  /**
   * Drains engines and stops them, all if none is named; when none is left, the server process ends. It resolves when
   * that is done, however long that takes. It is not retried, because a server that has stopped can't answer.
   *
   * @param options.drainTimeoutMs how long to wait for leases to be settled, 0 to 1 h; the server's setting otherwise.
   */
  async stop(
    engines: readonly Engine[] = [],
    options: CallOptions & { drainTimeoutMs?: number | undefined } = {},
  ): Promise<StoppedEngine[]> {
    const drainTimeout = durationToWire("drain_timeout", options.drainTimeoutMs);
    const request = { engines: enginesToWire(engines), drainTimeout };
    const limits = limitsOf(options, Number.POSITIVE_INFINITY);
    const response = await this.connection.unary(EventBusService.stop, request, limits);
    return response.engines.flatMap(({ engine, released, queued }) =>
      engineFromWire(engine).map((name) => ({ engine: name, released: Number(released), queued: Number(queued) })),
    );
  }

  /**
   * Asks the gRPC health service whether the server accepts new work: false while it drains. It is not retried.
   *
   * @param service one of the server's services, such as `duebus.v1.EventBus`; empty: the server as a whole.
   * @throws DueBusError `NOT_FOUND` when the server has no such service.
   */
  async isServing(service = "", options: CallOptions = {}): Promise<boolean> {
    const limits = limitsOf(options, this.timeoutMs);
    const request = { service: text("service", service) };
    const { status } = await this.connection.unary(HealthService.check, request, limits);
    return status === HealthCheckResponse_ServingStatus.SERVING;
  }

  async #sendShared(topic: string, events: readonly NewEvent[], options: DispatchOptions): Promise<Dispatched> {
    const request = dispatchRequest(topic, events, options);
    return this.#dispatcher.run(request, limitsOf(options, this.timeoutMs));
  }

  async #send(topic: string, events: readonly NewEvent[], options: DispatchOptions): Promise<Dispatched[]> {
    const request = dispatchRequest(topic, events, options);
    const { response } = await this.#repeated(EventBusService.dispatch, request, options);
    return readDispatched(response, events.length);
  }

  #repeated<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    options: CallOptions,
  ): Promise<{ response: Response; again: boolean }> {
    return repeated(this.connection, method, request, limitsOf(options, this.timeoutMs));
  }
}
