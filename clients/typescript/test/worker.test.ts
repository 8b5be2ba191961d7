import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { status } from "@grpc/grpc-js";
import {
  Client,
  DeadLetter,
  DueBusError,
  type Handler,
  RateLimited,
  Release,
  RetryAfter,
  Worker,
  type WorkerOptions,
} from "duebus";
import { Closing_Reason } from "../src/generated/duebus/v1/event_bus.js";
import { Changes } from "../src/worker/changes.js";
import { type Lease, Leases } from "../src/worker/leases.js";
import { Settler } from "../src/worker/settler.js";
import { aborted, FakeBus, failure } from "./fakebus.js";

const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

let bus: FakeBus;
let client: Client;
let workers: { worker: Worker; run: Promise<void> }[];

beforeEach(async () => {
  bus = await new FakeBus().start();
  client = new Client(bus.target, { timeoutMs: 5000 });
  workers = [];
});

afterEach(async () => {
  await Promise.all(workers.map(({ worker }) => worker.stop()));
  client.close();
  bus.stop();
});

async function start(handler: Handler, options: WorkerOptions = {}): Promise<Worker> {
  const worker = new Worker(client, { logger: quiet, drainTimeoutMs: 2000, ...options }).handle("t", handler);
  const run = worker.run();
  run.catch(() => {});
  workers.push({ worker, run });
  assert(await worker.ready());
  return worker;
}

/** The nack of an event, once it has arrived. */
async function nackOf(id: string): Promise<object> {
  const find = () => bus.nacks.flat().find(({ leaseToken }) => leaseToken === `lease-${id}`);
  await bus.until(`a nack of ${id}`, () => find() !== undefined);
  const { error, action, pause } = find() ?? {};
  return pause === undefined ? { error, action } : { error, action, pause };
}

function acked(...ids: string[]): Promise<void> {
  const done = (): boolean => ids.every((id) => bus.acks.flat().includes(`lease-${id}`));
  return bus.until(`acks of ${ids}`, done);
}

/** A handler that holds its events until it is released. */
function holding(): { handler: Handler; begun: string[]; signals: AbortSignal[]; letGo: () => void } {
  let letGo = (): void => {};
  const free = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  const begun: string[] = [];
  const signals: AbortSignal[] = [];
  const handler: Handler = async ({ eventId }, { signal }) => {
    begun.push(eventId);
    signals.push(signal);
    bus.notify();
    await free;
  };
  return { handler, begun, signals, letGo };
}

test("an event is settled even if its error can't be inspected or the logger fails", async () => {
  const fail = (): never => {
    throw new Error("not here");
  };
  const opaque = new Proxy({}, { get: fail, getPrototypeOf: fail, has: fail });
  const handler: Handler = ({ eventId }) => (eventId === "opaque" ? Promise.reject(opaque) : undefined);
  await start(handler, { concurrency: 1, logger: { ...quiet, warn: fail } });
  bus.deliver("opaque", "after");
  await acked("after");
  assert.deepEqual(await nackOf("opaque"), { error: "an error that can't be printed", action: undefined });
});

test("a delivery has the key of its event", async () => {
  const keys: string[] = [];
  await start(({ key }) => void keys.push(key));
  bus.deliver("a");
  await acked("a");
  assert.deepEqual(keys, ["key-a"]);
});

test("a delivery whose lease has run out is not started", async () => {
  const { handler, begun, letGo } = holding();
  await start(handler, { concurrency: 1 });
  bus.expired.add("lease-stale").add("lease-waited");
  bus.deliverUntil(Date.now() - 1000, "stale");
  bus.deliver("fresh");
  await bus.until("the fresh one", () => begun.includes("fresh"));
  bus.deliverUntil(Date.now() - 1000, "waited");
  bus.deliver("last");
  letGo();
  await acked("fresh", "last");
  assert.deepEqual(begun, ["fresh", "last"]);
  assert.deepEqual(bus.nacks, []);
});

