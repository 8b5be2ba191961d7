import type { status } from "@grpc/grpc-js";
import type { Engine } from "./values.js";

/**
 * Why a call failed, the same in every language. A server that is newer than this client may name others.
 *
 * `proto/duebus/v1/error_details.proto` documents the reasons that a server names. Those of the client itself, and of
 * gRPC and proxies, which have only a status:
 *
 * - `UNAVAILABLE`: the server can't be reached. The call may or may not have taken effect.
 * - `DEADLINE_EXCEEDED`: no answer in time. The call may or may not have taken effect.
 * - `CANCELLED`: the caller's signal ended the call. It may or may not have taken effect.
 * - `UNAUTHENTICATED`: credentials are required, or these are not accepted.
 * - `PERMISSION_DENIED`: these credentials do not allow that.
 * - `CLIENT_CLOSED`: the client was closed, before the call or during it.
 */
export type Reason =
  | "INVALID_ARGUMENT"
  | "NO_TOPIC_SPECIFIED"
  | "NO_EVENT_SPECIFIED"
  | "NO_DISPATCHER_SPECIFIED"
  | "NO_HANDLER_FOUND"
  | "TOPIC_HAS_SCHEDULES"
  | "DUPLICATE_INITIALIZED"
  | "MAX_QUEUED_EVENTS_REACHED"
  | "MAX_STREAMS_REACHED"
  | "CONCURRENT_MODIFICATION"
  | "DISPATCHER_NOT_WORKING"
  | "NOT_FOUND"
  | "INTERNAL"
  | "UNIMPLEMENTED"
  | "UNAVAILABLE"
  | "DEADLINE_EXCEEDED"
  | "CANCELLED"
  | "UNAUTHENTICATED"
  | "PERMISSION_DENIED"
  | "CLIENT_CLOSED"
  | (string & {});

/** The wider reason that a reason belongs to. */
const PARENTS = new Map<Reason, Reason>([
  ["NO_TOPIC_SPECIFIED", "INVALID_ARGUMENT"],
  ["NO_EVENT_SPECIFIED", "INVALID_ARGUMENT"],
  ["DISPATCHER_NOT_WORKING", "UNAVAILABLE"],
]);

/** A wrong field: its path, for example `events[3].delay`, and what is wrong with it. */
export interface FieldViolation {
  field: string;
  description: string;
}

/** The details of a `DueBusError` besides its reason and message. */
export interface ErrorDetails {
  code?: status | undefined;
  metadata?: Record<string, string> | undefined;
  fieldViolations?: FieldViolation[] | undefined;
  retryAfterMs?: number | undefined;
  storedEngines?: Engine[] | undefined;
  storedEventIds?: string[] | undefined;
  cause?: unknown;
}

/**
 * The error of a call that failed; all calls of this package reject with it.
 *
 * ```ts
 * if (error instanceof DueBusError && error.is("MAX_QUEUED_EVENTS_REACHED")) { ... }
 * ```
 */
export class DueBusError extends Error {
  override readonly name = "DueBusError";
  readonly reason: Reason;
  /** The gRPC status; undefined if the client itself found the error. */
  readonly code: status | undefined;
  /** The subject of the error: topic, group, engine, ... */
  readonly metadata: Readonly<Record<string, string>>;
  /** The wrong fields; empty unless the input was bad. */
  readonly fieldViolations: readonly FieldViolation[];
  /** How long to wait before repeating the call; undefined if the server did not say. */
  readonly retryAfterMs: number | undefined;
  /**
   * If a dispatch to several engines failed partway: the ones that hold the events. Repeating the dispatch with the
   * same `requestId` is safe.
   */
  readonly storedEngines: readonly Engine[];
  /** The ids under which `storedEngines` hold the events, in request order. */
  readonly storedEventIds: readonly string[];

  constructor(reason: Reason, message: string, details: ErrorDetails = {}) {
    super(oneLine(message, details.fieldViolations ?? []) || reason, { cause: details.cause });
    this.reason = reason;
    this.code = details.code;
    this.metadata = details.metadata ?? {};
    this.fieldViolations = details.fieldViolations ?? [];
    this.retryAfterMs = details.retryAfterMs;
    this.storedEngines = details.storedEngines ?? [];
    this.storedEventIds = details.storedEventIds ?? [];
  }

  /**
   * True when the error has this reason, or one that belongs to it: `NO_TOPIC_SPECIFIED` and `NO_EVENT_SPECIFIED` are
   * `INVALID_ARGUMENT` too, and `DISPATCHER_NOT_WORKING` is `UNAVAILABLE` too.
   */
  is(reason: Reason): boolean {
    return reason === this.reason || reason === PARENTS.get(this.reason);
  }
}

/** The message in one line, and the wrong fields that it does not name. */
function oneLine(message: string, violations: readonly FieldViolation[]): string {
  const line = message.split(/\s+/).filter(Boolean).join(" ");
  const unnamed = violations.filter((each) => !line.includes(each.field));
  if (unnamed.length === 0) {
    return line;
  }
  return `${line} (${unnamed.map((each) => `${each.field}: ${each.description}`).join("; ")})`;
}

/** The error of one wrong field that the client itself found. */
export function invalid(field: string, description: string, cause?: unknown): DueBusError {
  const details = { fieldViolations: [{ field, description }], cause };
  return new DueBusError("INVALID_ARGUMENT", `${field}: ${description}`, details);
}

const HOPELESS: readonly Reason[] = [
  "CLIENT_CLOSED",
  "INVALID_ARGUMENT",
  "NO_DISPATCHER_SPECIFIED",
  "PERMISSION_DENIED",
  "UNAUTHENTICATED",
  "UNIMPLEMENTED",
];

/** False if repeating the call can't help: a worker ends with such an error. */
export function heals(error: unknown): error is DueBusError {
  return error instanceof DueBusError && !HOPELESS.some((reason) => error.is(reason));
}

/** An error in a line of a log. As an object, it and gRPC's error behind it would take up forty. */
export function inBrief(error: DueBusError): string {
  return `${error.reason}: ${error.message}`;
}
