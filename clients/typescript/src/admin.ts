import type { MethodDefinition } from "@grpc/grpc-js";
import { changesToWire, readConfig, readEvent, readKey, readTopic, STATES } from "./admin-codec.js";
import type { Cancelled, EventInfo, EventState, KeyInfo, TopicChanges, TopicConfig, TopicInfo } from "./admin-types.js";
import type { Connection } from "./connection.js";
import { invalid } from "./errors.js";
import {
  ListEventsRequest_Order as Order,
  EventBusAdminService as service,
  type DeadLetterFilter as WireFilter,
} from "./generated/duebus/v1/admin.js";
import type { Engine as WireEngine } from "./generated/duebus/v1/event_bus.js";
import { type CallOptions, limitsOf, repeated } from "./retry.js";
import {
  choice,
  durationToWire,
  type Engine,
  engineToWire,
  integer,
  list,
  MAX_UINT32,
  moment,
  shown,
  text,
  textOrNone,
} from "./values.js";

/** The options of an admin call. */
export interface AdminCallOptions extends CallOptions {
  /** The engine that holds the topic; the server's default engine otherwise. */
  engine?: Engine | undefined;
}

/** The options of a list. Its timeout is that of one page. */
export interface ListOptions extends AdminCallOptions {
  /** How many to fetch at once, 1 to 1,000; 100 by default. */
  pageSize?: number | undefined;
}

/** Selects the dead letters that meet every condition; without conditions, all of them. */
export interface DeadLetterFilter {
  /** `default` otherwise. */
  group?: string | undefined;
  /** Only these, 1 to 1,000. */
  eventIds?: readonly string[] | undefined;
  /** Only those whose last error contains this text. */
  errorContains?: string | undefined;
  /** Only those that have been dead for at least this long. */
  minAgeMs?: number | undefined;
  /** Only those with this key. */
  key?: string | undefined;
}

/** Which events to cancel: these, 1 to 1,000, or all with a key. */
export type CancelTarget = { eventIds: readonly string[]; key?: undefined } | { key: string; eventIds?: undefined };

/** When events are due: from now, or at a moment at most 10 years ahead. */
export type Due = { delayMs: number; deliverAt?: undefined } | { deliverAt: Date; delayMs?: undefined };

/**
 * The admin calls of a client, `client.admin`: they show which events are stuck and why, and get them moving again.
 *
 * Calls about an unknown topic, group or event reject with `NOT_FOUND`. Calls that read, and `configureTopic`, `pauseGroup`
 * and `resumeGroup`, are retried while the server is unavailable, as a dispatch is. The others are not, because a second
 * answer would not count what the first call did.
 */
export class Admin {
  readonly #connection: Connection;
  readonly #timeoutMs: number;

  /** @internal Use `Client.admin`. */
  constructor(connection: Connection, timeoutMs: number) {
    this.#connection = connection;
    this.#timeoutMs = timeoutMs;
  }

  /** All topics of an engine by name, fetched page by page: `for await (const each of client.admin.topics())`. */
  async *topics(options: ListOptions = {}): AsyncGenerator<TopicInfo, void, undefined> {
    const request = { ...engineOf(options), pageSize: pageSizeOf(options) };
    yield* items(
      (pageToken) => this.#repeated(service.listTopics, { ...request, pageToken }, options),
      (page) => page.topics.map((each) => readTopic(each)),
    );
  }

