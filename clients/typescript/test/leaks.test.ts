import assert from "node:assert/strict";
import { readdirSync, readlinkSync } from "node:fs";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { Client, Worker } from "duebus";
import { startBus } from "duebus/testing";

const ROUNDS = 100;
const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

/** What keeps the process alive, and its sockets: gRPC's do not keep it alive while they are idle. */
function resources(): string[] {
  return [...process.getActiveResourcesInfo(), ...sockets()].sort();
}

function sockets(): string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith("socket:") ? ["socket"] : [];
    } catch {
      return []; // that of the folder itself
    }
  });
}

test("a hundred clients and workers that were closed leave nothing behind", async () => {
  const bus = await startBus();
  const before = resources();
  const open = async (): Promise<void> => {
    const client = new Client(bus.address);
    let handled = (): void => {};
    const first = new Promise<void>((resolve) => {
      handled = resolve;
    });
    const worker = new Worker(client, { ephemeral: true, logger: quiet }).handle("leaks", handled);
    const run = worker.run();
    assert(await worker.ready());
    await client.dispatch("leaks", {});
    await first;
    const abandoned = await client.subscribe("leaks", { ephemeral: true });
    assert.equal(abandoned.started.group.length > 0, true);
    await worker.stop();
    await run;
    client.close();
  };
  for (let round = 0; round < ROUNDS; round++) {
    await open();
  }
  // Sockets and timers of what was closed end within a few turns of the event loop.
  const end = performance.now() + 30_000;
  while (`${resources()}` !== `${before}` && performance.now() < end) {
    await nextTurn();
  }
  assert.deepEqual(resources(), before);
  await bus.stop();
});