test("settles, extensions and held tokens fit into the largest request", async () => {
  const limit = 64 << 10;
  bus.maxRequestBytes = BigInt(limit);
  bus.leaseMs = 1000;
  const { handler, letGo } = holding();
  const failing: Handler = async (delivery, context) => {
    await handler(delivery, context);
    throw new Error("x".repeat(4096));
  };
  await start(failing, { maxInFlight: 1000, concurrency: 50 });
  const ids = Array.from({ length: 1000 }, (_, index) => String(index).padStart(100, "0"));
  bus.deliver(...ids);
  await bus.until("extensions of all", () => new Set(bus.extended.flat()).size === ids.length);
  bus.breakStream();
  await bus.until("the next stream", () => bus.subscribes.length === 2);
  letGo();
  await bus.until("nacks", () => bus.nacks.flat().length >= 50);

  const bytes = (texts: string[]): number => texts.join("").length;
  const held = bus.subscribes[1]?.heldLeaseTokens ?? [];
  assert(held.length > 100, `only ${held.length} leases were named`);
  const sizes = [held, ...bus.extended].map(bytes);
  sizes.push(...bus.nacks.map((nacks) => bytes(nacks.map(({ leaseToken, error }) => leaseToken + error))));
  assert(Math.max(...sizes) < limit, `a request of ${Math.max(...sizes)} bytes`);
});

test("an outage is logged once", async () => {
  const warnings: string[] = [];
  bus.failures.push(...Array.from({ length: 3 }, () => failure(status.UNAVAILABLE, "DISPATCHER_NOT_WORKING")));
  await start(() => undefined, { logger: { ...quiet, warn: (message) => warnings.push(message) } });
  assert.equal(bus.subscribes.length, 4);
  assert.deepEqual(warnings, ["the stream broke"]);
});

test("an error of the server takes one line of the log", async () => {
  const errors: unknown[] = [];
  const note = (_: string, details: object): void => void errors.push("error" in details ? details.error : undefined);
  bus.failures.push(failure(status.UNAVAILABLE, "DISPATCHER_NOT_WORKING"));
  await start(() => undefined, { logger: { ...quiet, warn: note, error: note } });
  bus.failures.push(failure(status.UNAVAILABLE, "DISPATCHER_NOT_WORKING"));
  bus.deliver("a");
  await bus.until("a retry", () => bus.acks.length === 2);
  assert.equal(errors.length, 2);
  for (const each of errors) {
    assert.match(String(each), /^DISPATCHER_NOT_WORKING: .*$/);
    assert.equal(typeof each, "string");
  }
});

test("a stopped engine is logged once", async () => {
  const warnings: string[] = [];
  bus.engineStopped = true;
  await start(() => undefined, { logger: { ...quiet, warn: (message) => warnings.push(message) } });
  bus.deliver("a");
  await bus.until("three acks", () => bus.acks.length === 3);
  bus.engineStopped = false;
  assert.deepEqual(warnings, ["the engine is stopped; settles will be retried"]);
});

test("clocks that differ do not keep deliveries from starting", async () => {
  await start(() => undefined);
  const engine = Date.now() - 3_600_000; // this host's clock is an hour ahead
  for (const id of ["a", "b", "c"]) {
    bus.deliverUntil(engine + 30_000, id);
    await acked(id);
  }
  assert.equal(bus.extended.length, 1);
});

test("an ack a few microtasks after the previous answer is sent", async () => {
  for (let microtasks = 0; microtasks <= 20; microtasks++) {
    const changes = new Changes();
    const leases = new Leases(changes);
    let answer = (): void => {};
    let sent = 0;
    const connection = {
      maxRequestBytes: 4 << 20,
      unary: (_: unknown, { leaseTokens }: { leaseTokens: string[] }) => {
        sent += leaseTokens.length;
        changes.notify();
        return new Promise((done) => {
          answer = () => done({ failures: [] });
        });
      },
    };
    const parts = { client: { timeoutMs: 1000, connection } as never, leases, changes, logger: quiet };
    const settler = new Settler({ ...parts, fail: assert.ifError, signal: new AbortController().signal });
    const [first, second] = ["a", "b"].map((leaseToken) => leases.add({ leaseToken } as never)) as [Lease, Lease];
    settler.ack(first);
    assert(await changes.until(() => sent === 1, 30_000));
    answer();
    for (let i = 0; i < microtasks; i++) {
      await null;
    }
    settler.ack(second);
    assert(await changes.until(() => sent === 2, 30_000), `${microtasks} microtasks after the answer: never sent`);
  }
});

