import { setMaxListeners } from "node:events";
import {
  type CallOptions,
  type ChannelCredentials,
  type ChannelOptions,
  Client,
  type ClientReadableStream,
  credentials,
  Metadata,
  type MethodDefinition,
  type ServiceError,
} from "@grpc/grpc-js";
import { DueBusError, invalid } from "./errors.js";
import { withHandshakeTimeout } from "./handshake.js";
import type { Interceptor } from "./interceptor.js";
import { resolvable } from "./servers.js";
import { fromServiceError } from "./status.js";
import { MAX_DURATION_MS, MAX_TIMER_MS } from "./values.js";

/** TLS of a client; PEM, as text or bytes. Nothing set: the system's authorities are trusted. */
export interface TlsOptions {
  /** The authorities to trust. */
  ca?: string | Uint8Array | undefined;
  /** The client's certificate chain and its private key, if the server asks for them. */
  cert?: string | Uint8Array | undefined;
  key?: string | Uint8Array | undefined;
  /** The name that the server's certificate must have, if it is not the host of the target. */
  serverName?: string | undefined;
}

/**
 * Returns a bearer token that is valid now; white space around it is left out. A token that changes is best kept until
 * shortly before it expires.
 */
export type TokenProvider = () => string | Promise<string>;

/** The settings of the channels. */
export interface ConnectionOptions {
  tls?: TlsOptions | undefined;
  token?: string | TokenProvider | undefined;
  channelOptions?: ChannelOptions | undefined;
}

/** How long one try of a call may take, and what ends it. */
export interface TryOptions {
  /** `Infinity`: no limit. */
  timeoutMs: number;
  signal?: AbortSignal | undefined;
}

interface Cancellable {
  cancel(): void;
}

/** The largest request if the server does not announce one: gRPC's default. */
export const DEFAULT_MAX_REQUEST_BYTES = 4 << 20;

/** How long a server that has accepted a connection may stay silent: as long as in gRPC's other implementations. */
const HANDSHAKE_TIMEOUT_MS = 20_000;

const CHANNEL_OPTIONS = {
  "grpc.primary_user_agent": "duebus-typescript",
  // A connection that died silently is noticed within 40 s, even while nothing is called.
  "grpc.keepalive_time_ms": 25_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.keepalive_permit_without_calls": 1,
  "grpc.max_receive_message_length": 16 * 1024 * 1024,
  // The server refuses what is too large, and names the field.
  "grpc.max_send_message_length": -1,
  // The client retries itself: it keeps the request id and knows which errors a retry can cure.
  "grpc.enable_retries": 0,
  // Avoid stacking the connection's backoff on top of the pauses between calls and streams. By default it grows to two
  // minutes.
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 500,
  // With several servers, all are connected and calls are spread over them: a stream whose server drains moves to
  // another.
  "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
  // A DNS record can't replace it.
  "grpc.service_config_disable_resolution": 1,
  // When a server goes, its name is resolved again at most this often. By default, new servers are found after up to 30 s.
  "grpc.dns_min_time_between_resolutions_ms": 1_000,
  // Closing a client closes its connections.
  "grpc.use_local_subchannel_pool": 1,
};

/**
 * The gRPC channels of a client: one for calls, and one for streams, whose turns over the servers no call takes. Each
 * connects when it is first used and reconnects automatically.
 */
export class Connection {
  readonly #calls: Client;
  readonly #streams: Client;
  readonly #metadata = new Metadata();
  readonly #tokens: TokenProvider | undefined;
  readonly #interceptors: readonly Interceptor[];
  readonly #open = new Set<Cancellable>();
  /** The largest request of lease tokens or nacks; a worker learns it from the server. */
  maxRequestBytes = DEFAULT_MAX_REQUEST_BYTES;
  #closed = false;

