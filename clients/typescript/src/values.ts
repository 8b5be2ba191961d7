import { inspect, types } from "node:util";
import { invalid } from "./errors.js";
import { Engine as WireEngine } from "./generated/duebus/v1/event_bus.js";
import type { Duration } from "./generated/google/protobuf/duration.js";

/** Where events wait: in one server process, or in Redis, shared by all replicas. */
export type Engine = "local" | "redis";

const ENGINES: Readonly<Record<Engine, WireEngine>> = { local: WireEngine.LOCAL, redis: WireEngine.REDIS };

/** The largest number of protobuf's `uint32`. */
export const MAX_UINT32 = 2 ** 32 - 1;

/** The longest that a timer of Node.js takes, in ms: 24.8 days. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** The engine's enum value; undefined: the server's default engine. */
export function engineToWire(field: string, engine: Engine | undefined): WireEngine {
  if (engine === undefined) {
    return WireEngine.UNSPECIFIED;
  }
  return choice(field, ENGINES, engine);
}

/** The engines' enum values; the paths of wrong ones are `engines[0]` and so on. */
export function enginesToWire(engines: readonly Engine[] | undefined): WireEngine[] {
  return list("engines", engines ?? []).map((engine, index) => engineToWire(`engines[${index}]`, engine));
}

/** The engine; undefined if this client is too old to know it. */
export function engineFromWire(engine: WireEngine): Engine[] {
  return (Object.keys(ENGINES) as Engine[]).filter((name) => ENGINES[name] === engine);
}

/** The longest duration of protobuf, in ms: about 10,000 years. */
export const MAX_DURATION_MS = 315_576_000_000_000;

/** A duration as a protobuf message; undefined stays undefined. */
export function durationToWire(field: string, ms: number | undefined): Duration | undefined {
  if (ms === undefined) {
    return undefined;
  }
  if (typeof ms !== "number" || !(Math.abs(ms) <= MAX_DURATION_MS)) {
    throw invalid(field, `is not a duration in ms: ${shown(ms)}`);
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
  if (at !== undefined && !(types.isDate(at) && Number.isFinite(at.getTime()))) {
    throw invalid(field, `is not a valid Date: ${shown(at)}`);
  }
  return at;
}

/** Text that UTF-8 can carry; undefined is empty. */
export function text(field: string, value: string | undefined): string {
  if (value === undefined) {
    return "";
  }
  if (typeof value !== "string") {
    throw invalid(field, `is not text: ${shown(value)}`);
  }
  if (!value.isWellFormed()) {
    throw invalid(field, "is not valid Unicode: it has a lone surrogate");
  }
  return value;
}

/** A whole number within bounds. */
export function integer(field: string, value: number, least: number, most: number): number {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw invalid(field, `must be a whole number from ${least} to ${most}, not ${shown(value)}`);
  }
  return value;
}

/** A duration in ms, for a timer of this process. */
export function timerMs(field: string, value: number, least: number): number {
  if (typeof value !== "number" || !(value >= least && value <= MAX_TIMER_MS)) {
    throw invalid(field, `must be ${least} to ${MAX_TIMER_MS} ms, not ${shown(value)}`);
  }
  return value;
}

/** The enum value with this name. */
export function choice<Name extends string, Wire>(
  field: string,
  choices: Readonly<Record<Name, Wire>>,
  name: Name,
): Wire {
  if (!Object.hasOwn(choices, name)) {
    throw invalid(field, `must be one of ${Object.keys(choices).join(", ")}, not ${shown(name)}`);
  }
  return choices[name];
}

/** The name of an enum value; undefined if this client is too old to know it. */
export function nameOf<Name extends string, Wire>(
  choices: Readonly<Record<Name, Wire>>,
  value: Wire,
): Name | undefined {
  return (Object.keys(choices) as Name[]).find((name) => choices[name] === value);
}

/** The items of an array. */
export function list<Item>(field: string, items: readonly Item[]): readonly Item[] {
  if (!Array.isArray(items)) {
    throw invalid(field, `is not an array: ${shown(items)}`);
  }
  return items;
}

/** Text that is not empty, where the wire would take an empty one for none; undefined is empty. */
export function textOrNone(field: string, value: string | undefined, none: string): string {
  if (value === "") {
    throw invalid(field, `is empty; leave it out for ${none}`);
  }
  return text(field, value);
}

/** A value of any type, in a few words. */
export function shown(value: unknown): string {
  return inspect(value, { depth: 0, maxStringLength: 100, breakLength: Number.POSITIVE_INFINITY });
}
