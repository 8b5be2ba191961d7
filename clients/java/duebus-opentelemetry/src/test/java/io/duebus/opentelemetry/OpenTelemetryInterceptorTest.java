package io.duebus.opentelemetry;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.duebus.DeadLetter;
import io.duebus.DueBus;
import io.duebus.DueBusException;
import io.duebus.Event;
import io.duebus.Handler;
import io.duebus.Worker;
import io.duebus.testing.Bus;
import io.opentelemetry.api.OpenTelemetry;
import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.sdk.testing.exporter.InMemorySpanExporter;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.trace.data.LinkData;
import io.opentelemetry.sdk.trace.data.SpanData;
import io.opentelemetry.sdk.trace.export.SimpleSpanProcessor;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class OpenTelemetryInterceptorTest {
    private static final InMemorySpanExporter SPANS = InMemorySpanExporter.create();
    private static final AttributeKey<String> ERROR_TYPE = AttributeKey.stringKey("error.type");
    private static Bus bus;

    private final BlockingQueue<Map<String, String>> attributes = new LinkedBlockingQueue<>();

    @BeforeAll
    static void start() {
        var provider = SdkTracerProvider.builder().addSpanProcessor(SimpleSpanProcessor.create(SPANS)).build();
        OpenTelemetry openTelemetry = OpenTelemetrySdk.builder().setTracerProvider(provider).build();
        bus = Bus.start(client -> client.intercept(new OpenTelemetryInterceptor(openTelemetry)));
    }

    @AfterAll
    static void stop() {
        bus.close();
    }

    @BeforeEach
    void forget() {
        SPANS.reset();
    }

    private void handling(String topic, Handler handler, Runnable dispatch) {
        var worker = Worker.builder(bus.client())
                .group("billing")
                .handle(topic, delivery -> {
                    attributes.add(delivery.attributes());
                    handler.handle(delivery);
                })
                .build();
        bus.running(worker, () -> {
            dispatch.run();
            bus.settle();
        });
    }

    private static SpanData spanOf(String name) {
        List<SpanData> found =
                SPANS.getFinishedSpanItems().stream().filter(each -> each.getName().equals(name)).toList();
        assertEquals(1, found.size(), name);
        return found.get(0);
    }

    private static Map<String, Object> attributesOf(SpanData span) {
        var found = new TreeMap<String, Object>();
        span.getAttributes().forEach((key, value) -> found.put(key.getKey(), value));
        return found;
    }

    private static String traceparent(SpanData span) {
        return "00-%s-%s-%s".formatted(span.getTraceId(), span.getSpanId(), span.getSpanContext().getTraceFlags().asHex());
    }

    @Test
    void theSpanOfTheHandlerLinksToThatOfTheDispatch() throws Exception {
        var inner = new LinkedBlockingQueue<String>();
        handling(
                "traced",
                delivery -> inner.add(Span.current().getSpanContext().getSpanId()),
                () -> bus.client().dispatch("traced", Event.json("1").id("e").attribute("own", "kept").build()));
        var sent = spanOf("dispatch traced");
        assertEquals(SpanKind.PRODUCER, sent.getKind());
        assertEquals(
                Map.of(
                        "messaging.system", "duebus",
                        "messaging.operation.name", "dispatch",
                        "messaging.operation.type", "send",
                        "messaging.destination.name", "traced",
                        "messaging.message.id", "e"),
                attributesOf(sent));
        assertEquals(Map.of("own", "kept", "traceparent", traceparent(sent)), attributes.take());
        var processed = spanOf("process traced");
        assertEquals(SpanKind.CONSUMER, processed.getKind());
        assertEquals(
                Map.of(
                        "messaging.system", "duebus",
                        "messaging.operation.name", "process",
                        "messaging.operation.type", "process",
                        "messaging.destination.name", "traced",
                        "messaging.consumer.group.name", "billing",
                        "messaging.message.id", "e",
                        "duebus.attempt", 1L),
                attributesOf(processed));
        assertEquals(List.of(sent.getSpanId()), linked(processed));
        assertNotEquals(sent.getTraceId(), processed.getTraceId());
        assertEquals(processed.getSpanId(), inner.take());
    }

    private static List<String> linked(SpanData span) {
        return span.getLinks().stream().map(LinkData::getSpanContext).map(each -> each.getSpanId()).toList();
    }

    @Test
    void anEventThatNamesASpanKeepsItAndItsDispatchLinksToThat() throws Exception {
        var named = Map.of("traceparent", "00-%s-%s-01".formatted("a".repeat(32), "b".repeat(16)), "tracestate", "vendor=1");
        handling("relayed", delivery -> {}, () ->
                bus.client().dispatch("relayed", Event.json("1").attributes(named).build()));
        assertEquals(named, attributes.take());
        for (var span : List.of(spanOf("dispatch relayed"), spanOf("process relayed"))) {
            var link = span.getLinks().get(0).getSpanContext();
            assertEquals("a".repeat(32), link.getTraceId());
            assertEquals("1", link.getTraceState().get("vendor"));
        }
    }

    @Test
    void theSpanOfABatchHasTheirNumberAndLinksToTheSpansThatItsEventsName() {
        String named = "00-%s-%s-01".formatted("a".repeat(32), "b".repeat(16));
        var events = Stream.of(named, "wrong").map(each -> Event.json("1").attribute("traceparent", each).build());
        var batch = Stream.concat(Stream.of(Event.json("1").id("own").build()), events).toList();
        handling("many", delivery -> {}, () -> bus.client().dispatchAll("many", batch));
        var sent = spanOf("dispatch many");
        assertEquals(List.of("b".repeat(16)), linked(sent));
        assertEquals(3L, attributesOf(sent).get("messaging.batch.message_count"));
        assertNull(attributesOf(sent).get("messaging.message.id"));
        var parents = attributes.stream().map(each -> each.get("traceparent")).collect(Collectors.toSet());
        assertEquals(Set.of(traceparent(sent), named, "wrong"), parents);
        var links = SPANS.getFinishedSpanItems().stream()
                .filter(each -> each.getName().equals("process many"))
                .map(each -> each.getLinks().size())
                .sorted()
                .toList();
        assertEquals(List.of(0, 1, 1), links);
    }

    @Test
    void aFailedSpanHasTheError() {
        handling(
                "failing",
                delivery -> {
                    throw new DeadLetter("not today");
                },
                () -> bus.client().dispatch("failing", Event.json("1").build()));
        assertThrows(DueBusException.class, () -> bus.client().dispatch("-", Event.json("1").build()));
        var processed = spanOf("process failing");
        assertEquals(DeadLetter.class.getName(), processed.getAttributes().get(ERROR_TYPE));
        assertEquals(StatusCode.ERROR, processed.getStatus().getStatusCode());
        assertEquals("not today", processed.getStatus().getDescription());
        assertEquals("INVALID_ARGUMENT", spanOf("dispatch -").getAttributes().get(ERROR_TYPE));
    }

    @Test
    void withoutASpanEventsAreSentAsTheyAreGiven() throws Exception {
        try (var client = DueBus.builder(bus.address())
                .intercept(new OpenTelemetryInterceptor(OpenTelemetry.noop()))
                .build()) {
            handling("plain", delivery -> {}, () ->
                    client.dispatch("plain", Event.json("1").attribute("own", "kept").build()));
        }
        assertEquals(Map.of("own", "kept"), attributes.take());
    }
}