  /**
   * @throws DueBusError `INVALID_ARGUMENT` when the target, the token or the TLS options can't be used.
   */
  constructor(
    target: string,
    { tls, token, channelOptions }: ConnectionOptions,
    interceptors: readonly Interceptor[] = [],
  ) {
    const options = tls?.serverName === undefined ? {} : { "grpc.ssl_target_name_override": tls.serverName };
    const address = resolvable(target);
    const channelCredentials = withHandshakeTimeout(
      usable("tls", () => credentialsOf(tls)),
      HANDSHAKE_TIMEOUT_MS,
    );
    this.#interceptors = interceptors.filter((each) => each.metadata !== undefined);
    this.#tokens = typeof token === "function" ? token : undefined;
    if (token !== undefined && token !== "" && this.#tokens === undefined) {
      authorize(this.#metadata, token);
    }
    const all = { ...CHANNEL_OPTIONS, ...options, ...channelOptions };
    const open = (): Client => new Client(address, channelCredentials, all);
    this.#calls = usable("target", open);
    this.#streams = usable("target", open);
  }

  /** Ends open calls and streams with `CLIENT_CLOSED`, and disconnects. */
  close(): void {
    this.#closed = true;
    for (const call of this.#open) {
      call.cancel();
    }
    this.#calls.close();
    this.#streams.close();
  }

  /** One try of a call. */
  async unary<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    options: TryOptions,
  ): Promise<Response> {
    const settings = callOptions(options.timeoutMs);
    const metadata = this.#tokens === undefined ? this.#metadataOf() : await this.#authorized(this.#tokens, options);
    this.#refuseEnded(options.signal);
    return new Promise((resolve, reject) => {
      const { path, requestSerialize, responseDeserialize } = method;
      const answered = (error: ServiceError | null, response?: Response): void => {
        unwatch();
        if (error === null) {
          resolve(response as Response);
        } else {
          reject(this.#translate(error, options.signal));
        }
      };
      const call = this.#calls.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        metadata,
        settings,
        answered,
      );
      const unwatch = this.#cancelWhenEnded(call, options.signal);
    });
  }

  /** The messages of a stream, which ends when the caller stops reading. */
  async *stream<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    signal: AbortSignal,
  ): AsyncGenerator<Response, void, undefined> {
    const unlimited = { timeoutMs: Number.POSITIVE_INFINITY, signal };
    const metadata = this.#tokens === undefined ? this.#metadataOf() : await this.#authorized(this.#tokens, unlimited);
    this.#refuseEnded(signal);
    const { path, requestSerialize, responseDeserialize } = method;
    this.#calls.getChannel().getConnectivityState(true); // connects, for the first settle
    const call: ClientReadableStream<Response> = this.#streams.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      metadata,
    );
    // Without this listener an error after the last read, such as that of the cancellation below, would be unhandled.
    call.on("error", () => {});
    const unwatch = this.#cancelWhenEnded(call, signal);
    try {
      yield* call as AsyncIterable<Response>;
    } catch (error) {
      throw this.#translate(error as ServiceError, signal);
    } finally {
      unwatch();
      call.cancel();
    }
  }

  /** What a call carries, without the token of a provider. */
  #metadataOf(): Metadata {
    if (this.#interceptors.length === 0) {
      return this.#metadata;
    }
    const metadata = this.#metadata.clone();
    for (const each of this.#interceptors) {
      for (const [name, value] of Object.entries(each.metadata?.() ?? {})) {
        metadata.set(name, value);
      }
    }
    return metadata;
  }

  /** Waits for a token, for no longer than the call may take. */
  async #authorized(tokens: TokenProvider, { timeoutMs, signal }: TryOptions): Promise<Metadata> {
    this.#refuseEnded(signal);
    const metadata = this.#metadataOf().clone();
    const token = await new Promise<string>((resolve, reject) => {
      const late = (): void => end(() => reject(new DueBusError("DEADLINE_EXCEEDED", "no token in time")));
      const timer = timeoutMs <= MAX_TIMER_MS ? setTimeout(late, timeoutMs) : undefined;
      const ended = (): void => end(() => reject(this.#closed ? clientClosed() : cancelled(signal as AbortSignal)));
      const unwatch = this.#cancelWhenEnded({ cancel: ended }, signal);
      const end = (settle: () => void): void => {
        clearTimeout(timer);
        unwatch();
        settle();
      };
      Promise.resolve()
        .then(tokens)
        .then(
          (given) => end(() => resolve(given)),
          (error: unknown) => end(() => reject(noToken(error))),
        );
    });
    authorizeWith(metadata, token);
    return metadata;
  }

  #refuseEnded(signal: AbortSignal | undefined): void {
    if (this.#closed) {
      throw clientClosed();
    }
    if (signal?.aborted) {
      throw cancelled(signal);
    }
  }

  #cancelWhenEnded(call: Cancellable, signal: AbortSignal | undefined): () => void {
    const cancel = (): void => call.cancel();
    this.#open.add(call);
    if (signal !== undefined) {
      // Many calls may share a signal, which Node.js would report as a leak.
      setMaxListeners(0, signal);
      signal.addEventListener("abort", cancel, { once: true });
    }
    return () => {
      this.#open.delete(call);
      signal?.removeEventListener("abort", cancel);
    };
  }

  #translate(error: ServiceError, signal: AbortSignal | undefined): DueBusError {
    if (this.#closed) {
      return clientClosed(error);
    }
    return signal?.aborted ? cancelled(signal) : fromServiceError(error);
  }
}

