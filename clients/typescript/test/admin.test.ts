import assert from "node:assert/strict";
import { after, test } from "node:test";
import { DeadLetter, type Handler, type Subscription, Worker } from "duebus";
import { startBus } from "duebus/testing";

const MINUTE = 60_000;
const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

const bus = await startBus();
after(() => bus.stop());
const { admin } = bus.client;

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const each of items) {
    found.push(each);
  }
  return found;
}

/** Dispatches events with these ids, of which a worker makes dead letters. */
async function dead(topic: string, ...ids: string[]): Promise<void> {
  const handler: Handler = ({ eventId }) => {
    throw new DeadLetter(`can't handle ${eventId}`);
  };
  const worker = new Worker(bus.client, { logger: quiet, consumer: "tester" }).handle(topic, handler);
  await bus.running(worker, async () => {
    await bus.client.dispatchMany(
      topic,
      ids.map((id) => ({ id, key: `key-${id}` })),
    );
    await bus.settle();
  });
}

/** Waits until a stream has so many deliveries. */
async function delivered(stream: Subscription, count: number): Promise<void> {
  const frames = stream[Symbol.asyncIterator]();
  for (let left = count; left > 0; ) {
    const { value: frame } = await frames.next();
    assert(frame?.kind === "deliveries");
    left -= frame.deliveries.length;
  }
}

test("the settings of a topic are numbers of milliseconds, and what is left out stays", async () => {
  const changes = {
    leaseMs: 45_000,
    retryPolicy: { backoffInitialMs: 1.5 },
    limits: { rate: { events: 10, perMs: 1_000 } },
  };
  const before = await admin.configureTopic("settings", { dedupeWindowMs: 5 * MINUTE, maxQueued: 2 ** 40 });
  const config = await admin.configureTopic("settings", changes);
  assert.equal(config.leaseMs, 45_000);
  assert.equal(config.dedupeWindowMs, 5 * MINUTE);
  assert.equal(config.maxQueued, 2 ** 40);
  assert.deepEqual(config.retryPolicy, { ...before.retryPolicy, backoffInitialMs: 1.5 });
  assert.deepEqual(config.limits, { maxInFlight: 0, rate: { events: 10, perMs: 1_000, burst: 0 } });
  assert.equal(config.keys, undefined);
  const { keys, limits } = await admin.configureTopic("settings", {
    limits: {},
    keys: { onDead: "hold", maxBlocked: 7 },
  });
  assert.deepEqual(keys, { maxInFlight: 1, rate: undefined, onDead: "hold", maxBlocked: 7 });
  assert.equal(limits, undefined);
  assert.deepEqual((await admin.getTopic("settings")).config, { ...config, limits: undefined, keys });
});

test("a topic shows its groups, their counts, and the last hour", async () => {
  await dead("shown", "a", "b");
  await using stream = await bus.client.subscribe("shown", { group: "other", consumer: "reader", maxInFlight: 1 });
  await bus.client.dispatchMany("shown", [{ id: "c" }, { id: "d" }, { id: "e", delayMs: MINUTE }]);
  await delivered(stream, 1);
  const topic = await admin.getTopic("shown");
  assert.deepEqual([topic.topic, topic.engine, topic.durable, topic.problem], ["shown", "local", false, ""]);
  assert.equal(topic.queued, 3);
  const [settled, other] = topic.groups.sort((a, b) => a.group.localeCompare(b.group));
  assert.deepEqual([settled?.group, settled?.dead, settled?.ready, settled?.paused], ["default", 2, 2, false]);
  assert.equal(typeof settled?.oldestReadyAgeMs, "number");
  assert.equal(settled?.oldestBlockedAgeMs, undefined);
  assert.deepEqual([other?.leased, other?.ready, other?.scheduled, other?.ephemeral], [1, 1, 1, false]);
  assert.deepEqual(
    other?.subscribers.map(({ consumer, inFlight, connectedAt }) => [consumer, inFlight, connectedAt instanceof Date]),
    [["reader", 1, true]],
  );
  assert.equal(settled?.retryPolicy.maxRetries, topic.config.retryPolicy.maxRetries);
  const [minute] = topic.minutes;
  assert(minute?.start instanceof Date);
  assert(topic.minutes.reduce((sum, each) => sum + each.dispatched, 0) === 5);
  assert.equal(typeof minute.lateness?.p99Ms, "number");
  assert((await all(admin.topics())).some((each) => each.topic === "shown"));
});

