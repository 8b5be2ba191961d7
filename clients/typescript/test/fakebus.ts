import { once } from "node:events";
import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceError,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";
import {
  type EventBusAdminServer,
  EventBusAdminService,
  type GetTopicRequest,
  GetTopicResponse,
  type ListTopicsRequest,
  ListTopicsResponse,
  type PurgeEventsRequest,
} from "../src/generated/duebus/v1/admin.js";
import {
  type AckRequest,
  Closing_Reason,
  Delivery,
  type DispatchRequest,
  type EventBusServer,
  EventBusService,
  type ExtendRequest,
  type LeaseFailure,
  LeaseFailure_Reason,
  type NackRequest,
  type SubscribeRequest,
  SubscribeResponse,
} from "../src/generated/duebus/v1/event_bus.js";
import {
  type DeleteScheduleRequest,
  type EventBusSchedulesServer,
  EventBusSchedulesService,
  type ListSchedulesRequest,
  ListSchedulesResponse,
  type PutScheduleRequest,
  PutScheduleResponse,
  type TriggerScheduleRequest,
} from "../src/generated/duebus/v1/schedules.js";
import { ErrorInfo, RetryInfo } from "../src/generated/google/rpc/error_details.js";
import { Status } from "../src/generated/google/rpc/status.js";
import { Changes } from "../src/worker/changes.js";

type Stream = ServerWritableStream<SubscribeRequest, SubscribeResponse>;

/** The timeout of each wait for something that must come. */
const WAIT_TIMEOUT_MS = 30_000;

/** A gRPC error in the server's form. */
export function failure(
  code: status,
  reason: string,
  message = "as the test wants it",
  retryAfterMs?: number,
): ServiceError {
  const info = ErrorInfo.encode({ reason, domain: "duebus", metadata: { topic: "t" } }).finish();
  const details = [{ typeUrl: "type.googleapis.com/google.rpc.ErrorInfo", value: Buffer.from(info) }];
  if (retryAfterMs !== undefined) {
    const value = Buffer.from(RetryInfo.encode({ retryDelay: duration(retryAfterMs) }).finish());
    details.push({ typeUrl: "type.googleapis.com/google.rpc.RetryInfo", value });
  }
  const metadata = new Metadata();
  metadata.set("grpc-status-details-bin", Buffer.from(Status.encode({ code, message, details }).finish()));
  return Object.assign(new Error(message), { code, details: message, metadata });
}

/** A server without a bus: it records requests, and answers as a test sets. */
export class FakeBus {
  readonly dispatches: DispatchRequest[] = [];
  readonly subscribes: SubscribeRequest[] = [];
  readonly streams: Stream[] = [];
  readonly acks: string[][] = [];
  readonly nacks: NackRequest["nacks"][] = [];
  readonly extended: string[][] = [];
  readonly topics: GetTopicRequest[] = [];
  readonly topicPages: ListTopicsRequest[] = [];
  readonly purges: PurgeEventsRequest[] = [];
  readonly schedules: PutScheduleRequest[] = [];
  readonly schedulePages: ListSchedulesRequest[] = [];
  readonly triggers: TriggerScheduleRequest[] = [];
  readonly deletions: DeleteScheduleRequest[] = [];
  readonly tokens: string[] = [];
  readonly traceparents: string[] = [];
  /** Thrown instead of the answer to the next calls; one each. */
  readonly failures: ServiceError[] = [];
  /** What the next settle or extension answers. */
  leaseFailures: LeaseFailure[] = [];
  /** No ack has an effect. */
  engineStopped = false;
  /** Lease tokens that can no longer be extended. */
  readonly expired = new Set<string>();
  leaseMs = 30_000;
  graceMs = 1_000;
  lost: string[] = [];
  limited = false;
  maxRequestBytes = 0n;
  /** Holds back the answers to acks. */
  acksHeld = false;
  /** Streams of this topic do not start before `refuse` ends them with an error. */
  refusedTopic = "";
  /** Holds back the answers to dispatches. */
  dispatchesHeld = false;
  #refused: Stream | undefined;
  readonly #changes: Changes;
  readonly #server = new Server();
  /** The port that it listens on. */
  port = 0;

  /** @param changes the same of two servers: a test that waits at one sees what comes to the other. */
  constructor(changes = new Changes()) {
    this.#changes = changes;
  }

