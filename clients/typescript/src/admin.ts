import type { Connection } from "./connection.js";
import * as messages from "./generated/duebus/v1/admin.js";
import type { DeepPartial } from "./generated/duebus/v1/event_bus.js";
import type { CallOptions } from "./retry.js";
import { type Stubs, stubs } from "./stubs.js";

/** The admin calls, and what lists over all pages. The timeout of such a list is that of one page. */
export interface Admin extends Stubs<typeof messages.EventBusAdminService> {
  /** All topics by name: `for await (const each of bus.admin.topics())`. A page is fetched when the one before is read. */
  topics(request?: DeepPartial<messages.ListTopicsRequest>, options?: CallOptions): AsyncIterable<messages.TopicInfo>;
  /** All events of a group in one state, in the order of `listEvents`. */
  events(request: DeepPartial<messages.ListEventsRequest>, options?: CallOptions): AsyncIterable<messages.EventInfo>;
  /** All keys of a group that hold something, those with the most blocked events first. */
  keys(request: DeepPartial<messages.ListKeysRequest>, options?: CallOptions): AsyncIterable<messages.KeyInfo>;
}

export function adminCalls(connection: Connection, timeoutMs: number): Admin {
  const calls = stubs(messages.EventBusAdminService, messages, connection, timeoutMs);
  return Object.freeze({
    ...calls,
    topics: (request = {}, options) =>
      items(
        (pageToken) => calls.listTopics({ ...request, pageToken }, options),
        (page) => page.topics,
      ),
    events: (request, options) =>
      items(
        (pageToken) => calls.listEvents({ ...request, pageToken }, options),
        (page) => page.events,
      ),
    keys: (request, options) =>
      items(
        (pageToken) => calls.listKeys({ ...request, pageToken }, options),
        (page) => page.keys,
      ),
  } satisfies Admin);
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
