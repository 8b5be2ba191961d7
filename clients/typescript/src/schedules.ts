import { randomBytes } from "node:crypto";
import type { MethodDefinition } from "@grpc/grpc-js";
import { items } from "./admin.js";
import type { Connection } from "./connection.js";
import { invalid } from "./errors.js";
import { eventToWire, type NewEvent } from "./event.js";
import { Event as WireEvent } from "./generated/duebus/v1/event_bus.js";
import {
  EventBusSchedulesService,
  Schedule_CatchUp as WireCatchUp,
  ScheduleInfo as WireInfo,
  Schedule_Overlap as WireOverlap,
  Schedule as WireSchedule,
} from "./generated/duebus/v1/schedules.js";
import { type CallOptions, limitsOf, repeated } from "./retry.js";
import {
  choice,
  durationFromWire,
  durationToWire,
  type Engine,
  engineToWire,
  integer,
  MAX_UINT32,
  moment,
  nameOf,
  text,
} from "./values.js";

/**
 * What happens to a firing while the event of an earlier one is neither acked nor dead in some lasting group. `allow`:
 * the event is dispatched anyway. `skip`: the firing is skipped if the last event is unfinished. `buffer_one`: it is
 * skipped if the last two are; an event without a key gets the schedule's name as its key, so the second waits.
 */
export type Overlap = "allow" | "skip" | "buffer_one";

/**
 * What happens to nominal times that passed while nothing could fire. `last`: the last of them fires, if it is at most a
 * year ago. `all`: each fires, within the window and at most 1,000. `none`: none fires.
 */
export type CatchUp = "last" | "all" | "none";

const OVERLAPS: Readonly<Record<Overlap, WireOverlap>> = {
  allow: WireOverlap.ALLOW,
  skip: WireOverlap.SKIP,
  buffer_one: WireOverlap.BUFFER_ONE,
};
const CATCH_UPS: Readonly<Record<CatchUp, WireCatchUp>> = {
  last: WireCatchUp.LAST,
  all: WireCatchUp.ALL,
  none: WireCatchUp.NONE,
};

/** When a schedule fires: `cron` or `everyMs`, and the bounds. */
export type ScheduleRule = {
  /** The first moment at which it may fire; left out: no limit. */
  start?: Date | undefined;
  /** The last moment at which it may fire; left out: no limit. */
  end?: Date | undefined;
} & (
  | {
      /** Five fields, such as `0 9 * * MON-FRI`, or six with the second first. */
      cron: string;
      /** The time zone of `cron`, such as `Europe/Berlin`; left out: UTC. */
      timeZone?: string | undefined;
      everyMs?: undefined;
    }
  | {
      /** The interval, 1 s to 366 days, counted from `start`, or else from 1970. */
      everyMs: number;
      cron?: undefined;
      timeZone?: undefined;
    }
);

/** What a schedule dispatches: an event without an id and a due time, which the firing adds. */
export type ScheduledEvent = Omit<NewEvent, "id" | "delayMs" | "deliverAt">;

/** The options of a call about a schedule. */
export interface ScheduleCallOptions extends CallOptions {
  /** The engine that holds the schedule; the server's default engine otherwise. */
  engine?: Engine | undefined;
}

/** When and how a schedule fires. */
export type ScheduleOptions = ScheduleRule &
  ScheduleCallOptions & {
    /** It ends after this many firings; left out: no limit. */
    maxRuns?: number | undefined;
    /** Each firing is up to this much later than its nominal time, at most 24 h; left out: not at all. */
    jitterMs?: number | undefined;
    /** `allow` by default. */
    overlap?: Overlap | undefined;
    /** `last` by default. */
    catchUp?: CatchUp | undefined;
    /** How long ago missed times may be with `catchUp: "all"`, 1 s to 31 days; 1 h by default. */
    catchUpWindowMs?: number | undefined;
    /** Whether it is paused; counts only when the schedule is created. */
    paused?: boolean | undefined;
    /** For people, at most 1,000 bytes. */
    note?: string | undefined;
  };

/** A schedule as it is stored, and what it has done. */
export interface ScheduleInfo {
  name: string;
  topic: string;
  /** What it dispatches; `data` is empty if the caller may not see it. */
  event: {
    data: Uint8Array;
    contentType: string;
    attributes: Readonly<Record<string, string>>;
    key: string;
    priority: number;
    /** Undefined: by the topic's retry policy. */
    maxRetries: number | undefined;
  };
  /** Undefined: it fires every `everyMs`. */
  cron: string | undefined;
  /** Undefined: it fires by `cron`. */
  everyMs: number | undefined;
  /** Empty: UTC. */
  timeZone: string;
  start: Date | undefined;
  end: Date | undefined;
  /** 0: no limit. */
  maxRuns: number;
  jitterMs: number;
  /** `unknown`: a choice that this client is too old to know. */
  overlap: Overlap | "unknown";
  catchUp: CatchUp | "unknown";
  /** Undefined: 1 h. */
  catchUpWindowMs: number | undefined;
  paused: boolean;
  note: string;
  /** The next ten nominal times; fewer if it ends first, none while it is paused. */
  next: Date[];
  /** The nominal time of the last event; undefined if there was none. */
  lastFiredAt: Date | undefined;
  /** Empty if there was none. */
  lastEventId: string;
  /** How many nominal times dispatched an event. */
  runs: number;
  /** How many were skipped because of `overlap`. */
  skipped: number;
  /** How many were missed: nothing could fire, or the topic was full until the next one. */
  missed: number;
  /** The rule in words, or why the server can't read it. */
  description: string;
}

