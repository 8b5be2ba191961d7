import type { Admin, Engine, EventInfo, EventState, Rate, TopicChanges } from "duebus";
import * as v1 from "duebus/v1";
import type { Fields } from "./lines.js";

type AdminCall = (admin: Admin, request: Uint8Array) => Promise<object>;

/** The options that every request has. */
interface At {
  engine: Engine | undefined;
  group: string | undefined;
}

function call<Request extends { engine: v1.Engine; group?: string }>(
  codec: { decode(bytes: Uint8Array): Request },
  make: (admin: Admin, request: Request, at: At) => Promise<object>,
): AdminCall {
  return (admin, bytes) => {
    const request = codec.decode(bytes);
    return make(admin, request, {
      engine: nameOf<Engine>(v1.Engine, request.engine),
      group: request.group || undefined,
    });
  };
}

/** The client's calls by the names of the service. A list has only one page. */
export const adminCalls: Readonly<Record<string, AdminCall>> = {
  ListTopics: call(v1.ListTopicsRequest, async (admin, { pageSize }, at) => ({
    topics: await all(admin.topics({ ...at, pageSize })),
  })),
  GetTopic: call(v1.GetTopicRequest, async (admin, { topic }, at) => ({ topic: await admin.getTopic(topic, at) })),
  ConfigureTopic: call(v1.ConfigureTopicRequest, async (admin, { topic, config }, at) => ({
    config: await admin.configureTopic(topic, changesOf(config ?? v1.TopicConfig.create()), at),
  })),
  DeleteTopic: call(v1.DeleteTopicRequest, async (admin, { topic }, at) => ({
    removed: await admin.deleteTopic(topic, at),
  })),
  DeleteGroup: call(v1.DeleteGroupRequest, async (admin, { topic, group }, at) => ({
    removed: await admin.deleteGroup(topic, group, at),
  })),
  PauseGroup: call(v1.PauseGroupRequest, async (admin, { topic, group }, at) => {
    await admin.pauseGroup(topic, group, at);
    return {};
  }),
  ResumeGroup: call(v1.ResumeGroupRequest, async (admin, { topic, group }, at) => {
    await admin.resumeGroup(topic, group, at);
    return {};
  }),
  ListEvents: call(v1.ListEventsRequest, async (admin, { topic, key, state, order, pageSize }, at) => {
    const newestFirst = order === v1.ListEventsRequest_Order.NEWEST_FIRST;
    const named = nameOf<EventState>(v1.EventState, state) as EventState;
    const events = await all(admin.events(topic, named, { ...at, key: key || undefined, newestFirst, pageSize }));
    return { events: events.map(readEvent) };
  }),
  GetEvent: call(v1.GetEventRequest, async (admin, { topic, eventId }, at) => ({
    event: readEvent(await admin.getEvent(topic, eventId, at)),
  })),
  ListKeys: call(v1.ListKeysRequest, async (admin, { topic, pageSize }, at) => ({
    keys: await all(admin.keys(topic, { ...at, pageSize })),
  })),
  CancelEvents: call(v1.CancelEventsRequest, (admin, { topic, eventIds, key }, at) =>
    admin.cancelEvents(topic, key ? { key } : { eventIds }, at),
  ),
  RescheduleEvents: call(v1.RescheduleEventsRequest, async (admin, { topic, eventIds, due }, at) => {
    const moved = due?.$case === "deliverAt" ? { deliverAt: due.deliverAt } : { delayMs: ms(due?.delay) ?? 0 };
    return { rescheduled: await admin.rescheduleEvents(topic, eventIds, moved, at) };
  }),
  RedriveEvents: call(v1.RedriveEventsRequest, async (admin, { topic, filter, rate }, at) => ({
    redriven: await admin.redriveEvents(topic, { ...at, ...filterOf(filter), rate }),
  })),
  PurgeEvents: call(v1.PurgeEventsRequest, async (admin, { topic, filter }, at) => ({
    purged: await admin.purgeEvents(topic, { ...at, ...filterOf(filter) }),
  })),
};

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const each of items) {
    found.push(each);
  }
  return found;
}

function nameOf<Name extends string>(values: object, value: number): Name | undefined {
  const name: unknown = Object.entries(values)
    .find(([, each]) => each === value)?.[0]
    .toLowerCase();
  return value === 0 ? undefined : (name as Name);
}

function ms(duration: { seconds: bigint; nanos: number } | undefined): number | undefined {
  return duration && Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}

function changesOf({ retryPolicy, limits, keys, ...config }: v1.TopicConfig): TopicChanges {
  return {
    retryPolicy: retryPolicy && {
      maxRetries: retryPolicy.maxRetries,
      backoffInitialMs: ms(retryPolicy.backoffInitial),
      backoffMaxMs: ms(retryPolicy.backoffMax),
    },
    leaseMs: ms(config.lease),
    maxQueued: config.maxQueued === undefined ? undefined : Number(config.maxQueued),
    deadLetterRetentionMs: ms(config.deadLetterRetention),
    dedupeWindowMs: ms(config.dedupeWindow),
    partitions: config.partitions,
    limits: limits && { maxInFlight: limits.maxInFlight, rate: rateOf(limits.rate) },
    keys: keys && {
      maxInFlight: keys.maxInFlight,
      rate: rateOf(keys.rate),
      onDead: nameOf(v1.KeyPolicy_OnDead, keys.onDead),
      maxBlocked: Number(keys.maxBlocked),
    },
  };
}

function rateOf(rate: v1.Rate | undefined): Rate | undefined {
  return rate && { events: rate.events, perMs: ms(rate.per) ?? 0, burst: rate.burst };
}

function filterOf({ eventIds, errorContains, minAge, key } = v1.DeadLetterFilter.create()) {
  return {
    eventIds: eventIds.length > 0 ? eventIds : undefined,
    errorContains: errorContains || undefined,
    minAgeMs: ms(minAge),
    key: key || undefined,
  };
}

/** The service has what was dispatched in a message of its own. */
function readEvent(info: EventInfo): object {
  const { eventId: id, data, contentType, attributes, key, priority, maxRetries, ...where } = info;
  return { event: { id, data, contentType, attributes, key, priority, maxRetries }, ...where };
}

const ENUMS: Readonly<Record<string, string>> = {
  engine: "ENGINE_",
  state: "EVENT_STATE_",
  outcome: "OUTCOME_",
  onDead: "ON_DEAD_",
};

/** An answer in protobuf's JSON. */
export function toJson(answer: object): Fields {
  return Object.fromEntries(Object.entries(answer).map(([name, value]) => jsonField(name, value)));
}

function jsonField(name: string, value: unknown): [string, unknown] {
  if (name.endsWith("Ms") && typeof value === "number") {
    return [name.slice(0, -2), `${(value / 1000).toFixed(9)}s`];
  }
  const prefix = ENUMS[name];
  return [
    name,
    prefix !== undefined && typeof value === "string" ? prefix + value.toUpperCase() : jsonValue(name, value),
  ];
}

function jsonValue(name: string, value: unknown): unknown {
  if (value instanceof Uint8Array) {
    return Buffer.from(value).toString("base64");
  }
  if (Array.isArray(value)) {
    return value.map((each) => jsonValue(name, each));
  }
  const isMessage = typeof value === "object" && value !== null && !(value instanceof Date) && name !== "attributes";
  return isMessage ? toJson(value) : value;
}