test("what a handler throws decides what happens to the event", async () => {
  const ends: Record<string, () => unknown> = {
    returns: () => 42,
    error: () => Promise.reject(new TypeError("no paper")),
    plain: () => {
      throw new Error("no ink");
    },
    later: () => Promise.reject(new RetryAfter(400, "closed")),
    dead: () => Promise.reject(new DeadLetter("no such card")),
    limited: () => Promise.reject(new RateLimited(7_200_000, "group", "too many requests")),
    back: () => Promise.reject(new Release()),
  };
  await start(({ eventId }) => ends[eventId]?.());
  bus.deliver(...Object.keys(ends));

  await acked("returns");
  assert.deepEqual(await nackOf("error"), { error: "TypeError: no paper", action: undefined });
  assert.deepEqual(await nackOf("plain"), { error: "no ink", action: undefined });
  const delay = { seconds: 0n, nanos: 400_000_000 };
  assert.deepEqual(await nackOf("later"), { error: "closed", action: { $case: "delay", delay } });
  assert.deepEqual(await nackOf("dead"), { error: "no such card", action: { $case: "deadLetter", deadLetter: true } });
  const pause = { duration: { seconds: 3600n, nanos: 0 }, scope: 2 };
  assert.deepEqual(await nackOf("limited"), { error: "too many requests", action: undefined, pause });
  assert.deepEqual(await nackOf("back"), { error: "", action: { $case: "release", release: true } });
});

test("anything thrown is a nack, even if it can't be printed", async () => {
  const unprintable = Object.assign(new Error(), {
    toString: () => {
      throw new Error("again");
    },
    name: "Strange",
  });
  const thrown: Record<string, unknown> = {
    nothing: undefined,
    null: null,
    bare: Object.create(null),
    unprintable,
    long: new Error("ж".repeat(5000)),
    half: new Error("\ud800 half"),
  };
  await start(({ eventId }) => {
    throw thrown[eventId];
  });
  bus.deliver(...Object.keys(thrown));

  assert.deepEqual(await nackOf("nothing"), { error: "undefined", action: undefined });
  assert.deepEqual(await nackOf("null"), { error: "null", action: undefined });
  assert.deepEqual(await nackOf("bare"), { error: "an error that can't be printed", action: undefined });
  assert.deepEqual(await nackOf("unprintable"), { error: "an error that can't be printed", action: undefined });
  assert.deepEqual(await nackOf("long"), { error: "ж".repeat(2048), action: undefined });
  assert.deepEqual(await nackOf("half"), { error: "\ufffd half", action: undefined });
});

test("a pause of a key that can't be paused is a retry", async () => {
  bus.leaseFailures = [{ leaseToken: "lease-a", reason: 5 }];
  await start(() => {
    throw new RateLimited(400);
  });
  bus.deliver("a");
  await bus.until("two nacks", () => bus.nacks.length === 2);
  const [paused, retried] = bus.nacks.flat();
  const duration = { seconds: 0n, nanos: 400_000_000 };
  assert.deepEqual(paused?.pause, { duration, scope: 1 });
  assert.deepEqual([retried?.pause, retried?.action], [undefined, { $case: "delay", delay: duration }]);
});

test("a worker of a group with limits prefetches nothing", async () => {
  bus.limited = true;
  const { handler, letGo } = holding();
  await start(handler, { maxInFlight: 8, concurrency: 2 });
  bus.deliver("a", "b", "c");
  await bus.until("a second stream", () => bus.subscribes.length === 2);
  assert.deepEqual(
    bus.subscribes.map((each) => [each.maxInFlight, each.heldLeaseTokens.length]),
    [
      [8, 0],
      [2, 3],
    ],
  );
  letGo();
  await acked("a", "b", "c");
  assert.equal(bus.subscribes.length, 2);
});