  get target(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** @param address another loopback address, so that two servers can have one port, as behind a name. */
  async start(address = "127.0.0.1", port = 0): Promise<this> {
    const implementation: Partial<EventBusServer> = {
      dispatch: this.#answer(this.dispatches, ({ events }) => ({
        eventIds: events.map(({ id }, index) => id || `id-${index}`),
        duplicateEventIds: [],
      })),
      subscribe: (stream) => this.#subscribe(stream),
      ack: this.#answer(
        this.acks,
        ({ leaseTokens }) => (this.engineStopped ? stopped(leaseTokens) : this.#takeFailures()),
        ({ leaseTokens }: AckRequest) => leaseTokens,
      ),
      nack: this.#answer(
        this.nacks,
        () => this.#takeFailures(),
        ({ nacks }: NackRequest) => nacks,
      ),
      extend: this.#answer(
        this.extended,
        ({ leaseTokens }) => ({ failures: [...this.#takeFailures().failures, ...this.#expired(leaseTokens)] }),
        ({ leaseTokens }: ExtendRequest) => leaseTokens,
      ),
    };
    this.#server.addService(EventBusService, implementation as EventBusServer);
    const getTopic = this.#answer(this.topics, ({ topic }: GetTopicRequest) =>
      GetTopicResponse.fromPartial({ topic: { topic } }),
    );
    const listTopics = this.#answer(this.topicPages, ({ pageToken }: ListTopicsRequest) =>
      ListTopicsResponse.fromPartial(
        pageToken === "" ? { topics: [{ topic: "a" }], nextPageToken: "2" } : { topics: [{ topic: "b" }] },
      ),
    );
    this.#server.addService(EventBusAdminService, {
      getTopic,
      listTopics,
      purgeEvents: this.#answer(this.purges, () => ({ purged: 0n })),
    } as Partial<EventBusAdminServer> as EventBusAdminServer);
    this.#server.addService(EventBusSchedulesService, this.#ofSchedules() as EventBusSchedulesServer);
    this.port = await new Promise((resolve, reject) => {
      const bound = (error: Error | null, port: number): void => (error ? reject(error) : resolve(port));
      this.#server.bindAsync(`${address}:${port}`, ServerCredentials.createInsecure(), bound);
    });
    return this;
  }

  /** Two pages of schedules: a and b, then c. */
  #ofSchedules(): Partial<EventBusSchedulesServer> {
    return {
      putSchedule: this.#answer(this.schedules, ({ schedule }: PutScheduleRequest) =>
        PutScheduleResponse.fromPartial({ schedule: { schedule, runs: 3n } } as object),
      ),
      listSchedules: this.#answer(this.schedulePages, ({ pageToken }: ListSchedulesRequest) =>
        ListSchedulesResponse.fromPartial(
          pageToken === ""
            ? { schedules: [{ schedule: { name: "a" } }, { schedule: { name: "b" } }], nextPageToken: "2" }
            : { schedules: [{ schedule: { name: "c" } }] },
        ),
      ),
      triggerSchedule: this.#answer(this.triggers, ({ requestId }: TriggerScheduleRequest) => ({ eventId: requestId })),
      deleteSchedule: this.#answer(this.deletions, () => ({})),
    };
  }

  stop(): void {
    this.releaseAcks();
    this.releaseDispatches();
    this.#server.forceShutdown();
  }

  /** Waits until the condition holds; it is checked at every request. */
  async until(what: string, holds: () => boolean): Promise<void> {
    if (!(await this.#changes.until(holds, WAIT_TIMEOUT_MS))) {
      throw new Error(`not in time: ${what}`);
    }
  }

  /** Wakes tests that wait for a change. */
  notify(): void {
    this.#changes.notify();
  }

  /** Sends deliveries of events with these ids on the last stream; lease tokens are `lease-ID`, keys `key-ID`. */
  deliver(...ids: string[]): void {
    this.deliverUntil(Date.now() + 30_000, ...ids);
  }

  /** Sends deliveries whose leases run out at the given time, by the engine's clock. */
  deliverUntil(expiresAt: number, ...ids: string[]): void {
    const rest = { attempt: 1, topic: "t", leaseExpiresAt: new Date(expiresAt) };
    const deliveries = ids.map((id) =>
      Delivery.fromPartial({
        event: { id, data: Buffer.from(id), key: `key-${id}` },
        leaseToken: `lease-${id}`,
        ...rest,
      }),
    );
    this.streams
      .at(-1)
      ?.write(SubscribeResponse.fromPartial({ frame: { $case: "deliveries", deliveries: { deliveries } } }));
  }

  /** Sends the closing frame on the last stream, and ends it. */
  closeStream(reconnectAfterMs: number, reason = Closing_Reason.DRAINING): void {
    const closing = { reason, reconnectAfter: duration(reconnectAfterMs) };
    const frame = { $case: "closing", closing } as const;
    this.streams.at(-1)?.write(SubscribeResponse.fromPartial({ frame }));
    this.streams.at(-1)?.end();
  }

  /** Breaks the last stream. */
  breakStream(): void {
    this.streams.at(-1)?.emit("error", failure(status.UNAVAILABLE, "DISPATCHER_NOT_WORKING"));
  }

  /** Sends the answers that were held back. */
  releaseAcks(): void {
    this.acksHeld = false;
    this.#changes.notify();
  }

  /** Ends the stream of the refused topic. */
  async refuse(): Promise<void> {
    await this.until("a stream of the refused topic", () => this.#refused !== undefined);
    this.#refused?.emit("error", failure(status.PERMISSION_DENIED, "PERMISSION_DENIED"));
  }

  /** Sends the answers to dispatches that were held back. */
  releaseDispatches(): void {
    this.dispatchesHeld = false;
    this.#changes.notify();
  }

  #subscribe(stream: Stream): void {
    this.subscribes.push(stream.request);
    this.tokens.push(...stream.metadata.get("authorization").map(String));
    if (stream.request.topic === this.refusedTopic) {
      this.#refused = stream;
      this.#changes.notify();
      return;
    }
    const error = this.failures.shift();
    if (error !== undefined) {
      stream.emit("error", error);
      this.#changes.notify();
      return;
    }
    const { maxInFlight, maxInFlightBytes } = stream.request;
    const limits = {
      maxInFlight,
      maxInFlightBytes,
      maxRequestBytes: this.maxRequestBytes,
      lease: duration(this.leaseMs),
      disconnectGrace: duration(this.graceMs),
    };
    const started = {
      sessionId: `s${this.streams.length}`,
      ...limits,
      lostLeaseTokens: this.lost,
      limited: this.limited,
    };
    stream.write(SubscribeResponse.fromPartial({ frame: { $case: "started", started } }));
    this.streams.push(stream);
    stream.on("cancelled", () => this.#changes.notify());
    this.#changes.notify();
  }

  #takeFailures(): { failures: LeaseFailure[] } {
    return { failures: this.leaseFailures.splice(0) };
  }

  #expired(tokens: string[]): LeaseFailure[] {
    const expired = tokens.filter((token) => this.expired.has(token));
    return expired.map((leaseToken) => ({ leaseToken, reason: LeaseFailure_Reason.EXPIRED }));
  }

  #answer<Request, Response, Recorded>(
    record: Recorded[],
    respond: (request: Request) => Response,
    recorded: (request: Request) => Recorded = (request) => request as never,
  ): (call: ServerUnaryCall<Request, Response>, callback: sendUnaryData<Response>) => Promise<void> {
    return async (call, callback) => {
      record.push(recorded(call.request));
      this.tokens.push(...call.metadata.get("authorization").map(String));
      this.traceparents.push(...call.metadata.get("traceparent").map(String));
      this.#changes.notify();
      if ((record as unknown) === this.acks) {
        await this.#changes.until(() => !this.acksHeld);
      }
      if ((record as unknown) === this.dispatches) {
        await this.#changes.until(() => !this.dispatchesHeld);
      }
      const error = this.failures.shift();
      callback(error ?? null, error === undefined ? respond(call.request) : undefined);
    };
  }
}

function stopped(leaseTokens: readonly string[]): { failures: LeaseFailure[] } {
  return { failures: leaseTokens.map((leaseToken) => ({ leaseToken, reason: LeaseFailure_Reason.ENGINE_STOPPED })) };
}

function duration(ms: number): { seconds: bigint; nanos: number } {
  return { seconds: BigInt(Math.trunc(ms / 1000)), nanos: (ms % 1000) * 1e6 };
}

/** Resolves when the signal aborts. */
export async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) {
    await once(signal, "abort");
  }
}
