// `make image-test` runs it: it needs a Docker engine, and the image that DUEBUS_IMAGE names.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Worker } from "duebus";
import { DueBusContainer } from "duebus/testcontainers";

const image = process.env.DUEBUS_IMAGE ?? "";
const container = await new DueBusContainer(image).start();
after(() => container.stop());

test("an order that is not paid is cancelled", async () => {
  await using bus = container.bus();
  const cancelled: number[] = [];
  const worker = new Worker(bus.client).handle("order.check", (delivery) => {
    cancelled.push(delivery.json<{ id: number }>().id);
  });

  await bus.running(worker, async () => {
    await bus.client.dispatch("order.check", { json: { id: 42 }, delayMs: 30 * 60_000 });
    await bus.advance({ minutes: 29 });
    await bus.settle();
    assert.deepEqual(cancelled, []);

    await bus.advance({ minutes: 1 });
    await bus.settle();
    assert.deepEqual(cancelled, [42]);
  });
});

test("the container runs on when a bus is stopped", async () => {
  await container.bus().stop();
  await using bus = container.bus();
  assert(await bus.client.isServing());
});

test("the error of a container that ends has what it printed", async () => {
  const wrong = new DueBusContainer(image).withEnvironment({ DUEBUS_MAX_QUEUED: "lots" });
  await assert.rejects(wrong.start(), /max_queued: 'lots' is not a whole number/);
});
