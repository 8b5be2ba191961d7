/**
 * Traces an event from the producer, through delay and retries, to the handler, with OpenTelemetry. It needs the package
 * `@opentelemetry/api`.
 *
 * @module
 */
import {
  type Attributes,
  type Context,
  context,
  createTraceState,
  isSpanContextValid,
  type Link,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  trace,
} from "@opentelemetry/api";
import { DueBusError } from "./errors.js";
import type { NewEvent } from "./event.js";
import type { Interceptor } from "./interceptor.js";

const NAME = "duebus";
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/;

type Names = Readonly<Record<string, string>>;

/**
 * For the `interceptors` of a client:
 *
 * ```ts
 * const bus = new Client("127.0.0.1:50051", { interceptors: [openTelemetry()] });
 * ```
 *
 * Spans follow the conventions for messaging (https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/). A
 * dispatch is a span, which its events name in their attributes `traceparent` and `tracestate`
 * (https://www.w3.org/TR/trace-context/). The handler has its own trace that links to it: a single trace would last as
 * long as the delay. An event whose attributes name a span already keeps it, and its dispatch links to that. A span of the
 * gRPC call itself is that of `@opentelemetry/instrumentation-grpc`.
 *
 * Spans go to the tracer provider that is registered with `@opentelemetry/api` when they begin.
 */
export function openTelemetry(): Interceptor {
  return {
    dispatch(topic, events, next) {
      const [event, ...others] = events;
      const attributes = {
        "messaging.system": NAME,
        "messaging.operation.name": "dispatch",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
        ...(others.length > 0 && { "messaging.batch.message_count": events.length }),
        ...(others.length === 0 && event?.id && { "messaging.message.id": event.id }),
      };
      const links = events.flatMap((each) => linksTo(each.attributes));
      const span = begin(`dispatch ${topic}`, SpanKind.PRODUCER, attributes, links, context.active());
      const named = namesOf(span.spanContext());
      return during(span, trace.setSpan(context.active(), span), () => next(events.map((each) => naming(each, named))));
    },
    handle(delivery, _, next) {
      const attributes = {
        "messaging.system": NAME,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": delivery.topic,
        "messaging.consumer.group.name": delivery.group,
        "messaging.message.id": delivery.eventId,
        "duebus.attempt": delivery.attempt,
      };
      const links = linksTo(delivery.attributes);
      const span = begin(`process ${delivery.topic}`, SpanKind.CONSUMER, attributes, links, ROOT_CONTEXT);
      return during(span, trace.setSpan(ROOT_CONTEXT, span), next);
    },
    metadata() {
      return namesOf(trace.getSpanContext(context.active()));
    },
  };
}

function begin(name: string, kind: SpanKind, attributes: Attributes, links: Link[], parent: Context): Span {
  return trace.getTracer(NAME).startSpan(name, { kind, attributes, links }, parent);
}

/** Runs with the span, and ends it. If it fails, `error.type` is the reason of a `DueBusError`, else the error's name. */
async function during<T>(span: Span, inner: Context, run: () => Promise<T>): Promise<T> {
  try {
    return await context.with(inner, run);
  } catch (error) {
    const exception = error instanceof Error ? error : new Error(String(error));
    span.setAttribute("error.type", exception instanceof DueBusError ? exception.reason : exception.name);
    span.recordException(exception);
    span.setStatus({ code: SpanStatusCode.ERROR, message: exception.message });
    throw error;
  } finally {
    span.end();
  }
}

function naming(event: NewEvent, named: Names): NewEvent {
  return event.attributes?.traceparent === undefined
    ? { ...event, attributes: { ...event.attributes, ...named } }
    : event;
}

/** The attributes that name a span; none if it is not valid. */
function namesOf(span: SpanContext | undefined): Names {
  if (span === undefined || !isSpanContextValid(span)) {
    return {};
  }
  const flags = span.traceFlags.toString(16).padStart(2, "0");
  const traceparent = `00-${span.traceId}-${span.spanId}-${flags}`;
  const tracestate = span.traceState?.serialize();
  return tracestate ? { traceparent, tracestate } : { traceparent };
}

/** A link to the span that the attributes name; none if they name none. */
function linksTo(attributes: Names | undefined): Link[] {
  const [, traceId = "", spanId = "", flags = ""] = TRACEPARENT.exec(attributes?.traceparent ?? "") ?? [];
  const span: SpanContext = { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true };
  if (attributes?.tracestate !== undefined) {
    span.traceState = createTraceState(attributes.tracestate);
  }
  return isSpanContextValid(span) ? [{ context: span }] : [];
}
