// Orders: a service that places orders, and workers that bill and ship them. The service knows neither.
//
//   node dist/examples/orders.js             places three orders, handles them, and ends
//   node dist/examples/orders.js place 42    places one order
//   node dist/examples/orders.js work        handles orders until Ctrl-C
//
// The events are JSON on the topic order.created, so either half may be in another language. The server is the one that
// DUEBUS_SERVER names, 127.0.0.1:50051 by default.
import { Client, DeadLetter, DueBusError, Worker } from "duebus";

interface Order {
  id: number;
}

/** Places an order. The id makes it safe to place the same order twice. */
async function place(bus: Client, id: number): Promise<void> {
  const order: Order = { id };
  const { duplicate } = await bus.dispatch("order.created", { id: `order-${id}`, json: order });
  console.log(`order ${id} is placed${duplicate ? " already" : ""}`);
}

/** Billing and shipping, which each get a copy of each event. */
function workers(bus: Client, handled: () => void): Worker {
  const work = (done: string) => (delivery: { json<T>(): T }) => {
    const { id } = delivery.json<Order>();
    if (!Number.isInteger(id)) {
      throw new DeadLetter(`${id} is not the number of an order`);
    }
    console.log(`order ${id} is ${done}`);
    handled();
  };
  return new Worker(bus)
    .handle("order.created", work("billed"), { group: "billing" })
    .handle("order.created", work("shipped"), { group: "shipping" });
}

async function demonstrate(bus: Client, stop: AbortController): Promise<void> {
  const first = Date.now();
  const ids = [first, first + 1, first + 2];
  let left = 2 * ids.length;
  const worker = workers(bus, () => {
    left -= 1;
    if (left === 0) {
      stop.abort();
    }
  });
  const run = worker.run(stop.signal);
  if (await worker.ready()) {
    await Promise.all(ids.map((id) => place(bus, id)));
  }
  await run;
}

async function main([command, number]: string[]): Promise<void> {
  await using bus = new Client(process.env.DUEBUS_SERVER ?? "127.0.0.1:50051");
  const stop = new AbortController();
  process.once("SIGINT", () => stop.abort());
  process.once("SIGTERM", () => stop.abort());
  if (command === undefined) {
    await demonstrate(bus, stop);
  } else if (command === "work") {
    await workers(bus, () => {}).run(stop.signal);
  } else if (command === "place" && Number.isInteger(Number(number))) {
    await place(bus, Number(number));
  } else {
    throw new Error("usage: orders [work | place NUMBER]");
  }
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  console.error(error instanceof DueBusError ? `${error.reason}: ${error.message}` : String(error));
  process.exitCode = 1;
}