  /** One topic: its settings, its groups, and the last hour by the minute. */
  async getTopic(topic: string, options: AdminCallOptions = {}): Promise<TopicInfo> {
    return readTopic((await this.#repeated(service.getTopic, inTopic(topic, options), options)).topic);
  }

  /**
   * Changes settings of a topic, which it creates if it does not exist.
   *
   * @param options.group changes the retry policy, limits or key policy of this group alone.
   * @returns all settings that are now in force.
   * @throws DueBusError `INVALID_ARGUMENT` when a setting is out of range; then nothing changes.
   */
  async configureTopic(
    topic: string,
    changes: TopicChanges,
    options: AdminCallOptions & { group?: string | undefined } = {},
  ): Promise<TopicConfig> {
    const group = textOrNone("group", options.group, "the topic itself");
    const request = { ...inGroup(topic, group, options), config: changesToWire(changes) };
    return readConfig((await this.#repeated(service.configureTopic, request, options)).config);
  }

  /** Removes a topic with its groups and events, however long it takes. Returns how many events that were. */
  async deleteTopic(topic: string, options: AdminCallOptions = {}): Promise<number> {
    return Number((await this.#unlimited(service.deleteTopic, inTopic(topic, options), options)).removed);
  }

  /** Removes a group with its copies of events, however long it takes. Returns how many that were. */
  async deleteGroup(topic: string, group: string, options: AdminCallOptions = {}): Promise<number> {
    const request = inGroup(topic, group, options);
    return Number((await this.#unlimited(service.deleteGroup, request, options)).removed);
  }

  /** Delivers nothing to a group until it is resumed. Pausing one that is paused is not an error. */
  async pauseGroup(topic: string, group: string, options: AdminCallOptions = {}): Promise<void> {
    await this.#repeated(service.pauseGroup, inGroup(topic, group, options), options);
  }

  /** Ends a pause; what became due meanwhile is delivered. */
  async resumeGroup(topic: string, group: string, options: AdminCallOptions = {}): Promise<void> {
    await this.#repeated(service.resumeGroup, inGroup(topic, group, options), options);
  }

  /**
   * All events of a group in one state, fetched page by page.
   *
   * @param options.group `default` otherwise; if the topic has no group yet, the events that wait for the first.
   * @param options.key only those with this key.
   * @param options.newestFirst by due time, lease expiry or time of death; the oldest first otherwise.
   */
  async *events(
    topic: string,
    state: EventState,
    options: ListOptions & {
      group?: string | undefined;
      key?: string | undefined;
      newestFirst?: boolean | undefined;
    } = {},
  ): AsyncGenerator<EventInfo, void, undefined> {
    const request = {
      ...inGroup(topic, options.group, options),
      state: choice("state", STATES, state),
      key: textOrNone("key", options.key, "all events"),
      order: options.newestFirst === true ? Order.NEWEST_FIRST : Order.OLDEST_FIRST,
      pageSize: pageSizeOf(options),
    };
    yield* items(
      (pageToken) => this.#repeated(service.listEvents, { ...request, pageToken }, options),
      (page) => page.events.map((each) => readEvent(each)),
    );
  }

  /** One event: its state and its history in each group that still holds it. */
  async getEvent(topic: string, eventId: string, options: AdminCallOptions = {}): Promise<EventInfo> {
    const request = { ...inTopic(topic, options), eventId: text("event_id", eventId) };
    return readEvent((await this.#repeated(service.getEvent, request, options)).event);
  }

  /**
   * All keys of a group that hold something, those with the most blocked events first, fetched page by page. A key that
   * moves meanwhile may come twice, or not at all.
   *
   * @param options.group `default` otherwise.
   */
  async *keys(
    topic: string,
    options: ListOptions & { group?: string | undefined } = {},
  ): AsyncGenerator<KeyInfo, void, undefined> {
    const request = { ...inGroup(topic, options.group, options), pageSize: pageSizeOf(options) };
    yield* items(
      (pageToken) => this.#repeated(service.listKeys, { ...request, pageToken }, options),
      (page) => page.keys.map((each) => readKey(each)),
    );
  }

  /**
   * Removes scheduled, ready or blocked events. Copies that are leased or dead are left alone, and reported.
   *
   * @param options.group only its copies; in every group otherwise.
   */
  async cancelEvents(
    topic: string,
    target: CancelTarget,
    options: AdminCallOptions & { group?: string | undefined } = {},
  ): Promise<Cancelled> {
    const request = {
      ...inGroup(topic, textOrNone("group", options.group, "every group"), options),
      eventIds: ids("event_ids", target.eventIds),
      key: text("key", target.key),
    };
    const response = await this.#once(service.cancelEvents, request, options);
    return { ...response, cancelled: Number(response.cancelled) };
  }

  /**
   * Changes the due time of scheduled, ready or blocked events: of all or none. The attempts keep counting.
   *
   * @param options.group only its copies; in every group otherwise.
   * @returns how many events have a new due time.
   * @throws DueBusError `CONCURRENT_MODIFICATION` when one is leased or dead.
   */
  async rescheduleEvents(
    topic: string,
    eventIds: readonly string[],
    { delayMs, deliverAt }: Due,
    options: AdminCallOptions & { group?: string | undefined } = {},
  ): Promise<number> {
    if (delayMs !== undefined && deliverAt !== undefined) {
      throw invalid("delay", "can't be set together with deliver_at");
    }
    const delay = durationToWire("delay", delayMs);
    const at = moment("deliver_at", deliverAt);
    const due = delay ? { $case: "delay" as const, delay } : at && { $case: "deliverAt" as const, deliverAt: at };
    const group = textOrNone("group", options.group, "every group");
    const request = { ...inGroup(topic, group, options), eventIds: ids("event_ids", eventIds), due };
    return Number((await this.#once(service.rescheduleEvents, request, options)).rescheduled);
  }

  /**
   * Makes dead letters ready again, with all their retries, however long it takes.
   *
   * @param options.rate how many become due per second, 0.001 to 1,000,000; all at once otherwise.
   * @returns how many.
   */
  async redriveEvents(
    topic: string,
    options: AdminCallOptions & DeadLetterFilter & { rate?: number | undefined } = {},
  ): Promise<number> {
    const { rate = 0 } = options;
    if (typeof rate !== "number" || Number.isNaN(rate)) {
      throw invalid("rate", `is not a number: ${shown(rate)}`);
    }
    const request = { ...inGroup(topic, options.group, options), filter: filterToWire(options), rate };
    return Number((await this.#unlimited(service.redriveEvents, request, options)).redriven);
  }

  /** Removes dead letters for good, however long it takes. Returns how many. */
  async purgeEvents(topic: string, options: AdminCallOptions & DeadLetterFilter = {}): Promise<number> {
    const request = { ...inGroup(topic, options.group, options), filter: filterToWire(options) };
    return Number((await this.#unlimited(service.purgeEvents, request, options)).purged);
  }

  #once<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    options: CallOptions,
  ): Promise<Response> {
    return this.#connection.unary(method, request, limitsOf(options, this.#timeoutMs));
  }

  /** However long it takes, unless the caller sets a timeout. */
  #unlimited<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    options: CallOptions,
  ): Promise<Response> {
    return this.#connection.unary(method, request, limitsOf(options, Number.POSITIVE_INFINITY));
  }

  async #repeated<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    options: CallOptions,
  ): Promise<Response> {
    return (await repeated(this.#connection, method, request, limitsOf(options, this.#timeoutMs))).response;
  }
}

/** The items of all pages. A page is fetched when the one before is read. */
export async function* items<Page extends { nextPageToken: string }, Item>(
  fetch: (pageToken: string) => Promise<Page>,
  itemsOf: (page: Page) => Item[],
): AsyncGenerator<Item, void, undefined> {
  let pageToken = "";
  do {
    const page = await fetch(pageToken);
    yield* itemsOf(page);
    pageToken = page.nextPageToken;
  } while (pageToken);
}

function engineOf({ engine }: AdminCallOptions): { engine: WireEngine } {
  return { engine: engineToWire("engine", engine) };
}

function inTopic(topic: string, options: AdminCallOptions): { engine: WireEngine; topic: string } {
  return { ...engineOf(options), topic: text("topic", topic) };
}

function inGroup(
  topic: string,
  group: string | undefined,
  options: AdminCallOptions,
): { engine: WireEngine; topic: string; group: string } {
  return { ...inTopic(topic, options), group: text("group", group) };
}

function pageSizeOf({ pageSize = 0 }: ListOptions): number {
  return integer("page_size", pageSize, 0, MAX_UINT32);
}

function ids(field: string, given: readonly string[] | undefined): string[] {
  return list(field, given ?? []).map((each, index) => text(`${field}[${index}]`, each));
}

/** What is empty may be a mistake: on the wire it means all. */
function filterToWire({ eventIds, errorContains, minAgeMs, key }: DeadLetterFilter): WireFilter {
  const all = "all dead letters";
  if (eventIds?.length === 0) {
    throw invalid("filter.event_ids", `is empty; leave it out for ${all}`);
  }
  return {
    eventIds: ids("filter.event_ids", eventIds),
    errorContains: textOrNone("filter.error_contains", errorContains, all),
    minAge: durationToWire("filter.min_age", minAgeMs),
    key: textOrNone("filter.key", key, all),
  };
}
