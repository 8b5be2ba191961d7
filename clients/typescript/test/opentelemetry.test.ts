import assert from "node:assert/strict";
import { after, afterEach, beforeEach, test } from "node:test";
import { context, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { Client, DeadLetter, type Handler, Worker } from "duebus";
import { openTelemetry } from "duebus/opentelemetry";
import { startBus } from "duebus/testing";
import { FakeBus, failure } from "./fakebus.js";

const spans = new InMemorySpanExporter();
const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

const bus = await startBus({ interceptors: [openTelemetry()] });
after(() => bus.stop());

beforeEach(() => {
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] }));
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
});

afterEach(() => {
  spans.reset();
  trace.disable();
  context.disable();
});

async function handling(topic: string, handler: Handler, block: () => Promise<void>): Promise<void> {
  const worker = new Worker(bus.client, { group: "billing", logger: quiet }).handle(topic, handler);
  await bus.running(worker, async () => {
    await block();
    await bus.settle();
  });
}

/** The span of that name. */
function spanOf(name: string) {
  const found = spans.getFinishedSpans().filter((each) => each.name === name);
  assert.equal(found.length, 1, `spans called ${name}`);
  const [span] = found;
  assert(span !== undefined);
  return span;
}

test("the span of the handler links to that of the dispatch", async () => {
  let attributes: Readonly<Record<string, string>> = {};
  let inner = "";
  const handler: Handler = (delivery) => {
    attributes = delivery.attributes;
    inner = trace.getActiveSpan()?.spanContext().spanId ?? "";
  };
  await handling("traced", handler, async () => {
    await bus.client.dispatch("traced", { id: "e", attributes: { own: "kept" } });
  });
  const sent = spanOf("dispatch traced");
  assert.equal(sent.kind, SpanKind.PRODUCER);
  assert.deepEqual(sent.attributes, {
    "messaging.system": "duebus",
    "messaging.operation.name": "dispatch",
    "messaging.operation.type": "send",
    "messaging.destination.name": "traced",
    "messaging.message.id": "e",
  });
  const { traceId, spanId } = sent.spanContext();
  assert.deepEqual(attributes, { own: "kept", traceparent: `00-${traceId}-${spanId}-01` });
  const processed = spanOf("process traced");
  assert.equal(processed.kind, SpanKind.CONSUMER);
  assert.deepEqual(processed.attributes, {
    "messaging.system": "duebus",
    "messaging.operation.name": "process",
    "messaging.operation.type": "process",
    "messaging.destination.name": "traced",
    "messaging.consumer.group.name": "billing",
    "messaging.message.id": "e",
    "duebus.attempt": 1,
  });
  assert.deepEqual(
    processed.links.map((link) => link.context.spanId),
    [spanId],
  );
  assert.notEqual(processed.spanContext().traceId, traceId);
  assert.equal(inner, processed.spanContext().spanId);
});

test("an event that names a span keeps it, and its dispatch links to that", async () => {
  const traceparent = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
  const named = { traceparent, tracestate: "vendor=1" };
  let attributes: Readonly<Record<string, string>> = {};
  const handler: Handler = (delivery) => {
    attributes = delivery.attributes;
  };
  await handling("relayed", handler, async () => {
    await bus.client.dispatch("relayed", { attributes: named });
  });
  assert.deepEqual(attributes, named);
  for (const span of [spanOf("dispatch relayed"), spanOf("process relayed")]) {
    const [link] = span.links;
    assert.equal(link?.context.traceId, "a".repeat(32));
    assert.equal(link?.context.traceState?.serialize(), "vendor=1");
  }
});

test("the span of a batch has their number, and links to the spans that its events name", async () => {
  const parents: (string | undefined)[] = [];
  const handler: Handler = ({ attributes }) => parents.push(attributes.traceparent);
  const named = ["a", "b"].map((digit) => `00-${digit.repeat(32)}-${digit.repeat(16)}-01`);
  await handling("many", handler, async () => {
    const events = [...named, "wrong"].map((traceparent) => ({ attributes: { traceparent } }));
    await bus.client.dispatchMany("many", [{ id: "own" }, ...events]);
  });
  const sent = spanOf("dispatch many");
  assert.deepEqual(
    sent.links.map((each) => each.context.spanId),
    ["a".repeat(16), "b".repeat(16)],
  );
  assert.equal(sent.attributes["messaging.batch.message_count"], 4);
  assert.equal(sent.attributes["messaging.message.id"], undefined);
  const { traceId, spanId } = sent.spanContext();
  assert.deepEqual(parents.sort(), [`00-${traceId}-${spanId}-01`, ...named, "wrong"].sort());
  const links = spans.getFinishedSpans().filter((each) => each.name === "process many");
  assert.deepEqual(links.map((each) => each.links.length).sort(), [0, 1, 1, 1]);
});

test("a failed span has the error", async () => {
  const handler: Handler = () => {
    throw new DeadLetter("not today");
  };
  await handling("failing", handler, async () => {
    await bus.client.dispatch("failing", {});
  });
  await assert.rejects(bus.client.dispatch("", {}));
  const processed = spanOf("process failing");
  assert.equal(processed.attributes["error.type"], "DeadLetter");
  assert.deepEqual(processed.status, { code: SpanStatusCode.ERROR, message: "not today" });
  assert.equal(spanOf("dispatch ").attributes["error.type"], "NO_TOPIC_SPECIFIED");
});

test("calls carry the current span", async () => {
  const fake = await new FakeBus().start();
  const client = new Client(fake.target, { interceptors: [openTelemetry()] });
  await client.dispatch("t", {});
  const { traceId, spanId } = spanOf("dispatch t").spanContext();
  assert.deepEqual(fake.traceparents, [`00-${traceId}-${spanId}-01`]);
  client.close();
  fake.stop();
});

test("without a tracer provider, events are sent as they are given", async () => {
  trace.disable();
  const fake = await new FakeBus().start();
  fake.failures.push(failure(14, "UNAVAILABLE"));
  const client = new Client(fake.target, { interceptors: [openTelemetry()] });
  await client.dispatch("t", { attributes: { own: "kept" } });
  assert.deepEqual(fake.dispatches.at(-1)?.events[0]?.attributes, { own: "kept" });
  client.close();
  fake.stop();
});
