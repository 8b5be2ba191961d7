import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { Client, DueBusError, topics, Worker } from "duebus";
import { FakeBus } from "./fakebus.js";

const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

/** As a schema of zod: refuses with an error, and may return something other than it got. */
const Order = {
  parse(value: unknown): { id: number } {
    const { id } = value as { id: unknown };
    if (typeof id !== "number") {
      throw new TypeError("id: expected a number");
    }
    return { id };
  },
};
const orders = topics({ t: Order });

let bus: FakeBus;
let client: Client;
let worker: Worker;

beforeEach(async () => {
  bus = await new FakeBus().start();
  client = new Client(bus.target, { timeoutMs: 5000 });
  worker = new Worker(client, { logger: quiet });
});

afterEach(async () => {
  await worker.stop();
  client.close();
  bus.stop();
});

/** Starts the worker, delivers events whose payloads are these texts, and returns what its handler got. */
async function handled(...payloads: string[]): Promise<number[]> {
  const got: number[] = [];
  orders.handle(worker, "t", ({ id }, delivery, { signal }) => {
    assert(!signal.aborted && delivery.topic === "t");
    got.push(id);
  });
  void worker.run();
  assert(await worker.ready());
  bus.deliver(...payloads);
  await bus.until("the settles", () => bus.acks.flat().length + bus.nacks.flat().length === payloads.length);
  return got;
}

test("a typed handler gets the payload that its schema returns", async () => {
  assert.deepEqual(await handled('{"id":42,"more":1}'), [42]);
  assert.deepEqual(bus.nacks, []);
});

test("a payload that does not fit a typed handler is a dead letter", async () => {
  assert.deepEqual(await handled('{"id":"x"}', "no JSON", "null"), []);
  const nacks = bus.nacks.flat();
  assert.deepEqual(
    nacks.map(({ action }) => action),
    Array(3).fill({ $case: "deadLetter", deadLetter: true }),
  );
  const error = nacks.find(({ leaseToken }) => leaseToken === 'lease-{"id":"x"}')?.error;
  assert.equal(error, "the payload does not fit t: id: expected a number");
});

test("a payload is checked before it is dispatched", async () => {
  await orders.dispatch(client, "t", { id: 42 }, { id: "order-42", delayMs: 1000 });
  const event = bus.dispatches[0]?.events[0];
  assert.equal(new TextDecoder().decode(event?.data), '{"id":42}');
  assert.deepEqual([event?.id, event?.contentType], ["order-42", "application/json"]);

  const refused = orders.dispatch(client, "t", { id: "x" } as never);
  await assert.rejects(refused, (error) => error instanceof DueBusError && error.is("INVALID_ARGUMENT"));
  assert.equal(bus.dispatches.length, 1);
});

test("a topic without a schema is refused", () => {
  assert.throws(() => orders.handle(worker, "toString" as never, () => {}), /has no schema/);
  assert.throws(() => orders.handle(worker, "t", undefined as never), /handler/);
});
