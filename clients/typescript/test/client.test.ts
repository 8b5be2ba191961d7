import assert from "node:assert/strict";
import { promises } from "node:dns";
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, type TestContext, test } from "node:test";
import { status } from "@grpc/grpc-js";
import {
  Client,
  type ClientOptions,
  DueBusError,
  type Interceptor,
  type NewEvent,
  type Reason,
  type Subscription,
} from "duebus";
import { FakeBus, failure } from "./fakebus.js";

let bus: FakeBus;
let clients: Client[];
let others: FakeBus[];

beforeEach(async () => {
  bus = await new FakeBus().start();
  clients = [];
  others = [];
});

afterEach(() => {
  for (const each of clients) {
    each.close();
  }
  for (const each of [bus, ...others]) {
    each.stop();
  }
});

async function startOther(address?: string, port?: number): Promise<FakeBus> {
  const other = await new FakeBus().start(address, port);
  others.push(other);
  return other;
}

function connect(target = bus.target, options: ClientOptions = {}): Client {
  const client = new Client(target, { timeoutMs: 5000, ...options });
  clients.push(client);
  return client;
}

async function failing(call: Promise<unknown>, reason: Reason): Promise<DueBusError> {
  const error = await call.then(
    () => undefined,
    (raised: unknown) => raised,
  );
  assert(error instanceof DueBusError, `no DueBusError: ${error}`);
  assert.equal(error.reason, reason, error.message);
  return error;
}

test("an event is sent as given", async () => {
  const event: NewEvent = {
    id: "a",
    json: { id: 42 },
    attributes: { k: "v" },
    delayMs: 1500.5,
    maxRetries: 0,
    key: "k-1",
  };

  const dispatched = await connect().dispatch("t", event, { engines: ["redis"], requireSubscriber: true });

  assert.deepEqual(dispatched, { eventId: "a", duplicate: false });
  const [request] = bus.dispatches;
  assert.equal(request?.events[0]?.data.toString(), '{"id":42}');
  assert.equal(request?.events[0]?.contentType, "application/json");
  assert.deepEqual(request?.events[0]?.due, { $case: "delay", delay: { seconds: 1n, nanos: 500_500_000 } });
  assert.equal(request?.events[0]?.maxRetries, 0);
  assert.equal(request?.events[0]?.key, "k-1");
  assert.deepEqual([request?.engines, request?.requireSubscriber], [[2], true]);
});

