import type { ScheduleInfo, ScheduleOptions, ScheduleRule, Schedules } from "duebus";
import type { Fields } from "./lines.js";
import { eventOf, moment, optional, required } from "./values.js";

type Command = (fields: Fields) => Promise<Fields>;

/** The commands about schedules. */
export function scheduleCommands(of: (fields: Fields) => Schedules): Record<string, Command> {
  const name = (fields: Fields): string => required(fields, "name");
  return {
    "schedule.put": async (fields) => readInfo(await put(of(fields), fields)),
    "schedule.get": async (fields) => readInfo(await of(fields).get(name(fields), engine(fields))),
    "schedule.list": async (fields) => ({ names: await names(of(fields), fields) }),
    "schedule.delete": (fields) => done(of(fields).delete(name(fields), engine(fields))),
    "schedule.pause": (fields) => done(of(fields).pause(name(fields), engine(fields))),
    "schedule.resume": (fields) => done(of(fields).resume(name(fields), engine(fields))),
    "schedule.trigger": async (fields) => ({ event_id: await of(fields).trigger(name(fields), repeatable(fields)) }),
    "schedule.backfill": async (fields) => ({ event_ids: await backfill(of(fields), fields) }),
    "schedule.preview": (fields) => preview(of(fields), fields),
  };
}

async function done(call: Promise<void>): Promise<Fields> {
  await call;
  return {};
}

function engine(fields: Fields): Pick<ScheduleOptions, "engine"> {
  return { engine: optional(fields, "engine") };
}

function repeatable(fields: Fields): { requestId: string | undefined } {
  return { ...engine(fields), requestId: optional(fields, "request_id") };
}

/** The compiler would refuse a rule of both kinds, or of neither; the cases try them. */
function ruleOf(fields: Fields): ScheduleRule {
  return {
    cron: optional<string>(fields, "cron"),
    everyMs: optional<number>(fields, "every_ms"),
    timeZone: optional<string>(fields, "time_zone"),
    start: moment(fields, "start_at_ms"),
    end: moment(fields, "end_at_ms"),
  } as ScheduleRule;
}

function put(schedules: Schedules, fields: Fields): Promise<ScheduleInfo> {
  return schedules.put(required(fields, "name"), required(fields, "topic"), eventOf(optional(fields, "event") ?? {}), {
    ...ruleOf(fields),
    ...engine(fields),
    maxRuns: optional(fields, "max_runs"),
    jitterMs: optional(fields, "jitter_ms"),
    overlap: optional(fields, "overlap"),
    catchUp: optional(fields, "catch_up"),
    catchUpWindowMs: optional(fields, "catch_up_window_ms"),
    paused: optional(fields, "paused"),
    note: optional(fields, "note"),
  });
}

async function names(schedules: Schedules, fields: Fields): Promise<string[]> {
  const found: string[] = [];
  for await (const each of schedules.list({ ...engine(fields), pageSize: optional(fields, "page_size") })) {
    found.push(each.name);
  }
  return found;
}

function backfill(schedules: Schedules, fields: Fields): Promise<string[]> {
  const at = (name: string): Date => new Date(required<number>(fields, name));
  return schedules.backfill(required(fields, "name"), at("start_at_ms"), at("end_at_ms"), repeatable(fields));
}

async function preview(schedules: Schedules, fields: Fields): Promise<Fields> {
  const options = { count: optional<number>(fields, "count"), after: moment(fields, "after_at_ms") };
  const { times, description } = await schedules.preview(ruleOf(fields), options);
  return { times_at_ms: times.map((each) => each.getTime()), description };
}

function readInfo(info: ScheduleInfo): Fields {
  const { data, contentType, attributes, key, maxRetries } = info.event;
  return {
    name: info.name,
    topic: info.topic,
    event: {
      data: Buffer.from(data).toString("base64"),
      content_type: contentType,
      attributes,
      key,
      max_retries: maxRetries ?? null,
    },
    cron: info.cron ?? "",
    every_ms: info.everyMs ?? null,
    time_zone: info.timeZone,
    start_at_ms: info.start?.getTime() ?? null,
    end_at_ms: info.end?.getTime() ?? null,
    max_runs: info.maxRuns,
    jitter_ms: info.jitterMs,
    overlap: info.overlap,
    catch_up: info.catchUp,
    catch_up_window_ms: info.catchUpWindowMs ?? null,
    paused: info.paused,
    note: info.note,
    next_at_ms: info.next.map((each) => each.getTime()),
    last_fired_at_ms: info.lastFiredAt?.getTime() ?? null,
    last_event_id: info.lastEventId,
    runs: info.runs,
    skipped: info.skipped,
    missed: info.missed,
    description: info.description,
  };
}
