package io.duebus.opentelemetry;

import io.duebus.Delivery;
import io.duebus.Dispatched;
import io.duebus.DueBusException;
import io.duebus.Event;
import io.duebus.Handler;
import io.duebus.Interceptor;
import io.opentelemetry.api.OpenTelemetry;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanBuilder;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.propagation.TextMapGetter;
import io.opentelemetry.context.propagation.TextMapPropagator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;

/**
 * Traces an event from the producer, through delay and retries, to the handler:
 *
 * <pre>{@code
 * var bus = DueBus.builder("127.0.0.1:50051").intercept(new OpenTelemetryInterceptor(GlobalOpenTelemetry.get())).build();
 * }</pre>
 *
 * <p>Spans follow the <a href="https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/">conventions for
 * messaging</a>. A dispatch is a span, which its events name in their attributes {@code traceparent} and {@code tracestate}
 * (<a href="https://www.w3.org/TR/trace-context/">W3C Trace Context</a>). The handler has its own trace that links to it: a
 * single trace would last as long as the delay. An event whose attributes name a span already keeps it, and its dispatch
 * links to that. A span of the gRPC call itself is that of OpenTelemetry's instrumentation of gRPC.
 */
public final class OpenTelemetryInterceptor implements Interceptor {
    private static final String NAME = "duebus";
    private static final String TRACEPARENT = "traceparent";
    private static final TextMapPropagator PROPAGATOR = W3CTraceContextPropagator.getInstance();

    private static final TextMapGetter<Map<String, String>> GETTER = new TextMapGetter<>() {
        @Override
        @SuppressWarnings("deprecation") // the API of 1.57 and older has it without a default
        public Iterable<String> keys(Map<String, String> attributes) {
            return attributes.keySet();
        }

        @Override
        public String get(Map<String, String> attributes, String name) {
            return attributes == null ? null : attributes.get(name);
        }
    };

    private final Tracer tracer;

    /** @param openTelemetry gets the spans */
    public OpenTelemetryInterceptor(OpenTelemetry openTelemetry) {
        tracer = openTelemetry.getTracer(NAME);
    }

    @Override
    @SuppressWarnings("try") // the scope is only closed
    public CompletableFuture<List<Dispatched>> dispatch(String topic, List<Event> events, Dispatching next) {
        SpanBuilder builder = begin("dispatch", "send", topic).setSpanKind(SpanKind.PRODUCER);
        if (events.size() > 1) {
            builder.setAttribute("messaging.batch.message_count", events.size());
        } else if (!events.isEmpty() && !events.get(0).id().isEmpty()) {
            builder.setAttribute("messaging.message.id", events.get(0).id());
        }
        events.forEach(each -> link(builder, each.attributes()));
        Span span = builder.startSpan();
        try (var scope = span.makeCurrent()) {
            Map<String, String> named = metadata();
            var results = next.dispatch(events.stream().map(each -> naming(each, named)).toList());
            return Interceptor.afterwards(results, (dispatched, error) -> end(span, error));
        } catch (RuntimeException error) {
            end(span, error);
            throw error;
        }
    }

    @Override
    @SuppressWarnings("try") // the scope is only closed
    public void handle(Delivery delivery, Handler next) throws Exception {
        SpanBuilder builder = begin("process", "process", delivery.topic())
                .setSpanKind(SpanKind.CONSUMER)
                .setNoParent()
                .setAttribute("messaging.consumer.group.name", delivery.group())
                .setAttribute("messaging.message.id", delivery.eventId())
                .setAttribute("duebus.attempt", delivery.attempt());
        link(builder, delivery.attributes());
        Span span = builder.startSpan();
        try (var scope = Context.root().with(span).makeCurrent()) {
            next.handle(delivery);
            end(span, null);
        } catch (Throwable error) {
            end(span, error);
            throw error;
        }
    }

    /** Names the current span; empty if there is none. */
    @Override
    public Map<String, String> metadata() {
        var named = new HashMap<String, String>();
        PROPAGATOR.inject(Context.current(), named, Map::put);
        return named;
    }

    private SpanBuilder begin(String operation, String type, String topic) {
        return tracer.spanBuilder(operation + " " + topic)
                .setAttribute("messaging.system", NAME)
                .setAttribute("messaging.operation.name", operation)
                .setAttribute("messaging.operation.type", type)
                .setAttribute("messaging.destination.name", topic);
    }

    /** Links to the span that the attributes name, if they name one. */
    private static void link(SpanBuilder builder, Map<String, String> attributes) {
        var named = Span.fromContext(PROPAGATOR.extract(Context.root(), attributes, GETTER)).getSpanContext();
        if (named.isValid()) {
            builder.addLink(named);
        }
    }

    private static Event naming(Event event, Map<String, String> named) {
        return event.attributes().containsKey(TRACEPARENT) ? event : event.toBuilder().attributes(named).build();
    }

    /** @param error null if it succeeded */
    private static void end(Span span, Throwable error) {
        if (error != null) {
            span.setAttribute("error.type", typeOf(error));
            span.recordException(error);
            span.setStatus(StatusCode.ERROR, String.valueOf(error.getMessage()));
        }
        span.end();
    }

    /** The reason of a call that failed, otherwise the class of the error. */
    private static String typeOf(Throwable error) {
        return error instanceof DueBusException failure ? failure.reasonName() : error.getClass().getName();
    }
}
