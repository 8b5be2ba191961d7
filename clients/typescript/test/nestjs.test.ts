import "reflect-metadata";
import assert from "node:assert/strict";
import { after, test } from "node:test";
import {
  Controller,
  type INestApplicationContext,
  Inject,
  Injectable,
  Module,
  type OnApplicationShutdown,
  Scope,
  type Type,
} from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import { Client, type Delivery, DueBusError, type HandlerContext, Worker } from "duebus";
import { DueBusHandler, DueBusHealth, DueBusModule, type DueBusModuleOptions } from "duebus/nestjs";
import { startBus } from "duebus/testing";

const bus = await startBus();
after(() => bus.stop());

@Injectable()
class Orders {
  readonly seen: string[] = [];
  readonly #client: Client;

  constructor(@Inject(Client) client: Client) {
    this.#client = client;
  }

  async place(id: string): Promise<void> {
    await this.#client.dispatch("order.created", { id });
  }

  @DueBusHandler("order.created")
  bill(delivery: Delivery, { signal }: HandlerContext): void {
    assert.equal(signal.aborted, false);
    this.seen.push(`billed ${delivery.eventId} in ${delivery.group}`);
  }

  @DueBusHandler("order.created", { group: "shipping" })
  async ship(delivery: Delivery): Promise<void> {
    this.seen.push(`shipped ${delivery.eventId} in ${delivery.group}`);
  }
}

@Controller()
class Audit {
  readonly seen: string[] = [];

  @DueBusHandler("order.created", { group: "audit" })
  note(delivery: Delivery): void {
    this.seen.push(delivery.eventId);
  }
}

const OPTIONS = "options";

@Module({
  providers: [{ provide: OPTIONS, useValue: { target: bus.address, worker: { group: "billing" } } }],
  exports: [OPTIONS],
})
class OptionsModule {}

@Module({
  imports: [
    DueBusModule.forRootAsync({
      imports: [OptionsModule],
      inject: [OPTIONS],
      useFactory: (options: DueBusModuleOptions) => options,
    }),
  ],
  providers: [Orders],
  controllers: [Audit],
})
class AppModule {}

@Module({ imports: [DueBusModule.forRoot({ target: bus.address })] })
class ProducerModule {}

async function start(module: Type): Promise<INestApplicationContext> {
  return NestFactory.createApplicationContext(module, { logger: false });
}

/** The groups of the topic whose handlers are subscribed. */
async function subscribed(): Promise<string[]> {
  const topic = await bus.client.admin.getTopic("order.created");
  return topic.groups.filter((each) => each.subscribers.length > 0).map((each) => each.group);
}

/** Waits until the worker has subscribed to a topic and handled what is due. */
async function handled(topic: string, done: () => boolean): Promise<void> {
  while (!done()) {
    await bus.settle();
    const info = await bus.client.admin.getTopic(topic);
    assert(
      info.groups.every((each) => each.dead === 0),
      "an event has failed",
    );
  }
}

test("decorated methods handle events until the application is closed", async () => {
  for (const group of ["audit", "billing", "shipping"]) {
    await using _ = await bus.client.subscribe("order.created", { group }); // makes the group
  }
  const app = await start(AppModule);
  await app.get(Orders).place("42");
  while ((await subscribed()).length < 3) {} // each waits for the server
  await bus.settle();
  assert.deepEqual(app.get(Orders).seen.sort(), ["billed 42 in billing", "shipped 42 in shipping"]);
  assert.deepEqual(app.get(Audit).seen, ["42"]);

  await app.close();
  while ((await subscribed()).length > 0) {}
  await assert.rejects(app.get(Client).dispatch("order.created", {}), /the client is closed/);
});

test("an application without handlers has a client", async () => {
  const app = await start(ProducerModule);
  assert.equal((await app.get(Client).dispatch("produced", { id: "e" })).eventId, "e");
  await app.close();
});

/** What handlers need, and its end. */
@Injectable()
class Store implements OnApplicationShutdown {
  isOpen = true;
  readonly seen: string[] = [];

  onApplicationShutdown(): void {
    this.isOpen = false;
  }
}

let begun = (): void => {};

@Injectable()
class Slow {
  readonly #store: Store;

  constructor(@Inject(Store) store: Store) {
    this.#store = store;
  }

  @DueBusHandler("slow")
  async handle(_: Delivery, { signal }: HandlerContext): Promise<void> {
    begun();
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    this.#store.seen.push(this.#store.isOpen ? "open" : "closed");
  }
}

@Module({
  imports: [DueBusModule.forRoot({ target: bus.address, worker: { drainTimeoutMs: 10 } })],
  providers: [Store, Slow],
})
class SlowModule {}

test("handlers have ended before onApplicationShutdown closes what they need", async () => {
  const running = new Promise<void>((resolve) => {
    begun = resolve;
  });
  const app = await start(SlowModule);
  await app.get(Client).dispatch("slow", {});
  await running;
  const store = app.get(Store);
  await app.close();
  assert.deepEqual(store.seen, ["open"]);
});

@Injectable({ scope: Scope.REQUEST })
class PerRequest {
  readonly #store: Store;
  #calls = 0;

  constructor(@Inject(Store) store: Store) {
    this.#store = store;
  }

  @DueBusHandler("requests")
  handle(delivery: Delivery): void {
    this.#calls += 1;
    this.#store.seen.push(`${delivery.eventId} is call ${this.#calls}`);
  }
}

@Module({ imports: [DueBusModule.forRoot({ target: bus.address })], providers: [Store, PerRequest] })
class PerRequestModule {}

test("a provider whose scope is a request is made for each delivery", async () => {
  const app = await start(PerRequestModule);
  const store = app.get(Store);
  for (const id of ["a", "b"]) {
    await app.get(Client).dispatch("requests", { id, maxRetries: 0 });
  }
  await handled("requests", () => store.seen.length === 2);
  assert.deepEqual(store.seen.sort(), ["a is call 1", "b is call 1"]);
  await app.close();
});

@Module({
  imports: [DueBusModule.forRoot({ target: bus.address })],
  providers: [Orders, { provide: "alias", useExisting: Orders }],
})
class AliasModule {}

test("a provider with an alias has one subscription for each handler", async (context) => {
  const handle = context.mock.method(Worker.prototype, "handle");
  const app = await start(AliasModule);
  assert.equal(handle.mock.callCount(), 2);
  await app.close();
});

@Module({
  imports: [DueBusModule.forRoot({ target: bus.address, worker: { engine: "redis" } })],
  providers: [Orders],
})
class MissingEngineModule {}

test("the health is that of the server, and of the worker, which an error may have ended", async () => {
  const producer = await start(ProducerModule);
  await producer.get(DueBusHealth).check();
  await producer.close();
  await assert.rejects(producer.get(DueBusHealth).check(), /the client is closed/);

  const app = await start(MissingEngineModule);
  const health = app.get(DueBusHealth);
  const ended = async (): Promise<never> => {
    for (;;) {
      await health.check(); // waits for the server
    }
  };
  await assert.rejects(ended(), (error) => error instanceof DueBusError && error.is("NO_DISPATCHER_SPECIFIED"));
  await app.close();
});
