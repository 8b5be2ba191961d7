import "reflect-metadata";
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Controller, type INestApplicationContext, Inject, Injectable, Module, type Type } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import { Client, type Delivery, type HandlerContext } from "duebus";
import { DueBusHandler, DueBusModule, type DueBusModuleOptions } from "duebus/nestjs";
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
  const { topic } = await bus.client.admin.getTopic({ topic: "order.created" });
  return (topic?.groups ?? []).filter((each) => each.subscribers.length > 0).map((each) => each.group);
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
