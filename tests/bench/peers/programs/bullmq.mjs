// BullMQ: addBulk for many, add for one; a worker whose jobs are removed from Redis when they are done.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

// The modules are where the registry installed them, not in a folder above this file.
const { Queue, Worker } = createRequire(process.env.PEER_MODULES + "/")("bullmq");

const HEAD = 20;
const QUEUE = "bench";

const given = JSON.parse(process.argv[2]);
const address = new URL(given.address);
const connection = { host: address.hostname, port: Number(address.port), maxRetriesPerRequest: null };
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

// A clock that all processes of this machine share, in seconds.
const nowS = () => Number(process.hrtime.bigint()) / 1e9;
const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, Math.max(0, seconds) * 1e3));
const wallS = () => (performance.timeOrigin + performance.now()) / 1e3;
const body = (number) => number.toFixed(9).padStart(HEAD, "0").padEnd(given.payload ?? 200, "x");

async function begin() {
  console.log("ready");
  await lines.next();
}

async function callers(count, events, send) {
  let next = 0;
  const caller = async () => {
    while (next < events) await send(next++);
  };
  await Promise.all(Array.from({ length: count }, caller));
}

async function produce() {
  const queue = new Queue(QUEUE, { connection, defaultJobOptions: { removeOnComplete: true } });
  await queue.waitUntilReady();
  await begin();
  const began = nowS();
  if (given.per_second) {
    for (let place = 0; place < given.events; place++) {
      await sleep(began + place / given.per_second - nowS());
      await queue.add("bench", body(nowS()));
    }
  } else if (given.delay_s) {
    await callers(16, given.events, (place) => {
      const delay = Math.ceil((given.delay_s + (given.spread_s * place) / given.events) * 1e3);
      // BullMQ counts a delay from a timestamp in whole milliseconds: that is the due time.
      const timestamp = Date.now();
      return queue.add("bench", body((timestamp + delay) / 1e3), { delay, timestamp });
    });
  } else if (given.coroutines > 1) {
    await callers(given.coroutines, given.events, (place) => queue.add("bench", body(place)));
  } else {
    for (let first = 0; first < given.events; first += given.batch) {
      const count = Math.min(given.batch, given.events - first);
      await queue.addBulk(Array.from({ length: count }, (_, n) => ({ name: "bench", data: body(first + n) })));
    }
  }
  const result = { began_s: began, ended_s: nowS() };
  await queue.close();
  return result;
}

async function work() {
  const clock = { latency: nowS, lateness: wallS }[given.measure];
  const result = { began_s: 0, ended_s: 0, handled: 0, distinct: 0, measured: [] };
  const seen = new Set();
  let finish;
  const done = new Promise((resolve) => (finish = resolve));
  const handle = async (job) => {
    const head = job.data.slice(0, HEAD);
    if (clock) result.measured.push((clock() - Number(head)) * 1e3);
    if (!result.handled++) result.began_s = nowS();
    seen.add(head);
    if (seen.size === given.events) {
      result.ended_s = nowS();
      finish();
    }
  };
  const worker = new Worker(QUEUE, handle, { connection, concurrency: given.concurrency, autorun: false });
  await worker.waitUntilReady();
  await begin();
  worker.run();
  await done;
  await worker.close();
  return { ...result, distinct: seen.size };
}

const result = await (given.side === "producer" ? produce() : work());
console.log(JSON.stringify(result));
process.exit(0);
