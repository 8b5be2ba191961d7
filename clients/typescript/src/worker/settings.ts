import { hostname } from "node:os";
import { invalid } from "../errors.js";
import { defaultLogger, LEVELS, type Logger } from "../logger.js";
import { type Engine, integer, timerMs } from "../values.js";

/** The settings of a worker; the options of a handler override them. */
export interface WorkerOptions {
  /** The workers that share one copy of each event; "default" otherwise. */
  group?: string | undefined;
  /**
   * The group goes with its last worker, and gets only what is dispatched while it exists. Without a name, it belongs to
   * this worker alone, so every instance of a program gets every event.
   */
  ephemeral?: boolean | undefined;
  /** The engine that holds the events; the server's default engine otherwise. */
  engine?: Engine | undefined;
  /** A name that identifies the worker in the admin views; the host's name and the process id otherwise. */
  consumer?: string | undefined;
  /** How many events a subscription holds at once, 1 to 100,000; 64 by default. */
  maxInFlight?: number | undefined;
  /**
   * How many handlers of a subscription run at once: as many as `maxInFlight` by default. A smaller number prefetches:
   * the next event is already here when a handler ends. In a group with limits, nothing is prefetched: it would count
   * although no handler has begun.
   */
  concurrency?: number | undefined;
  /** How many bytes of events a subscription holds at once, up to 1 GiB; 16 MiB by default. */
  maxInFlightBytes?: number | undefined;
  /**
   * How soon an event goes to another worker when this one hangs and its connection stays open: 100 ms to 12 h, 30 s by
   * default.
   */
  leaseMs?: number | undefined;
  /** How soon events go to another worker when the connection breaks: 0 to 1 h; the server's setting otherwise. */
  disconnectGraceMs?: number | undefined;
  /** How long a handler may run, 50 s by default; then its signal aborts, and the event is nacked. */
  maxExecutionMs?: number | undefined;
  /** How long a stop waits for running handlers: 25 s by default. */
  drainTimeoutMs?: number | undefined;
  /** Where to log, for example `console`; by default, warnings and errors to standard error. */
  logger?: Logger | undefined;
}

/** Checked options. */
export interface WorkerSettings extends WorkerOptions {
  consumer: string;
  maxInFlight: number;
  concurrency: number;
  leaseMs: number;
  maxExecutionMs: number;
  drainTimeoutMs: number;
  logger: Logger;
}

const MAX_IN_FLIGHT = 100_000;
const LEAST_LEASE_MS = 100;
const MOST_LEASE_MS = 12 * 3_600_000;

/** The options without those that are undefined, which would hide others. */
export function given(options: WorkerOptions): WorkerOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

/** @throws DueBusError `INVALID_ARGUMENT` when an option is out of range. */
export function checked(options: WorkerOptions): WorkerSettings {
  const { logger = defaultLogger } = options;
  const missing = LEVELS.find((level) => typeof logger?.[level] !== "function");
  if (missing !== undefined) {
    throw invalid("logger", `has no method ${missing}`);
  }
  const maxInFlight = integer("max_in_flight", options.maxInFlight ?? 64, 1, MAX_IN_FLIGHT);
  return {
    ...options,
    consumer: options.consumer ?? `${hostname()}-${process.pid}`,
    maxInFlight,
    concurrency: integer("concurrency", options.concurrency ?? maxInFlight, 1, maxInFlight),
    leaseMs: integer("lease", options.leaseMs ?? 30_000, LEAST_LEASE_MS, MOST_LEASE_MS),
    maxExecutionMs: timerMs("max_execution", options.maxExecutionMs ?? 50_000, 1),
    drainTimeoutMs: timerMs("drain_timeout", options.drainTimeoutMs ?? 25_000, 0),
    logger,
  };
}