test("a paused group gets nothing until it is resumed", async () => {
  await using _ = await bus.client.subscribe("paused", { group: "g" });
  await admin.pauseGroup("paused", "g");
  assert.equal((await admin.getTopic("paused")).groups[0]?.paused, true);
  await admin.resumeGroup("paused", "g");
  assert.equal((await admin.getTopic("paused")).groups[0]?.paused, false);
});

test("an event has its history", async () => {
  await dead("history", "a");
  const [listed] = await all(admin.events("history", "dead"));
  const { groups, ...event } = await admin.getEvent("history", "a");
  assert.deepEqual([event.eventId, event.key, event.maxRetries], ["a", "key-a", undefined]);
  assert(event.dispatchedAt instanceof Date);
  assert.deepEqual([listed?.eventId, listed?.groups[0]?.state], ["a", "dead"]);
  const [{ deadAt, lastError, history = [], ...group } = assert.fail("it is in no group")] = groups;
  assert.deepEqual([group.group, group.state, group.attempts, group.waitsFor], ["default", "dead", 1, ""]);
  assert.equal(group.leaseExpiresAt, undefined);
  assert(deadAt instanceof Date);
  assert.equal(lastError, "can't handle a");
  assert.deepEqual(
    history.map((each) => [each.attempt, each.outcome, each.consumer, each.error]),
    [[1, "dead", "tester", "can't handle a"]],
  );
});

test("events are listed by state, key and age", async () => {
  await bus.client.dispatch("listed", { id: "old", key: "k", delayMs: MINUTE });
  await bus.client.dispatch("listed", { id: "new", delayMs: 2 * MINUTE });
  const ids = async (options = {}) => (await all(admin.events("listed", "scheduled", options))).map((e) => e.eventId);
  assert.deepEqual(await ids(), ["old", "new"]);
  assert.deepEqual(await ids({ newestFirst: true, pageSize: 1 }), ["new", "old"]);
  assert.deepEqual(await ids({ key: "k" }), ["old"]);
  assert.deepEqual(await all(admin.events("listed", "ready")), []);
});

test("events are rescheduled and cancelled", async () => {
  await bus.client.dispatchMany("moved", [{ id: "a" }, { id: "b", key: "k" }, { id: "c", key: "k" }]);
  const at = new Date((await bus.now()).getTime() + 60 * MINUTE);
  assert.equal(await admin.rescheduleEvents("moved", ["a", "b"], { deliverAt: at }), 2);
  const { groups } = await admin.getEvent("moved", "a");
  assert.deepEqual([groups[0]?.state, groups[0]?.deliverAt], ["scheduled", at]);
  assert.equal(await admin.rescheduleEvents("moved", ["a"], { delayMs: 0 }), 1);
  const cancelled = { cancelled: 1, leasedEventIds: [], missingEventIds: ["z"] };
  assert.deepEqual(await admin.cancelEvents("moved", { eventIds: ["a", "z"] }), cancelled);
  assert.deepEqual((await admin.cancelEvents("moved", { key: "k" })).cancelled, 2);
});

test("dead letters are redriven and purged by conditions", async () => {
  await dead("letters", "a", "b", "c");
  assert.equal(await admin.redriveEvents("letters", { errorContains: "handle a", rate: 100 }), 1);
  assert.equal(await admin.redriveEvents("letters", { minAgeMs: 60 * MINUTE }), 0);
  assert.equal(await admin.purgeEvents("letters", { key: "key-b" }), 1);
  assert.equal(await admin.purgeEvents("letters", { eventIds: ["b"] }), 0);
  assert.equal(await admin.purgeEvents("letters"), 1);
});

test("the keys of a group are shown, the most blocked first", async () => {
  await using stream = await bus.client.subscribe("keys", { maxInFlight: 8 });
  await bus.client.dispatchMany("keys", [{ id: "a", key: "k" }, { key: "k" }, { id: "b", key: "l" }]);
  await delivered(stream, 2);
  assert.deepEqual(await all(admin.keys("keys")), [
    { key: "k", blocked: 1, inFlight: 1, headEventId: "a", held: false, opensAt: undefined },
    { key: "l", blocked: 0, inFlight: 1, headEventId: "b", held: false, opensAt: undefined },
  ]);
});

test("groups and topics are deleted with their events", async () => {
  await dead("deleted", "a", "b");
  assert.equal(await admin.deleteGroup("deleted", "default"), 2);
  await bus.client.dispatch("deleted", {});
  assert.equal(await admin.deleteTopic("deleted"), 1);
  await assert.rejects(admin.getTopic("deleted"), { reason: "NOT_FOUND" });
});