test("an event may be an object of a class, with fields that are computed", async () => {
  class OrderPlaced {
    #order = 42;
    get json(): object {
      return { order: this.#order };
    }
  }
  await connect().dispatch("t", new OrderPlaced());
  await connect().dispatch("t", Object.freeze({ id: "a", json: 5, [Symbol("mark")]: true }));
  assert.deepEqual(
    bus.dispatches.map(({ events }) => events[0]?.data.toString()),
    ['{"order":42}', "5"],
  );
});

test("a timeout that is not positive is refused by every call", async () => {
  const client = connect();
  const { admin, schedules } = client;
  for (const timeoutMs of [0, -1, Number.NaN, "5" as never, 5n as never]) {
    const options = { timeoutMs };
    for (const call of [
      client.dispatch("t", {}, options),
      client.dispatchMany("t", [{}], options),
      client.subscribe("t", options),
      client.ack(["lease"], options),
      client.stop([], options),
      client.isServing("", options),
      admin.getTopic("t", options),
      admin.topics(options).next(),
      admin.cancelEvents("t", { key: "k" }, options),
      admin.deleteTopic("t", options),
      schedules.get("s", options),
      schedules.delete("s", options),
    ]) {
      assert.equal((await failing(call, "INVALID_ARGUMENT")).fieldViolations[0]?.field, "timeout");
    }
  }
});

test("each event of a dispatch is sent with its key", async () => {
  await connect().dispatchMany("t", [{ key: "x" }, {}, { key: "y" }]);
  assert.deepEqual(
    bus.dispatches[0]?.events.map(({ key }) => key),
    ["x", "", "y"],
  );
});

test("bad input is refused with the field's name, and nothing is sent", async () => {
  const client = connect();
  const circular: Record<string, unknown> = {};
  circular.self = circular;
  const cases: [NewEvent, string][] = [
    [{ delayMs: Number.NaN }, "events[1].delay"],
    [{ delayMs: 1e25 }, "events[1].delay"], // protobuf can't carry it
    [{ delayMs: Number.MAX_VALUE }, "events[1].delay"],
    [{ delayMs: 1, deliverAt: new Date() }, "events[1].delay"],
    [{ deliverAt: new Date("no moment") }, "events[1].deliver_at"],
    [{ maxRetries: -1 }, "events[1].max_retries"],
    [{ id: "\ud800" }, "events[1].id"],
    [{ key: 7 as never }, "events[1].key"],
    [{ attributes: { k: 1 as never } }, 'events[1].attributes["k"]'],
    [{ data: {} as never }, "events[1].data"],
    [{ json: circular }, "events[1].json"],
    [{ json: 1n }, "events[1].json"],
    [{ json: 1, data: "1" }, "events[1].json"],
    [{ json: undefined }, "events[1].json"],
    [{ data: null as never }, "events[1].data"],
    [{ delayMs: "5" as never }, "events[1].delay"],
    [{ delayMs: 5n as never }, "events[1].delay"],
    [{ deliverAt: "2030-01-01" as never }, "events[1].deliver_at"],
    [{ priority: 1n as never }, "events[1].priority"],
    [{ attributes: new Map([["k", "v"]]) as never }, "events[1].attributes"],
    [{ attributes: { k: undefined as never } }, 'events[1].attributes["k"]'],
    [{ id: "42", total: 5 } as never, "events[1].total"], // a payload in place of an event, which TypeScript may accept
    ["text" as never, "events[1]"],
    [[] as never, "events[1]"],
    [new Map([["id", "42"]]) as never, "events[1]"],
    [Promise.resolve({ id: "42" }) as never, "events[1]"],
    [{ json: Promise.resolve(5) }, "events[1].json"],
  ];
  for (const [event, field] of cases) {
    const error = await failing(client.dispatchMany("t", [{}, event]), "INVALID_ARGUMENT");
    assert.deepEqual(
      error.fieldViolations.map((each) => each.field),
      [field],
    );
    assert(error.message.includes(field));
  }
  await failing(client.dispatch("t", {}, { engines: ["postgres" as never] }), "INVALID_ARGUMENT");
  const both = { leaseToken: "x", delayMs: 1, release: true };
  assert.equal((await failing(client.nack([both]), "INVALID_ARGUMENT")).fieldViolations[0]?.field, "nacks[0].action");
  for (const events of [{ json: 1 }, undefined]) {
    const error = await failing(client.dispatchMany("t", events as never), "INVALID_ARGUMENT");
    assert.equal(error.fieldViolations[0]?.field, "events");
  }
  assert.deepEqual([bus.dispatches, bus.nacks], [[], []]);
});

test("a signal that is none is refused", async () => {
  const error = await failing(
    connect().dispatch("t", {}, { signal: new AbortController() as never }),
    "INVALID_ARGUMENT",
  );
  assert.equal(error.fieldViolations[0]?.field, "signal");
  assert.deepEqual(bus.dispatches, []);
});

test("a timeout longer than gRPC can express is none", async () => {
  await connect().dispatch("t", {}, { timeoutMs: Number.MAX_SAFE_INTEGER });
  assert.equal(bus.dispatches.length, 1);
});

test("a target or an option that can't be used is refused", () => {
  const field = (name: string) => (error: unknown) =>
    error instanceof DueBusError && error.fieldViolations[0]?.field === name;
  for (const target of ["", "a:1,b", "a:1,:2", "a:1,b:x", "http://a:1", "HTTPS://a"]) {
    assert.throws(() => new Client(target), field("target"), target);
  }
  assert.throws(() => new Client("a:1", { timeoutMs: 0 }), field("timeout"));
  for (const token of ["line\nbreak", " ", Promise.resolve("t") as never, null as never]) {
    assert.throws(() => new Client("a:1", { token }), field("token"));
  }
  assert.throws(() => new Client(undefined as never), field("target"));
  new Client("http:50051").close(); // a host of that name
  assert.throws(() => new Client("a:1", { tls: { cert: "no pem", key: "no pem" } }), field("tls"));
  new Client("a:1", { tls: { ca: undefined, cert: undefined, key: undefined, serverName: undefined } }).close();
});

test("a dispatch is retried with the same request id while the server is unavailable", async () => {
  bus.failures.push(failure(status.UNAVAILABLE, "DISPATCHER_NOT_WORKING"), failure(status.UNAVAILABLE, ""));

  await connect().dispatch("t", { id: "a" });

  const ids = bus.dispatches.map(({ requestId }) => requestId);
  assert.equal(ids.length, 3);
  assert.equal(new Set(ids).size, 1);
  assert.notEqual(ids[0], "");
});

test("an error that no retry can cure is reported at once, with its details", async () => {
  bus.failures.push(failure(status.RESOURCE_EXHAUSTED, "MAX_QUEUED_EVENTS_REACHED", "full"));

  const error = await failing(connect().dispatch("t", {}), "MAX_QUEUED_EVENTS_REACHED");

  assert.equal(bus.dispatches.length, 1);
  assert.deepEqual([error.message, error.code, error.metadata], ["full", status.RESOURCE_EXHAUSTED, { topic: "t" }]);
});

test("a narrower reason is also its wider one", async () => {
  bus.failures.push(failure(status.INVALID_ARGUMENT, "NO_TOPIC_SPECIFIED"));
  const error = await failing(connect().dispatch("", {}), "NO_TOPIC_SPECIFIED");
  assert.deepEqual([error.is("INVALID_ARGUMENT"), error.is("UNAVAILABLE")], [true, false]);
});

test("an ack whose first answer was lost is an ack", async () => {
  bus.failures.push(failure(status.UNAVAILABLE, ""));
  bus.leaseFailures = [
    { leaseToken: "a", reason: 2 },
    { leaseToken: "b", reason: 1 },
  ];
  assert.deepEqual(await connect().ack(["a", "b"]), [{ leaseToken: "b", reason: "expired" }]);
});

test("an unreachable server is UNAVAILABLE within the timeout", async () => {
  bus.stop();
  const begin = performance.now();
  await failing(connect().dispatch("t", {}, { timeoutMs: 1000 }), "UNAVAILABLE");
  assert(performance.now() - begin < 5000);
});

test("a server that accepts connections and never answers is an error within the timeout", async () => {
  const sockets: Socket[] = [];
  const silent: Server = createServer((socket) => sockets.push(socket)).listen(0, "127.0.0.1");
  await once(silent, "listening");
  const address = silent.address();
  assert(typeof address === "object" && address !== null);
  const client = connect(`127.0.0.1:${address.port}`);
  await failing(client.dispatch("t", {}, { timeoutMs: 200 }), "DEADLINE_EXCEEDED");
  await failing(client.subscribe("t", { timeoutMs: 200 }), "DEADLINE_EXCEEDED");
  client.close();
  for (const each of sockets) {
    each.destroy();
  }
  silent.close();
});

test("a signal ends a call, and an aborted one prevents it", async () => {
  bus.acksHeld = true;
  const end = new AbortController();
  const call = connect().ack(["a"], { signal: end.signal });
  await bus.until("an ack", () => bus.acks.length === 1);
  end.abort(new Error("enough"));
  const error = await failing(call, "CANCELLED");
  assert.match(String(error.cause), /enough/);
  await failing(connect().ack(["b"], { signal: end.signal }), "CANCELLED");
  assert.equal(bus.acks.length, 1);
});

test("closing ends running calls and streams, and refuses later ones", async () => {
  bus.acksHeld = true;
  const client = connect();
  const subscription = await client.subscribe("t");
  const reading = subscription[Symbol.asyncIterator]().next();
  const call = client.ack(["a"]);
  await bus.until("an ack", () => bus.acks.length === 1);
  client.close();
  client.close();
  await failing(call, "CLIENT_CLOSED");
  await failing(reading, "CLIENT_CLOSED");
  await failing(client.dispatch("t", {}), "CLIENT_CLOSED");
  await failing(client.subscribe("t"), "CLIENT_CLOSED");
});

test("the token is sent with each call", async () => {
  await connect(bus.target, { token: "secret" }).dispatch("t", {});
  assert.deepEqual(bus.tokens, ["Bearer secret"]);
});

test("a token is asked for before each call and each stream", async () => {
  let asked = 0;
  const client = connect(bus.target, { token: async () => `token-${++asked}` });
  await client.dispatch("t", {});
  await using _ = await client.subscribe("t");
  await client.ack(["lease"]);
  assert.deepEqual(bus.tokens, ["Bearer token-1", "Bearer token-2", "Bearer token-3"]);
});

test("a call is repeated while there is no token", async () => {
  let asked = 0;
  const token = (): string => {
    if (++asked === 1) {
      throw new Error("the token service is away");
    }
    return "late";
  };
  await connect(bus.target, { token }).dispatch("t", {});
  assert.deepEqual(bus.tokens, ["Bearer late"]);
  const away = (): Promise<string> => Promise.reject(new Error("the token service is away"));
  const error = await failing(connect(bus.target, { token: away, timeoutMs: 500 }).dispatch("t", {}), "UNAVAILABLE");
  assert.equal(error.message, "no token: the token service is away");
});

test("a call waits for a token until its time is over, its signal aborts or the client is closed", async () => {
  const client = connect(bus.target, { token: () => new Promise(() => {}) });
  await failing(client.dispatch("a", {}, { timeoutMs: 10 }), "DEADLINE_EXCEEDED");
  await failing(client.dispatch("b", {}, { signal: AbortSignal.timeout(10) }), "CANCELLED");
  const waiting = [client.dispatch("c", {}), client.subscribe("t")];
  client.close();
  for (const each of waiting) {
    await failing(each, "CLIENT_CLOSED");
  }
});

test("a token that can't be sent is an error at once", async () => {
  await failing(connect(bus.target, { token: () => "line\nbreak" }).dispatch("t", {}), "UNAUTHENTICATED");
});

test("the line break at the end of a token is not sent", async () => {
  await connect(bus.target, { token: "fixed\n" }).dispatch("t", {});
  await connect(bus.target, { token: () => "provided\n" }).dispatch("t", {});
  assert.deepEqual(bus.tokens, ["Bearer fixed", "Bearer provided"]);
});

test("an empty token is none", async () => {
  await connect(bus.target, { token: "" }).dispatch("t", {});
  assert.deepEqual([bus.dispatches.length, bus.tokens], [1, []]);
});

test("a provider's empty token is no token", async () => {
  const tokens = ["", undefined as never, "late"];
  await connect(bus.target, { token: () => tokens.shift() as string }).dispatch("t", {});
  assert.deepEqual(bus.tokens, ["Bearer late"]);
});

test("interceptors see each dispatch, the first outermost, and may change its events", async () => {
  const seen: string[] = [];
  const naming = (name: string): Interceptor => ({
    async dispatch(topic, events, next) {
      seen.push(`${name} ${topic} ${events.length}`);
      const results = await next(events.map((each) => ({ ...each, attributes: { ...each.attributes, [name]: "1" } })));
      seen.push(`${name} ${results.map((each) => each.eventId)}`);
      return results;
    },
  });
  const client = connect(bus.target, { interceptors: [naming("outer"), {}, naming("inner")] });
  assert.equal((await client.dispatch("t", { id: "a" })).eventId, "a");
  assert.deepEqual(seen.splice(0), ["outer t 1", "inner t 1", "inner a", "outer a"]);
  assert.deepEqual(bus.dispatches[0]?.events[0]?.attributes, { outer: "1", inner: "1" });
  await client.dispatchMany("t", [{ id: "b" }, { id: "c" }]);
  assert.deepEqual(seen, ["outer t 2", "inner t 2", "inner b,c", "outer b,c"]);
});

test("a dispatch for which an interceptor has no result fails", async () => {
  const dropping = connect(bus.target, { interceptors: [{ dispatch: async () => [] }] });
  await failing(dropping.dispatch("t", {}), "INTERNAL");
});

test("options of the channels can be given", async () => {
  const client = connect(bus.target, { channelOptions: { "grpc.max_send_message_length": 10 } });
  await failing(client.dispatch("t", { data: "x".repeat(100) }), "RESOURCE_EXHAUSTED");
});

test("many calls at once leave nothing behind", async () => {
  const warnings: Error[] = [];
  const note = (warning: Error): unknown => warnings.push(warning);
  process.on("warning", note);
  const client = connect();
  const { signal } = new AbortController();
  await Promise.all(Array.from({ length: 200 }, () => client.dispatch("t", {}, { signal })));
  await new Promise(setImmediate);
  process.off("warning", note);
  assert.deepEqual(warnings, []);
});

/** A client with a dispatch, of the event "first", that the bus holds. */
async function behindACall(): Promise<{ client: Client; first: Promise<unknown> }> {
  bus.dispatchesHeld = true;
  const client = connect();
  const first = client.dispatch("t", { id: "first" });
  await bus.until("a dispatch", () => bus.dispatches.length === 1);
  return { client, first };
}

const sent = (): string[][] => bus.dispatches.map(({ events }) => events.map(({ id }) => id));

test("single dispatches that arrive during a call share the next one", async () => {
  const { client, first } = await behindACall();
  const others = ["a", "b", "c"].map((id) => client.dispatch("t", { id, key: `key-${id}` }));
  bus.releaseDispatches();
  assert.deepEqual(
    await Promise.all([first, ...others]),
    ["first", "a", "b", "c"].map((eventId) => ({ eventId, duplicate: false })),
  );
  assert.deepEqual(sent(), [["first"], ["a", "b", "c"]]);
  assert.deepEqual(
    bus.dispatches[1]?.events.map(({ key }) => key),
    ["key-a", "key-b", "key-c"],
  );
});

test("a dispatch that is aborted while it waits is not sent", async () => {
  const { client, first } = await behindACall();
  const end = new AbortController();
  const hasty = client.dispatch("t", { id: "a" }, { signal: end.signal });
  const patient = client.dispatch("t", { id: "b" }, { signal: new AbortController().signal });
  end.abort(new Error("enough"));
  assert.match(String((await failing(hasty, "CANCELLED")).cause), /enough/);
  await failing(client.dispatch("t", { id: "c" }, { signal: end.signal }), "CANCELLED");
  bus.releaseDispatches();
  await Promise.all([first, patient]);
  assert.deepEqual(sent(), [["first"], ["b"]]);
});

test("a first dispatch that is aborted does not hold up the others", async () => {
  bus.dispatchesHeld = true;
  const client = connect();
  const end = new AbortController();
  const first = client.dispatch("t", { id: "first" }, { signal: end.signal });
  await bus.until("a dispatch", () => bus.dispatches.length === 1);
  const second = client.dispatch("t", { id: "second" });
  end.abort();
  await failing(first, "CANCELLED");
  await bus.until("the second dispatch", () => bus.dispatches.length === 2);
  bus.releaseDispatches();
  assert.deepEqual(await second, { eventId: "second", duplicate: false });
});

test("a shared call is repeated as it was", async () => {
  const { client, first } = await behindACall();
  const others = ["a", "b"].map((id) => client.dispatch("t", { id }));
  bus.releaseDispatches();
  await first;
  bus.failures.push(failure(status.UNAVAILABLE, "DISPATCHER_NOT_WORKING"));
  await Promise.all(others);
  assert.deepEqual(sent(), [["first"], ["a", "b"], ["a", "b"]]);
  assert.deepEqual(bus.dispatches[1], bus.dispatches[2]);
});

test("large events go in several shared calls", async () => {
  const { client, first } = await behindACall();
  const data = new Uint8Array(1 << 20);
  const others = ["0", "1", "2", "3"].map((id) => client.dispatch("t", { id, data }));
  bus.releaseDispatches();
  await Promise.all([first, ...others]);
  assert.deepEqual(sent(), [["first"], ["0", "1"], ["2", "3"]]);
});

test("a dispatch that times out after an outage reports the outage", async () => {
  bus.dispatchesHeld = true;
  const client = connect(bus.target, { timeoutMs: 2000 });
  const first = client.dispatch("t", { id: "first" });
  await bus.until("a dispatch", () => bus.dispatches.length === 1);
  const second = failing(client.dispatch("t", { id: "second" }), "DISPATCHER_NOT_WORKING");
  bus.failures.push(failure(status.UNAVAILABLE, "DISPATCHER_NOT_WORKING", "away", 60_000));
  bus.releaseDispatches();
  await failing(first, "DISPATCHER_NOT_WORKING");
  bus.dispatchesHeld = true;
  await second;
  assert.deepEqual(sent(), [["first"], ["second"]]);
});

test("while the server is away every dispatch reports it", async () => {
  bus.stop();
  const client = connect(bus.target, { timeoutMs: 1000 });
  const calls = Array.from({ length: 5 }, () => failing(client.dispatch("t", {}), "UNAVAILABLE"));
  for (const error of await Promise.all(calls)) {
    assert(error.message.includes(bus.target), error.message);
  }
});

test("a dispatch a few microtasks after the last answer is sent", async () => {
  const client = connect();
  for (let microtasks = 0; microtasks <= 20; microtasks++) {
    await client.dispatch("t", {});
    for (let count = 0; count < microtasks; count++) {
      await null;
    }
    await client.dispatch("t", {});
  }
});

test("an unreachable one of several servers costs nothing", async () => {
  const other = await startOther();
  const client = connect(`${bus.target}, ${other.target}`);
  await client.dispatch("t", { id: "first" });
  bus.stop();
  for (let count = 0; count < 4; count++) {
    await client.dispatch("t", { id: `after-${count}` });
  }
  assert(other.dispatches.length >= 4);
});

test("an admin call with an argument of the wrong type is bad input", async () => {
  const { admin } = connect();
  await failing(admin.getTopic("t", { engine: "other" as never }), "INVALID_ARGUMENT");
  await failing(admin.getTopic({ topic: "t" } as never), "INVALID_ARGUMENT");
  await failing(admin.configureTopic("t", { limits: { maxInFlight: "2" as never } }), "INVALID_ARGUMENT");
  await failing(admin.configureTopic("t", { keys: { onDead: "wait" as never } }), "INVALID_ARGUMENT");
  await failing(admin.events("t", "lost" as never).next(), "INVALID_ARGUMENT");
  await failing(admin.redriveEvents("t", { rate: "1" as never }), "INVALID_ARGUMENT");
  await failing(admin.rescheduleEvents("t", ["e"], { delayMs: 1, deliverAt: new Date() } as never), "INVALID_ARGUMENT");
});

test("what is empty does not mean all", async () => {
  const { admin } = connect();
  const refused = async (call: Promise<unknown>, field: string): Promise<void> => {
    assert.equal((await failing(call, "INVALID_ARGUMENT")).fieldViolations[0]?.field, field);
  };
  await refused(admin.purgeEvents("t", { eventIds: [] }), "filter.event_ids");
  await refused(admin.redriveEvents("t", { eventIds: [] }), "filter.event_ids");
  await refused(admin.purgeEvents("t", { key: "" }), "filter.key");
  await refused(admin.redriveEvents("t", { errorContains: "" }), "filter.error_contains");
  await refused(admin.configureTopic("t", { leaseMs: 1_000 }, { group: "" }), "group");
  await refused(admin.cancelEvents("t", { eventIds: ["a"] }, { group: "" }), "group");
  await refused(admin.rescheduleEvents("t", ["a"], { delayMs: 1 }, { group: "" }), "group");
  await refused(admin.events("t", "dead", { key: "" }).next(), "key");
});

test("an admin call that reads is retried while the server is unavailable", async () => {
  bus.failures.push(failure(status.UNAVAILABLE, "DISPATCHER_NOT_WORKING"));
  assert.equal((await connect().admin.getTopic("orders")).topic, "orders");
  assert.equal(bus.topics.length, 2);
});

test("an admin call whose answer counts what it did is not retried", async () => {
  bus.failures.push(failure(status.UNAVAILABLE, "DISPATCHER_NOT_WORKING"));
  await failing(connect().admin.purgeEvents("t"), "DISPATCHER_NOT_WORKING");
  assert.equal(bus.purges.length, 1);
});

test("an admin list goes over all pages", async () => {
  const topics: string[] = [];
  for await (const { topic } of connect().admin.topics({ pageSize: 1 })) {
    topics.push(topic);
  }
  assert.deepEqual(topics, ["a", "b"]);
  assert.deepEqual(
    bus.topicPages.map(({ pageSize, pageToken }) => [pageSize, pageToken]),
    [
      [1, ""],
      [1, "2"],
    ],
  );
});

/** Makes a name stand for these addresses; the test changes them. */
function resolvesTo(context: TestContext, addresses: string[]): string {
  context.mock.method(promises, "lookup", async () => addresses.map((address) => ({ address, family: 4 })));
  return `servers.test:${bus.port}`;
}

test("calls are spread over the addresses of a name", async (context) => {
  const other = await startOther("127.0.0.2", bus.port);
  const client = connect(resolvesTo(context, ["127.0.0.1", "127.0.0.2"]));
  for (let count = 0; bus.dispatches.length === 0 || other.dispatches.length === 0; count++) {
    assert(count < 1000, "one server gets all calls");
    await client.dispatch("t", {});
  }
});

test("a name is resolved again when its server goes", async (context) => {
  const addresses = ["127.0.0.1"];
  const client = connect(resolvesTo(context, addresses));
  await client.dispatch("t", {});
  const other = await startOther("127.0.0.2", bus.port);
  addresses[0] = "127.0.0.2";
  bus.stop();
  await client.dispatch("t", { id: "found" });
  assert.equal(other.dispatches.at(-1)?.events[0]?.id, "found");
});

test("streams take turns over the servers, whatever is called between them", async () => {
  const other = await startOther();
  const client = connect(`${bus.target}, ${other.target}`);
  const streams: Subscription[] = [];
  const open = async (): Promise<number> => streams.push(await client.subscribe("t"));
  while (bus.subscribes.length === 0 || other.subscribes.length === 0) {
    await open(); // until both servers are connected
  }
  const [before, otherBefore] = [bus.subscribes.length, other.subscribes.length];
  for (let count = 0; count < 4; count++) {
    await open();
    await client.dispatch("t", {});
  }
  assert.deepEqual([bus.subscribes.length - before, other.subscribes.length - otherBefore], [2, 2]);
});

test("leaving the loop closes the stream", async () => {
  await using subscription = await connect().subscribe("t", { maxInFlight: 3 });
  assert.equal(subscription.started.maxInFlight, 3);
  bus.deliver("a");
  for await (const frame of subscription) {
    assert(frame.kind === "deliveries");
    const [delivery] = frame.deliveries;
    assert.equal(delivery?.text(), "a");
    assert.equal(typeof delivery?.fencingToken, "bigint");
    break;
  }
  await bus.until("the end of the stream", () => bus.streams[0]?.cancelled === true);
});