test("a delay that is out of range is an error of the handler", () => {
  for (const delayMs of [-1, Number.NaN, 1e15]) {
    assert.throws(() => new RetryAfter(delayMs), DueBusError);
  }
});

test("acks that accumulate during a call go into the next one", async () => {
  const handled: string[] = [];
  await start(({ eventId }) => {
    handled.push(eventId);
    bus.notify();
  });
  bus.acksHeld = true;
  bus.deliver("a", "b");
  await bus.until("the first ack", () => bus.acks.length === 1);
  bus.deliver("c");
  bus.deliver("d", "e");
  await bus.until("the last handler", () => handled.length === 5);
  await new Promise((resolve) => setTimeout(resolve, 50)); // until its event is to be acked
  bus.releaseAcks();
  await acked("a", "b", "c", "d", "e");
  assert.deepEqual(bus.acks, [
    ["lease-a", "lease-b"],
    ["lease-c", "lease-d", "lease-e"],
  ]);
});

test("no more handlers run at once than allowed; the others wait", async () => {
  const { handler, begun, letGo } = holding();
  await start(handler, { maxInFlight: 4, concurrency: 2 });
  assert.equal(bus.subscribes[0]?.maxInFlight, 4);
  bus.deliver("a", "b", "c", "d");
  await bus.until("two handlers", () => begun.length >= 2);
  assert.deepEqual(begun, ["a", "b"]);
  letGo();
  await acked("a", "b", "c", "d");
  assert.deepEqual(begun, ["a", "b", "c", "d"]);
});

test("a settle that fails is retried until it succeeds", async () => {
  await start(() => {});
  bus.failures.push(failure(status.UNAVAILABLE, ""));
  bus.deliver("a");
  await bus.until("a retry", () => bus.acks.length === 2);
  assert.deepEqual(bus.acks, [["lease-a"], ["lease-a"]]);
});

test("leases are extended while a handler runs, and not after", async () => {
  bus.leaseMs = 150;
  const { handler, letGo } = holding();
  await start(handler, { leaseMs: 150 });
  bus.deliver("a");
  const extensions = (): number => bus.extended.filter((tokens) => tokens.includes("lease-a")).length;
  await bus.until("three extensions", () => extensions() >= 3);
  letGo();
  await acked("a");
});

test("a lease that is lost cancels its handler and settles nothing", async () => {
  bus.leaseMs = 150;
  const { handler, signals, letGo } = holding();
  await start(handler, { leaseMs: 150 });
  bus.deliver("a");
  await bus.until("a handler", () => signals.length === 1);
  bus.leaseFailures = [{ leaseToken: "lease-a", reason: 1 }];
  const [signal] = signals;
  assert(signal !== undefined);
  await aborted(signal);
  assert.match(String(signal.reason), /lease was lost/);
  letGo();
  bus.deliver("b");
  await acked("b");
  assert.deepEqual([bus.acks, bus.nacks], [[["lease-b"]], []]);
});

test("a handler that runs for too long is cancelled and its event nacked", async () => {
  await start((_, { signal }) => aborted(signal), { maxExecutionMs: 50 });
  bus.deliver("a");
  const error = "cancelled: the handler ran for longer than 50 ms";
  assert.deepEqual(await nackOf("a"), { error, action: undefined });
});

test("a handler that ignores its cancellation keeps its slot, and the worker unsubscribes until it ends", async () => {
  const { handler, letGo } = holding();
  await start(handler, { maxExecutionMs: 50, maxInFlight: 1 });
  bus.deliver("a");
  await nackOf("a");
  await bus.until("the end of the stream", () => bus.streams[0]?.cancelled === true);
  assert.equal(bus.streams.length, 1);
  letGo();
  await bus.until("a new stream", () => bus.streams.length === 2);
});

test("a broken stream is resumed with the leases still held, and lost ones are dropped", async () => {
  const { handler, begun, signals, letGo } = holding();
  await start(handler);
  bus.deliver("a", "b");
  await bus.until("two handlers", () => begun.length === 2);
  bus.lost = ["lease-a"];
  bus.breakStream();
  await bus.until("a new stream", () => bus.streams.length === 2);
  assert.deepEqual(bus.subscribes[1]?.heldLeaseTokens, ["lease-a", "lease-b"]);
  const [signal] = signals;
  assert(signal !== undefined);
  await aborted(signal);
  letGo();
  await acked("b");
  assert.deepEqual(bus.acks, [["lease-b"]]);
});