/** @throws DueBusError `INVALID_ARGUMENT` when it can't be sent. */
function authorize(metadata: Metadata, token: unknown): void {
  if (typeof token !== "string" || token.trim() === "") {
    throw invalid("token", typeof token === "string" ? "is empty" : `is neither text nor a function: ${typeof token}`);
  }
  usable("token", () => metadata.set("authorization", `Bearer ${token.trim()}`));
}

/**
 * The token of a provider, which may be what a file has while it is written.
 *
 * @throws DueBusError `UNAVAILABLE` when it is empty, `UNAUTHENTICATED` when it can't be sent.
 */
function authorizeWith(metadata: Metadata, token: unknown): void {
  if (typeof token !== "string" || token.trim() === "") {
    throw noToken(typeof token === "string" ? "it is empty" : `it is ${typeof token}`);
  }
  try {
    authorize(metadata, token);
  } catch (cause) {
    throw new DueBusError("UNAUTHENTICATED", "the token is not printable ASCII", { cause });
  }
}

function noToken(cause: unknown): DueBusError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new DueBusError("UNAVAILABLE", `no token: ${reason}`, { cause });
}

/** A later deadline than gRPC can express, about 11,000 years, would throw where nothing catches it. */
function callOptions(timeoutMs: number): CallOptions {
  return timeoutMs <= MAX_DURATION_MS ? { deadline: Date.now() + timeoutMs } : {};
}

function credentialsOf(tls: TlsOptions | undefined): ChannelCredentials {
  if (tls === undefined) {
    return credentials.createInsecure();
  }
  return credentials.createSsl(bytes(tls.ca), bytes(tls.key), bytes(tls.cert));
}

function bytes(pem: string | Uint8Array | undefined): Buffer | null {
  return pem === undefined ? null : Buffer.from(pem);
}

/** @throws DueBusError `INVALID_ARGUMENT` when an argument can't be used. */
export function usable<T>(field: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    throw invalid(field, error instanceof Error ? error.message : String(error), error);
  }
}

function clientClosed(cause?: unknown): DueBusError {
  return new DueBusError("CLIENT_CLOSED", "the client is closed", { cause });
}

export function cancelled(signal: AbortSignal): DueBusError {
  return new DueBusError("CANCELLED", `the call was ended: ${String(signal.reason)}`, { cause: signal.reason });
}