/** When a rule fires. */
export interface SchedulePreview {
  /** Nominal times; fewer than asked for if the schedule ends first. */
  times: Date[];
  /** The rule in words. */
  description: string;
}

/** Of a generated request id: it is a part of the event's id, which has room for 26 digits beside the longest name. */
const REQUEST_ID_BYTES = 13;

/**
 * The schedules of a client, `client.schedules`: rules that dispatch an event again and again.
 *
 * A call about an unknown schedule rejects with `NOT_FOUND`. All but `delete` are retried while the server is
 * unavailable, as a dispatch is.
 */
export class Schedules {
  readonly #connection: Connection;
  readonly #timeoutMs: number;

  /** @internal Use `Client.schedules`. */
  constructor(connection: Connection, timeoutMs: number) {
    this.#connection = connection;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Creates a schedule, or replaces the one of this name. An equal one changes nothing, so every process may put it when
   * it starts.
   *
   * Each firing dispatches an event with the id NAME@TIME, for example `report@2026-11-30T08:00:00Z`: the nominal time in
   * UTC. Its attributes also have `duebus-schedule` and `duebus-scheduled-for`, the name and that time.
   *
   * @param name `[A-Za-z0-9][A-Za-z0-9._-]{0,199}`
   * @param topic where its events go. It can't be changed.
   * @returns the schedule as it is stored now.
   * @throws DueBusError `INVALID_ARGUMENT` when the rule can't be read or never fires, or another field is wrong;
   *   `TOPIC_HAS_SCHEDULES` when the schedule exists with another topic.
   */
  async put(name: string, topic: string, event: ScheduledEvent, options: ScheduleOptions): Promise<ScheduleInfo> {
    const schedule = WireSchedule.fromPartial({
      ...ruleToWire(options),
      name: text("schedule.name", name),
      topic: text("schedule.topic", topic),
      maxRuns: BigInt(integer("schedule.max_runs", options.maxRuns ?? 0, 0, Number.MAX_SAFE_INTEGER)),
      jitter: durationToWire("schedule.jitter", options.jitterMs),
      overlap: choice("schedule.overlap", OVERLAPS, options.overlap ?? "allow"),
      catchUp: choice("schedule.catch_up", CATCH_UPS, options.catchUp ?? "last"),
      catchUpWindow: durationToWire("schedule.catch_up_window", options.catchUpWindowMs),
      paused: options.paused ?? false,
      note: text("schedule.note", options.note),
    });
    schedule.event = eventToWire(event, "schedule.event.");
    const request = { engine: engineToWire("engine", options.engine), schedule };
    return readInfo((await this.#repeated(EventBusSchedulesService.putSchedule, request, options)).schedule);
  }

  /** One schedule: when it fires next, and what it has done. */
  async get(name: string, options: ScheduleCallOptions = {}): Promise<ScheduleInfo> {
    const request = named(name, options);
    return readInfo((await this.#repeated(EventBusSchedulesService.getSchedule, request, options)).schedule);
  }

  /**
   * All schedules of an engine by name, fetched page by page: `for await (const each of client.schedules.list())`.
   *
   * @param options.pageSize how many to fetch at once, 1 to 1,000; 100 by default. The timeout is that of one page.
   */
  async *list(
    options: ScheduleCallOptions & { pageSize?: number | undefined } = {},
  ): AsyncGenerator<ScheduleInfo, void, undefined> {
    const engine = engineToWire("engine", options.engine);
    const pageSize = integer("page_size", options.pageSize ?? 0, 0, MAX_UINT32);
    yield* items(
      (pageToken) => this.#repeated(EventBusSchedulesService.listSchedules, { engine, pageSize, pageToken }, options),
      (page) => page.schedules.map((each) => readInfo(each)),
    );
  }

  /** Removes a schedule. Events that it has dispatched stay. It is not retried: a second try would find it gone. */
  async delete(name: string, options: ScheduleCallOptions = {}): Promise<void> {
    const limits = limitsOf(options, this.#timeoutMs);
    await this.#connection.unary(EventBusSchedulesService.deleteSchedule, named(name, options), limits);
  }

  /** Stops a schedule from firing until it is resumed. Pausing one that is paused is not an error. */
  async pause(name: string, options: ScheduleCallOptions = {}): Promise<void> {
    await this.#repeated(EventBusSchedulesService.pauseSchedule, named(name, options), options);
  }

  /** Ends a pause. What would have fired meanwhile does not fire. */
  async resume(name: string, options: ScheduleCallOptions = {}): Promise<void> {
    await this.#repeated(EventBusSchedulesService.resumeSchedule, named(name, options), options);
  }

  /**
   * Dispatches the event of a schedule once, now, also while it is paused.
   *
   * @param options.requestId lets the caller repeat the call safely; otherwise each call has its own.
   * @returns the event's id.
   */
  async trigger(name: string, options: ScheduleCallOptions & { requestId?: string | undefined } = {}): Promise<string> {
    const request = { ...named(name, options), requestId: requestId(options.requestId) };
    return (await this.#repeated(EventBusSchedulesService.triggerSchedule, request, options)).eventId;
  }

  /**
   * Dispatches an event, now, for each nominal time from `start` to before `end`: all of them or none.
   *
   * @param options.requestId as in `trigger`.
   * @returns the events' ids, in order of time.
   * @throws DueBusError `INVALID_ARGUMENT` when there are more than 1,000 nominal times.
   */
  async backfill(
    name: string,
    start: Date,
    end: Date,
    options: ScheduleCallOptions & { requestId?: string | undefined } = {},
  ): Promise<string[]> {
    const request = {
      ...named(name, options),
      start: moment("start", start),
      end: moment("end", end),
      requestId: requestId(options.requestId),
    };
    return (await this.#repeated(EventBusSchedulesService.backfillSchedule, request, options)).eventIds;
  }

  /**
   * When a rule would fire. Nothing is stored.
   *
   * @param options.count how many times, 1 to 1,000; 10 by default.
   * @param options.after the times after this moment; now by default.
   */
  async preview(
    rule: ScheduleRule,
    options: CallOptions & { count?: number | undefined; after?: Date | undefined } = {},
  ): Promise<SchedulePreview> {
    const request = {
      schedule: WireSchedule.fromPartial(ruleToWire(rule)),
      count: integer("count", options.count ?? 0, 0, MAX_UINT32),
      after: moment("after", options.after),
    };
    return this.#repeated(EventBusSchedulesService.previewSchedule, request, options);
  }

  async #repeated<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    options: CallOptions,
  ): Promise<Response> {
    return (await repeated(this.#connection, method, request, limitsOf(options, this.#timeoutMs))).response;
  }
}

function named(name: string, options: ScheduleCallOptions): { engine: ReturnType<typeof engineToWire>; name: string } {
  return { engine: engineToWire("engine", options.engine), name: text("name", name) };
}

function requestId(given: string | undefined): string {
  return text("request_id", given) || randomBytes(REQUEST_ID_BYTES).toString("hex");
}

/** The server refuses a rule that is neither. */
function ruleToWire({ cron, everyMs, timeZone, start, end }: ScheduleRule): Partial<WireSchedule> {
  if (cron !== undefined && everyMs !== undefined) {
    throw invalid("schedule.rule", "can't be both cron and every");
  }
  const every = durationToWire("schedule.every", everyMs);
  const byCron = cron === undefined ? undefined : ({ $case: "cron", cron: text("schedule.cron", cron) } as const);
  return {
    rule: every === undefined ? byCron : { $case: "every", every },
    timeZone: text("schedule.time_zone", timeZone),
    start: moment("schedule.start", start),
    end: moment("schedule.end", end),
  };
}

function readInfo(info = WireInfo.create()): ScheduleInfo {
  const { schedule, next, lastFiredAt, lastEventId, runs, skipped, missed, description } = info;
  return {
    ...readSchedule(schedule),
    next,
    lastFiredAt,
    lastEventId,
    runs: Number(runs),
    skipped: Number(skipped),
    missed: Number(missed),
    description,
  };
}

type Stored = Omit<
  ScheduleInfo,
  "next" | "lastFiredAt" | "lastEventId" | "runs" | "skipped" | "missed" | "description"
>;

function readSchedule(wire = WireSchedule.create()): Stored {
  const { name, topic, rule, timeZone, start, end, jitter, catchUpWindow, paused, note } = wire;
  return {
    name,
    topic,
    event: readEvent(wire.event),
    cron: rule?.$case === "cron" ? rule.cron : undefined,
    everyMs: rule?.$case === "every" ? durationFromWire(rule.every) : undefined,
    timeZone,
    start,
    end,
    maxRuns: Number(wire.maxRuns),
    jitterMs: durationFromWire(jitter),
    overlap: nameOf(OVERLAPS, wire.overlap) ?? "unknown",
    catchUp: nameOf(CATCH_UPS, wire.catchUp) ?? "unknown",
    catchUpWindowMs: catchUpWindow && durationFromWire(catchUpWindow),
    paused,
    note,
  };
}

function readEvent(event = WireEvent.create()): ScheduleInfo["event"] {
  const { data, contentType, attributes, key, priority, maxRetries } = event;
  return { data, contentType, attributes, key, priority, maxRetries };
}
