import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, type TestContext, test } from "node:test";
import { DueBusError, Worker } from "duebus";
import { NotSettledError, startBus } from "duebus/testing";

const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

const bus = await startBus();
after(() => bus.stop());

/** A command that does what the lines say. */
function script(context: TestContext, lines: string): string {
  const folder = mkdtempSync(join(tmpdir(), "duebus-"));
  context.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "duebus");
  writeFileSync(file, `#!/bin/sh\n${lines}\n`);
  chmodSync(file, 0o755);
  return file;
}

test("the README has the example of a test", () => {
  const example = readFileSync(new URL("../../test/example.test.ts", import.meta.url), "utf8");
  const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
  assert(readme.includes(`\`\`\`ts\n${example}\`\`\``));
});

test("a schedule fires at each of its times while the clock is moved", async () => {
  const fired: string[] = [];
  const worker = new Worker(bus.client).handle("report", ({ attributes }) => {
    fired.push(attributes["duebus-scheduled-for"] ?? "");
  });
  await bus.running(worker, async () => {
    await bus.client.schedules.put("hourly", "report", {}, { cron: "0 * * * *", overlap: "skip" });
    const begin = await bus.now();
    await bus.advance({ hours: 3 });
    assert.equal(fired.length, 3); // with overlap skip, each was handled before the next
    assert((await bus.now()).getTime() - begin.getTime() >= 3 * 3_600_000);
  });
  await bus.client.schedules.delete("hourly");
});

test("an event that is not handled in time is named", async () => {
  let letGo = (): void => {};
  const free = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  const worker = new Worker(bus.client, { group: "slow" }).handle("held", () => free);
  await bus.running(worker, async () => {
    await bus.client.dispatch("held", {});
    const unsettled = bus.settle(50);
    await assert.rejects(unsettled, (error: Error) => {
      assert(error instanceof NotSettledError);
      assert.match(error.message, /held\/slow \(\d ready, \d leased\)/);
      return true;
    });
    letGo();
    await bus.settle();
  });
});

test("the failed assertion of a handler is thrown by settle", async () => {
  const worker = new Worker(bus.client, { logger: quiet }).handle("wrong", () => assert.equal(1, 2));
  const failed = bus.running(worker, async () => {
    await bus.client.dispatch("wrong", { maxRetries: 0 });
    await bus.settle();
    assert.fail("settle did not throw");
  });
  await assert.rejects(failed, /1 !== 2/);
  await bus.settle();
});

test("the failed assertion of a handler that no settle has seen is thrown at the end", async () => {
  const worker = new Worker(bus.client, { logger: quiet });
  const begun = new Promise<void>((resolve) => {
    worker.handle("unseen", () => {
      resolve();
      assert.equal(1, 2);
    });
  });
  const failed = bus.running(worker, async () => {
    await bus.client.dispatch("unseen", { maxRetries: 0 });
    await begun;
  });
  await assert.rejects(failed, /1 !== 2/);
});

test("the error that ended a worker is thrown", async () => {
  const worker = new Worker(bus.client, { engine: "redis", logger: quiet }).handle("t", () => {});
  const failed = bus.running(worker, () => assert.fail("the worker is not subscribed"));
  await assert.rejects(failed, (error) => error instanceof DueBusError && error.is("NO_DISPATCHER_SPECIFIED"));
});

test("a clock can't go back", async () => {
  await assert.rejects(bus.advance({ minutes: -1 }), (error) => error instanceof DueBusError);
});

test("a missing command is named", async () => {
  await assert.rejects(startBus({ command: "no-such-command" }), /the command no-such-command is missing: pip install/);
});

test("what a server says that does not start is in the error", async (context) => {
  const command = script(context, "echo 'duebus: no such setting' >&2; exit 2");
  await assert.rejects(startBus({ command }), /did not start: duebus: no such setting/);
});

test("settings of the environment do not reach the server", async (context) => {
  const command = script(context, "env | grep ^DUEBUS_ >&2; exit 2");
  process.env.DUEBUS_LISTEN = "nowhere";
  context.after(() => delete process.env.DUEBUS_LISTEN);
  await assert.rejects(startBus({ command }), (error: Error) => !error.message.includes("DUEBUS_LISTEN"));
});

test("a stopped bus has ended its server, and can be stopped again", async () => {
  const own = await startBus();
  await own.stop();
  await own.stop();
  await assert.rejects(fetch(`http://${own.address}`), /fetch failed/);
});
