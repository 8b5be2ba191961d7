/**
 * A bus for tests: the real server in a process of its own, in memory, with a clock that the test moves. It works with
 * every test runner.
 *
 * @module
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants, statSync } from "node:fs";
import type { Socket } from "node:net";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { types } from "node:util";
import { Client } from "./client.js";
import { TestClockService } from "./generated/duebus/v1/test_clock.js";
import type { Interceptor } from "./interceptor.js";
import { durationToWire } from "./values.js";
import type { Worker } from "./worker/worker.js";

const COMMAND_VARIABLE = "DUEBUS_COMMAND";
const START_TIMEOUT_MS = 30_000;
const READY_TIMEOUT_MS = 10_000;
const SETTLE_TIMEOUT_MS = 5_000;
/** How long after its own timeout the server may answer. */
const ANSWER_MS = 10_000;
const READY = /^duebus ready on (\S+)/;
const LAST_LINES = 20;

/**
 * The shell ends the server when its standard input is closed, so that no server outlives its test. A signal to the
 * whole process group, such as that of Ctrl-C, must not end the shell first.
 */
const RUN_UNTIL_CLOSED = `trap "" HUP INT QUIT TERM; "$@" </dev/null & exec >&- 2>&-; read -r _; kill -KILL "$!"; wait`;

/** How far to move the clock; the fields are added. */
export interface Span {
  days?: number | undefined;
  hours?: number | undefined;
  minutes?: number | undefined;
  seconds?: number | undefined;
  ms?: number | undefined;
}

/** The options of a bus that runs already. */
export interface ConnectOptions {
  /** Of its client. */
  interceptors?: readonly Interceptor[] | undefined;
}

/** The options of a bus for tests. */
export interface BusOptions extends ConnectOptions {
  /** The command `duebus`: its path. By default, what `DUEBUS_COMMAND` names, otherwise `duebus` in `PATH`. */
  command?: string | undefined;
}

/** Events were due or leased for too long; the message names their topics and groups. */
export class NotSettledError extends Error {
  override name = "NotSettledError";
}

type Server = ChildProcessByStdio<Writable, Readable, Readable>;

/**
 * Starts a bus that is empty.
 *
 * ```ts
 * const bus = await startBus();
 * after(() => bus.stop());
 * ```
 *
 * @throws Error when there is no command `duebus`, or its server does not start.
 */
export async function startBus(options: BusOptions = {}): Promise<Bus> {
  const command = options.command ?? (process.env[COMMAND_VARIABLE] || "duebus");
  const server = spawnServer(executable(command));
  return new Bus(await readyAddress(server), options, server);
}

/**
 * Connects to a server that something else runs, for example in a container: `duebus serve --test-clock`. It goes on when
 * this bus is stopped.
 *
 * @param address where it listens, `host:port`.
 */
export function connectBus(address: string, options: ConnectOptions = {}): Bus {
  return new Bus(address, options);
}

/** A server with a clock that the test moves; in between, the clock runs on. */
export class Bus implements AsyncDisposable {
  /** Where it listens, `host:port`. */
  readonly address: string;
  /** A client of it. Workers of this client pass failed assertions on to `settle` and `running`. */
  readonly client: Client;
  readonly #server: Server | undefined;
  readonly #verdicts: unknown[] = [];
  #judged = new AbortController();

