import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Worker } from "duebus";
import { startBus } from "duebus/testing";

const bus = await startBus();
after(() => bus.stop());

test("an order that is not paid is cancelled", async () => {
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
