import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { status } from "@grpc/grpc-js";
import { Client, DueBusError, type ScheduleOptions } from "duebus";
import { Schedule_CatchUp, Schedule_Overlap } from "../src/generated/duebus/v1/schedules.js";
import { FakeBus, failure } from "./fakebus.js";

let bus: FakeBus;
let client: Client;

beforeEach(async () => {
  bus = await new FakeBus().start();
  client = new Client(bus.target, { timeoutMs: 5000 });
});

afterEach(() => {
  client.close();
  bus.stop();
});

test("a schedule is sent as given, and read as it is stored", async () => {
  const start = new Date("2026-11-30T08:00:00.250Z");
  const options: ScheduleOptions = {
    cron: "0 9 * * MON-FRI",
    timeZone: "Europe/Berlin",
    start,
    maxRuns: 7,
    jitterMs: 1500,
    overlap: "skip",
    catchUp: "none",
    note: "for the board",
    engine: "redis",
  };

  const info = await client.schedules.put("daily", "reports", { json: { kind: "daily" }, key: "k" }, options);

  const [request] = bus.schedules;
  assert.equal(request?.engine, 2);
  assert.deepEqual(request?.schedule?.rule, { $case: "cron", cron: "0 9 * * MON-FRI" });
  assert.equal(request?.schedule?.event?.contentType, "application/json");
  assert.equal(request?.schedule?.overlap, Schedule_Overlap.SKIP);
  assert.equal(request?.schedule?.catchUp, Schedule_CatchUp.NONE);
  const { name, topic, cron, everyMs, timeZone, jitterMs, maxRuns, overlap, catchUp, runs } = info;
  assert.deepEqual([name, topic, cron, everyMs], ["daily", "reports", "0 9 * * MON-FRI", undefined]);
  assert.deepEqual(
    [timeZone, jitterMs, maxRuns, overlap, catchUp, runs],
    ["Europe/Berlin", 1500, 7, "skip", "none", 3],
  );
  assert.deepEqual(info.start, start);
  assert.equal(Buffer.from(info.event.data).toString(), '{"kind":"daily"}');
});

test("an interval is a rule, with the defaults of what is left out", async () => {
  const info = await client.schedules.put("beat", "health", {}, { everyMs: 30_000 });
  assert.deepEqual(bus.schedules[0]?.schedule?.rule, { $case: "every", every: { seconds: 30n, nanos: 0 } });
  assert.deepEqual(
    [info.everyMs, info.overlap, info.catchUp, info.catchUpWindowMs],
    [30_000, "allow", "last", undefined],
  );
});

test("bad input names the field, and nothing is sent", async () => {
  const cases: [object, string][] = [
    [{ cron: "* * * * *", everyMs: 1000 }, "schedule.rule"],
    [{ everyMs: Number.NaN }, "schedule.every"],
    [{ cron: "\ud800" }, "schedule.cron"],
    [{ cron: "* * * * *", start: new Date("no moment") }, "schedule.start"],
    [{ cron: "* * * * *", overlap: "never" }, "schedule.overlap"],
    [{ cron: "* * * * *", maxRuns: 1.5 }, "schedule.max_runs"],
  ];
  for (const [options, field] of cases) {
    const put = client.schedules.put("s", "t", {}, options as ScheduleOptions);
    await assert.rejects(put, (error: unknown) => {
      assert(error instanceof DueBusError && error.is("INVALID_ARGUMENT"), String(error));
      assert.equal(error.fieldViolations[0]?.field, field);
      return true;
    });
  }
  assert.equal(bus.schedules.length, 0);
});

test("a list fetches the next page when the last is read", async () => {
  const seen: [string, number][] = [];
  for await (const { name } of client.schedules.list({ pageSize: 2 })) {
    seen.push([name, bus.schedulePages.length]);
  }
  assert.deepEqual(seen, [
    ["a", 1],
    ["b", 1],
    ["c", 2],
  ]);
  assert.deepEqual(
    bus.schedulePages.map(({ pageSize, pageToken }) => [pageSize, pageToken]),
    [
      [2, ""],
      [2, "2"],
    ],
  );
});

test("a trigger is retried with its request id, and a deletion is not retried", async () => {
  bus.failures.push(failure(status.UNAVAILABLE, "DISPATCHER_NOT_WORKING"));
  const eventId = await client.schedules.trigger("s");
  assert.deepEqual(
    bus.triggers.map(({ requestId }) => requestId),
    [eventId, eventId],
  );
  assert.match(eventId, /^[0-9a-f]{26}$/);

  bus.failures.push(failure(status.UNAVAILABLE, "DISPATCHER_NOT_WORKING"));
  await assert.rejects(client.schedules.delete("s"), DueBusError);
  assert.equal(bus.deletions.length, 1);
});