  /** @internal */
  constructor(address: string, { interceptors = [] }: ConnectOptions, server?: Server) {
    this.#server = server;
    this.address = address;
    this.client = new Client(address, { interceptors: [...interceptors, { handle: this.#judge }] });
  }

  /** The time of the server's clock. */
  async now(): Promise<Date> {
    return (await this.#advance(0)).now ?? new Date(0);
  }

  /**
   * Moves the clock forward. Events become due and leases run out as if the time had passed. A schedule fires at each of
   * its times on the way, and what it has fired is handled, as by `settle`, before the clock is moved further.
   *
   * Resolves at once otherwise; `settle` waits until the due events are handled. If handlers may still be running, call
   * `settle` first too, or their leases may run out.
   *
   * @throws NotSettledError when what a schedule has fired is not settled within 5 real seconds.
   * @throws DueBusError `INVALID_ARGUMENT` when the sum is negative or longer than 10 years.
   */
  async advance({ days = 0, hours = 0, minutes = 0, seconds = 0, ms = 0 }: Span): Promise<void> {
    const { unsettled } = await this.#advance((((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000 + ms);
    refuse(unsettled, SETTLE_TIMEOUT_MS);
  }

  /**
   * Waits until no event is due or leased in any group that has a subscriber. An event that failed and waits for its
   * retry is not waited for: move the clock to its due time.
   *
   * @param timeoutMs how long to wait, in real time.
   * @throws NotSettledError when it takes longer.
   * @throws the failed assertion of a handler.
   */
  async settle(timeoutMs = SETTLE_TIMEOUT_MS): Promise<void> {
    const limits = { timeoutMs: timeoutMs + ANSWER_MS, signal: this.#judged.signal };
    const request = { timeout: durationToWire("timeout", timeoutMs) };
    try {
      const { unsettled } = await this.client.connection.unary(TestClockService.settle, request, limits);
      this.#raiseVerdict();
      refuse(unsettled, timeoutMs);
    } catch (error) {
      this.#raiseVerdict();
      throw error;
    }
  }

  /**
   * Runs a worker of `client` during a block. It is subscribed when the block begins, and drained when the block ends.
   *
   * @returns what the block returns.
   * @throws Error when the worker is not subscribed within 10 s: it may be connected to another server.
   * @throws the error that ended the worker, or the failed assertion of a handler that no `settle` has thrown.
   */
  async running<T>(worker: Worker, block: () => T | Promise<T>): Promise<T> {
    const run = worker.run();
    run.catch(() => {}); // thrown below
    let result: T | undefined;
    try {
      if (await this.#ready(worker)) {
        result = await block();
      }
    } finally {
      await worker.stop();
      this.#raiseVerdict(); // it is why the block has failed, if it has
    }
    await run;
    return result as T;
  }

  /** Ends the server that `startBus` has started; its events are dropped. Stopping twice is not an error. */
  async stop(): Promise<void> {
    this.client.close();
    const server = this.#server;
    if (server && !server.stdin.destroyed) {
      const closed = once(server, "close");
      keepProcess(server, "ref");
      server.stdin.destroy();
      await closed;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #ready(worker: Worker): Promise<boolean> {
    const message = `the worker is not subscribed after ${READY_TIMEOUT_MS} ms; is it connected to ${this.address}?`;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(message)), READY_TIMEOUT_MS);
    });
    return Promise.race([worker.ready(), late]).finally(() => clearTimeout(timer));
  }

  #advance(ms: number) {
    const by = durationToWire("by", ms);
    const request = {
      target: by && { $case: "by" as const, by },
      settleTimeout: durationToWire("settle_timeout", SETTLE_TIMEOUT_MS),
    };
    return this.client.connection.unary(TestClockService.advanceTime, request, {
      timeoutMs: Number.POSITIVE_INFINITY,
    });
  }

  /** Notes the failed assertion of a handler: an event that is nacked would hide it. */
  readonly #judge: NonNullable<Interceptor["handle"]> = async (_delivery, _context, next) => {
    try {
      await next();
    } catch (error) {
      if (isAssertion(error)) {
        this.#verdicts.push(error);
        this.#judged.abort();
      }
      throw error;
    }
  };

  /** Throws the first since the last one that was thrown. The others must not fail another test. */
  #raiseVerdict(): void {
    const [verdict] = this.#verdicts.splice(0);
    if (verdict !== undefined) {
      this.#judged = new AbortController();
      throw verdict;
    }
  }
}

function refuse(unsettled: readonly string[], timeoutMs: number): void {
  if (unsettled.length > 0) {
    throw new NotSettledError(`after ${timeoutMs} ms these are not settled: ${unsettled.join(", ")}`);
  }
}

/** Those of node:assert, chai, vitest and jest. In jest, the errors of Node.js are of another realm than this module. */
function isAssertion(error: unknown): boolean {
  const isError = error instanceof Error || types.isNativeError(error);
  return isError && (error.name === "AssertionError" || "matcherResult" in error);
}

/** The path of a command. */
function executable(command: string): string {
  const folders = command.includes("/") ? [""] : (process.env.PATH ?? "").split(delimiter);
  const found = folders.map((folder) => join(folder, command)).find(isExecutable);
  if (found === undefined) {
    throw new Error(
      `the command ${command} is missing: pip install 'duebus[server]', or name it in ${COMMAND_VARIABLE}`,
    );
  }
  return found;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** Settings of the server in the environment of the tests do not count. */
function spawnServer(command: string): Server {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("DUEBUS_")));
  const serve = [command, "serve", "--test-clock", "--engine", "local", "--listen", "127.0.0.1:0"];
  const server = spawn("sh", ["-c", RUN_UNTIL_CLOSED, "sh", ...serve], { env, stdio: ["pipe", "pipe", "pipe"] });
  // A test that forgets to stop its bus ends nevertheless.
  keepProcess(server, "unref");
  return server;
}

/** Whether the server keeps the process of the tests alive. */
function keepProcess(server: Server, keep: "ref" | "unref"): void {
  server[keep]();
  for (const stream of [server.stdout, server.stderr]) {
    (stream as Socket)[keep]();
  }
}

async function readyAddress(server: Server): Promise<string> {
  const lines: string[] = [];
  const note = (line: string): void => {
    lines.splice(0, lines.length - LAST_LINES + 1);
    lines.push(line);
  };
  const output = createInterface(server.stdout);
  const errors = createInterface(server.stderr).on("line", note);
  const ended = Promise.all([once(output, "close"), once(errors, "close")]);
  const timer = setTimeout(() => server.stdin.destroy(), START_TIMEOUT_MS);
  try {
    return await new Promise((resolve, reject) => {
      output.on("line", (line) => {
        note(line);
        const [, address] = READY.exec(line) ?? [];
        if (address !== undefined) {
          resolve(address);
        }
      });
      void ended.then(() => {
        server.stdin.destroy();
        reject(new Error(`duebus serve did not start: ${lines.join("\n")}`));
      });
    });
  } finally {
    clearTimeout(timer);
  }
}
