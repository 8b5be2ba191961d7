import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, type TestContext, test } from "node:test";
import { Client, DueBusError, Worker } from "duebus";
import { connectBus, NotSettledError, startBus } from "duebus/testing";

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

test("a server goes on when a bus that is connected to it is stopped", async () => {
  const before = await bus.now();
  const other = connectBus(bus.address);
  await other.advance({ hours: 2 });
  await other.stop();
  assert((await bus.now()).getTime() - before.getTime() >= 2 * 3_600_000);
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

test("the failed assertion of a handler is why the block has failed, and is not left for the next test", async () => {
  const worker = new Worker(bus.client, { logger: quiet });
  const begun = new Promise<void>((resolve) => {
    worker.handle("cause", () => {
      resolve();
      assert.equal(1, 2);
    });
  });
  const failed = bus.running(worker, async () => {
    await bus.client.dispatch("cause", { maxRetries: 0 });
    await begun;
    throw new Error("nothing has come");
  });
  await assert.rejects(failed, /1 !== 2/);
  await bus.settle();
});

test("a worker that is not subscribed in time is named", async (context) => {
  const nowhere = new Client("127.0.0.1:1");
  context.after(() => nowhere.close());
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const worker = new Worker(nowhere, { logger: quiet }).handle("t", () => {});
  const failed = assert.rejects(
    bus.running(worker, () => {}),
    /is it connected to/,
  );
  context.mock.timers.tick(10_000);
  context.mock.timers.reset();
  await failed;
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

test("the server ends with a process that a signal to its group has ended", { timeout: 60_000 }, async () => {
  const program = `import { startBus } from "duebus/testing"; console.log((await startBus()).address); setInterval(() => {}, 1e6);`;
  const own = spawn(process.execPath, ["--input-type=module", "--eval", program], {
    detached: true, // in a process group of its own, as a shell has it
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = await once(own.stdout, "data");
  const [host = "", port] = String(line).trim().split(":");
  const connection = connect(Number(port), host).resume();
  await once(connection, "connect");
  const closed = new Promise((resolve) => connection.once("close", resolve));
  connection.on("error", () => {}); // a killed server may reset it
  process.kill(-(own.pid as number), "SIGQUIT"); // as Ctrl-\ does
  await closed;
});

test("a folder that is called duebus is not the command", async (context) => {
  const folder = mkdtempSync(join(tmpdir(), "duebus-"));
  context.after(() => rmSync(folder, { recursive: true }));
  mkdirSync(join(folder, "duebus"));
  await assert.rejects(startBus({ command: join(folder, "duebus") }), /is missing/);
});
