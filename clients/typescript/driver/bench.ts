// The program that tests/bench/clients.py measures: callers that dispatch single events, and a worker that drains them.
//
// The other clients have the same program. It takes its arguments as JSON, prints "ready" before and after each part,
// waits for a line on standard input each time, and prints its result as JSON.
import { createInterface } from "node:readline";
import { Client, Worker } from "duebus";

interface Arguments {
  target: string;
  topic: string;
  payload_bytes: number;
  warm_up: number;
  events: number;
  callers: number;
  backlog: number;
  max_in_flight: number;
}

interface Drained {
  drain_per_s: number;
  handled: number;
  distinct: number;
}

/** Each caller dispatches one event after the other, until there are enough. Returns how many a second. */
async function dispatch(bus: Client, given: Arguments, events: number): Promise<number> {
  const data = Buffer.alloc(given.payload_bytes, "x");
  let taken = 0;
  const caller = async (): Promise<void> => {
    while (taken < events) {
      taken += 1;
      await bus.dispatch(given.topic, { data });
    }
  };
  const began = performance.now();
  await Promise.all(Array.from({ length: given.callers }, caller));
  return perSecond(events, began, performance.now());
}

/** Handles all events of the topic. Returns how many a second, from the first handler to the last. */
async function drain(bus: Client, given: Arguments, events: number): Promise<Drained> {
  const stop = new AbortController();
  const seen = new Set<string>();
  let handled = 0;
  let began = 0;
  let ended = 0;
  const worker = new Worker(bus, { maxInFlight: given.max_in_flight });
  worker.handle(given.topic, ({ eventId }) => {
    handled += 1;
    if (handled === 1) {
      began = performance.now();
    }
    seen.add(eventId);
    if (seen.size === events && ended === 0) {
      ended = performance.now();
      stop.abort();
    }
  });
  await worker.run(stop.signal);
  return { drain_per_s: perSecond(events, began, ended), handled, distinct: seen.size };
}

function perSecond(events: number, beganMs: number, endedMs: number): number {
  return (events / (endedMs - beganMs)) * 1000;
}

const input = createInterface({ input: process.stdin });
const lines = input[Symbol.asyncIterator]();

async function awaitSignal(): Promise<void> {
  console.log("ready");
  await lines.next();
}

const given = JSON.parse(process.argv[2] ?? "") as Arguments;
await using bus = new Client(given.target);
await dispatch(bus, given, given.warm_up);
await drain(bus, given, given.warm_up);
await awaitSignal();
const dispatchPerS = await dispatch(bus, given, given.events);
await awaitSignal();
const drained = await drain(bus, given, given.backlog);
await awaitSignal();
console.log(JSON.stringify({ dispatch_per_s: dispatchPerS, ...drained }));
input.close();