test("while no stream is open, leases are extended within the grace", async () => {
  bus.graceMs = 90;
  const { handler, begun, letGo } = holding();
  await start(handler);
  bus.deliver("a");
  await bus.until("a handler", () => begun.length === 1);
  bus.closeStream(9000);
  await bus.until("two extensions", () => bus.extended.length >= 2);
  assert.equal(bus.streams.length, 1);
  letGo();
  await acked("a");
});

test("a closing server says when to reconnect", async () => {
  await start(() => {});
  const begin = performance.now();
  bus.closeStream(300);
  await bus.until("a new stream", () => bus.streams.length === 2);
  const passed = performance.now() - begin;
  assert(passed >= 300, `came back after ${passed} ms`);
});

test("a stop finishes running handlers, and releases the rest", async () => {
  const { handler, begun, letGo } = holding();
  const worker = await start(handler, { maxInFlight: 3, concurrency: 1 });
  bus.deliver("a", "b", "c");
  await bus.until("a handler", () => begun.length === 1);
  const stopped = worker.stop();
  const release = { error: "", action: { $case: "release", release: true } };
  assert.deepEqual([await nackOf("b"), await nackOf("c")], [release, release]);
  assert.deepEqual(bus.acks, []);
  letGo();
  await stopped;
  assert.deepEqual([bus.acks, begun], [[["lease-a"]], ["a"]]);
});

test("a stop cancels handlers that do not end in time, and releases their events", async () => {
  const worker = await start((_, { signal }) => aborted(signal), { drainTimeoutMs: 50 });
  bus.deliver("a");
  await bus.until("a stream", () => bus.streams.length === 1);
  await new Promise((resolve) => setTimeout(resolve, 50));
  await worker.stop();
  assert.deepEqual(await nackOf("a"), { error: "", action: { $case: "release", release: true } });
});

test("a signal that aborts stops the worker", async () => {
  const stop = new AbortController();
  const worker = new Worker(client, { logger: quiet }).handle("t", () => {});
  const run = worker.run(stop.signal);
  assert(await worker.ready());
  stop.abort();
  await run;
  await assert.rejects(worker.run(), DueBusError);
});

test("an error that no retry can cure ends the worker", async () => {
  bus.failures.push(failure(status.UNAVAILABLE, ""), failure(status.UNAUTHENTICATED, "UNAUTHENTICATED"));
  const worker = new Worker(client, { logger: quiet }).handle("t", () => {});
  const run = worker.run();
  const refused = assert.rejects(run, (error) => error instanceof DueBusError && error.is("UNAUTHENTICATED"));
  assert.equal(await worker.ready(), false);
  await refused;
  assert.equal(bus.subscribes.length, 2);
});

test("ready ends when run fails while a handler still runs", async () => {
  const { handler, begun, letGo } = holding();
  const worker = new Worker(client, { logger: quiet, drainTimeoutMs: 3_600_000 }).handle("t", handler);
  worker.handle("refused", handler);
  bus.refusedTopic = "refused";
  const run = worker.run();
  run.catch(() => {});
  await bus.until("a stream", () => bus.streams.length === 1);
  bus.deliver("a");
  await bus.until("a handler", () => begun.length === 1);
  await bus.refuse();
  assert.equal(await worker.ready(), false);
  letGo();
  await assert.rejects(run, (error) => error instanceof DueBusError && error.is("PERMISSION_DENIED"));
});

test("ready ends when run fails because there is no handler", async () => {
  const worker = new Worker(client);
  const run = worker.run();
  const ready = worker.ready();
  await assert.rejects(run, /has no handler/);
  assert.equal(await ready, false);
});

test("a failed settle that no retry can cure ends the worker", async () => {
  await start(() => {});
  bus.failures.push(failure(status.PERMISSION_DENIED, "PERMISSION_DENIED"));
  bus.deliver("a");
  const run = workers[0]?.run;
  assert(run !== undefined);
  await assert.rejects(run, (error) => error instanceof DueBusError && error.is("PERMISSION_DENIED"));
});

