import { invalid } from "./errors.js";
import { Engine as WireEngine } from "./generated/duebus/v1/event_bus.js";
import type { Duration } from "./generated/google/protobuf/duration.js";

/** Where events wait: in one server process, or in Redis, shared by all replicas. */
export type Engine = "local" | "redis";

const ENGINES: Readonly<Record<Engine, WireEngine>> = { local: WireEngine.LOCAL, redis: WireEngine.REDIS };

/** The longest that a timer of Node.js takes, in ms: 24.8 days. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** The engine's enum value; undefined: the server's default engine. */
export function engineToWire(field: string, engine: Engine | undefined): WireEngine {
  if (engine === undefined) {
    return WireEngine.UNSPECIFIED;
  }
  if (!Object.hasOwn(ENGINES, engine)) {
    throw invalid(field, `no engine is called ${JSON.stringify(engine)}`);
  }
  return ENGINES[engine];
}

/** The engines' enum values; the paths of wrong ones are `engines[0]` and so on. */
export function enginesToWire(engines: readonly Engine[] | undefined): WireEngine[] {
  return (engines ?? []).map((engine, index) => engineToWire(`engines[${index}]`, engine));
}

/** The engine; undefined if this client is too old to know it. */
export function engineFromWire(engine: WireEngine): Engine[] {
  return (Object.keys(ENGINES) as Engine[]).filter((name) => ENGINES[name] === engine);
}

/** The longest duration of protobuf, in ms: about 10,000 years. */
const MAX_DURATION_MS = 315_576_000_000_000;

/** A duration as a protobuf message; undefined stays undefined. */
export function durationToWire(field: string, ms: number | undefined): Duration | undefined {
  if (ms === undefined) {
    return undefined;
  }
  if (!(Math.abs(ms) <= MAX_DURATION_MS)) {
    throw invalid(field, `is not a duration: ${ms} ms`);
  }
  const nanos = BigInt(Math.round(ms * 1e6));
  return { seconds: nanos / 1_000_000_000n, nanos: Number(nanos % 1_000_000_000n) };
}

/** A duration in ms; 0 for none. */
export function durationFromWire(duration: Duration | undefined): number {
  return duration === undefined ? 0 : Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}

/** A valid time; undefined stays undefined. */
export function moment(field: string, at: Date | undefined): Date | undefined {
  if (at !== undefined && Number.isNaN(at.getTime())) {
    throw invalid(field, "is not a valid time");
  }
  return at;
}

/** Text that UTF-8 can carry; undefined is empty. */
export function text(field: string, value: string | undefined): string {
  if (value === undefined) {
    return "";
  }
  if (typeof value !== "string") {
    throw invalid(field, `is not text but ${typeof value}`);
  }
  if (!value.isWellFormed()) {
    throw invalid(field, "is not valid Unicode: it has a lone surrogate");
  }
  return value;
}

/** A whole number within bounds. */
export function integer(field: string, value: number, least: number, most: number): number {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw invalid(field, `must be a whole number from ${least} to ${most}, not ${value}`);
  }
  return value;
}

/** A duration in ms, for a timer of this process. */
export function timerMs(field: string, value: number, least: number): number {
  if (!(value >= least && value <= MAX_TIMER_MS)) {
    throw invalid(field, `must be ${least} to ${MAX_TIMER_MS} ms, not ${value}`);
  }
  return value;
}
