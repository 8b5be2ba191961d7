import { type ServiceError, status } from "@grpc/grpc-js";
import { DueBusError, type ErrorDetails, type Reason } from "./errors.js";
import { PartialDispatch } from "./generated/duebus/v1/error_details.js";
import { BadRequest, ErrorInfo, RetryInfo } from "./generated/google/rpc/error_details.js";
import { Status } from "./generated/google/rpc/status.js";
import { durationFromWire, engineFromWire } from "./values.js";

const DETAILS_KEY = "grpc-status-details-bin";
const DOMAIN = "duebus";
const TYPE_PREFIX = "type.googleapis.com/";
/** How gRPC refuses a message that is too large to read. Its status is the same as for a full topic. */
const TOO_LARGE = /larger than max/;

interface Read extends ErrorDetails {
  reason?: Reason;
}

const READERS: Readonly<Record<string, (value: Uint8Array) => Read>> = {
  "google.rpc.ErrorInfo": (value) => {
    const info = ErrorInfo.decode(value);
    return info.domain === DOMAIN ? { reason: info.reason, metadata: info.metadata } : {};
  },
  "google.rpc.BadRequest": (value) => ({
    fieldViolations: BadRequest.decode(value).fieldViolations.map(({ field, description }) => ({ field, description })),
  }),
  "google.rpc.RetryInfo": (value) => ({ retryAfterMs: durationFromWire(RetryInfo.decode(value).retryDelay) }),
  "duebus.v1.PartialDispatch": (value) => {
    const partial = PartialDispatch.decode(value);
    return { storedEngines: partial.storedEngines.flatMap(engineFromWire), storedEventIds: partial.eventIds };
  },
};

/** The error of a gRPC call. The reason in its details decides; without one, the status does. */
export function fromServiceError(error: ServiceError): DueBusError {
  const { reason, ...details } = readDetails(error);
  const found = { ...details, code: error.code, cause: error };
  if (reason) {
    return new DueBusError(reason, error.details, found);
  }
  if (error.code === status.RESOURCE_EXHAUSTED && TOO_LARGE.test(error.details)) {
    const description = `is larger than a message may be (${error.details})`;
    const fieldViolations = [{ field: "request", description }];
    return new DueBusError("INVALID_ARGUMENT", `request: ${description}`, { ...found, fieldViolations });
  }
  return new DueBusError(status[error.code] ?? "UNKNOWN", inWords(error), found);
}

/** Reads the details. Missing or unreadable ones are left out: they must not hide the error itself. */
function readDetails(error: ServiceError): Read {
  const read: Read = {};
  for (const value of error.metadata?.get(DETAILS_KEY) ?? []) {
    try {
      for (const detail of Status.decode(value as Buffer).details) {
        Object.assign(read, READERS[detail.typeUrl.replace(TYPE_PREFIX, "")]?.(detail.value));
      }
    } catch {}
  }
  return read;
}

/** The message, with an explanation of gRPC's own ones. */
function inWords(error: ServiceError): string {
  switch (error.code) {
    case status.UNAVAILABLE:
      return `the server can't be reached: ${error.details}`;
    case status.DEADLINE_EXCEEDED:
      return `no answer in time: ${error.details}`;
    default:
      return error.details;
  }
}