test("a stream that is rebalanced is opened again at once, on the next server, with its leases", async () => {
  const changes = new Changes();
  const servers = [await new FakeBus(changes).start(), await new FakeBus(changes).start()];
  const spread = new Client(servers.map(({ target }) => target).join(","), { timeoutMs: 5000 });
  const lines: string[] = [];
  const note = (message: string): unknown => lines.push(message);
  const logger = { debug: () => {}, info: note, warn: note, error: note };
  const { handler, letGo } = holding();
  const worker = new Worker(spread, { logger }).handle("t", handler);
  const run = worker.run();
  try {
    assert(await worker.ready());
    while (servers.some(({ dispatches }) => dispatches.length === 0)) {
      await spread.dispatch("t", {}); // until both servers are connected
    }
    let current = servers.find(({ streams }) => streams.length > 0);
    current?.deliver("a");
    for (let count = 0; count < 20; count++) {
      const before = servers.map(({ streams }) => streams.length);
      const opened = () => servers.find(({ streams }, index) => streams.length > (before[index] ?? 0));
      current?.closeStream(0, Closing_Reason.REBALANCE);
      await servers[0]?.until("the next stream", () => opened() !== undefined);
      current = opened();
      assert.deepEqual(current?.subscribes.at(-1)?.heldLeaseTokens, ["lease-a"]);
    }
    assert(servers.every(({ streams }) => streams.length > 8));
    // A pause before the next try would be another line.
    assert.deepEqual(new Set(lines), new Set(["subscribed"]));
  } finally {
    letGo();
    await worker.stop();
    await run;
    spread.close();
    for (const each of servers) {
      each.stop();
    }
  }
});

test("closing the client ends its worker", async () => {
  await start(() => {});
  client.close();
  const run = workers[0]?.run;
  assert(run !== undefined);
  await assert.rejects(run, (error) => error instanceof DueBusError && error.is("CLIENT_CLOSED"));
});

test("unusable options are refused by name", () => {
  const cases: [WorkerOptions, string][] = [
    [{ maxInFlight: 0 }, "max_in_flight"],
    [{ maxInFlight: 2, concurrency: 3 }, "concurrency"],
    [{ leaseMs: 1 }, "lease"],
    [{ maxExecutionMs: 2 ** 31 }, "max_execution"],
    [{ drainTimeoutMs: -1 }, "drain_timeout"],
    [{ group: 7 as never }, "group"],
    [{ engine: "postgres" as never }, "engine"],
    [{ maxInFlightBytes: -1 }, "max_in_flight_bytes"],
    [{ disconnectGraceMs: Number.NaN }, "disconnect_grace"],
    [{ logger: { warn: () => {} } as never }, "logger"],
  ];
  for (const [options, field] of cases) {
    const named = (error: unknown): boolean =>
      error instanceof DueBusError && error.fieldViolations[0]?.field === field;
    assert.throws(() => new Worker(client).handle("t", () => {}, options), named, field);
  }
});

test("an option of a handler that is undefined is the worker's", async () => {
  const worker = new Worker(client, { logger: quiet, group: "billing", maxInFlight: 3 });
  worker.handle("t", () => {}, { group: undefined, maxInFlight: undefined });
  workers.push({ worker, run: worker.run() });
  assert(await worker.ready());
  assert.deepEqual([bus.subscribes[0]?.group, bus.subscribes[0]?.maxInFlight], ["billing", 3]);
});

test("a decision that can't be carried out is the handler's failure", async () => {
  const decisions = [
    () => new RetryAfter("5" as never),
    () => new RateLimited(5n as never),
    () => new RateLimited(5, "topic" as never),
  ];
  await start(({ eventId }) => {
    throw decisions[Number(eventId)]?.();
  });
  for (const id of ["0", "1", "2"]) {
    bus.deliver(id);
    assert.match(JSON.stringify(await nackOf(id)), /INVALID_ARGUMENT|delay|after|scope/);
  }
});
