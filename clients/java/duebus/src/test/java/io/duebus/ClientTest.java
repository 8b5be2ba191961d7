package io.duebus;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.rpc.BadRequest;
import com.google.rpc.RetryInfo;
import io.duebus.v1.AckResponse;
import io.duebus.v1.DispatchResponse;
import io.duebus.v1.Engine;
import io.duebus.v1.LeaseFailure;
import io.duebus.v1.PartialDispatch;
import io.duebus.v1.Started;
import io.grpc.Status;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.net.ServerSocket;
import java.time.Duration;
import java.time.Instant;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

class ClientTest extends BusTestBase {
    private static final Event EVENT = Event.of(new byte[] {1, 2});

    private DueBusException failure() {
        return assertThrows(DueBusException.class, () -> bus.dispatch("t", EVENT));
    }

    @Test
    void aDispatchIsSentAsGiven() throws Exception {
        var event = Event.json("{}")
                .id("a")
                .attribute("k", "v")
                .delay(Duration.ofMillis(1500))
                .maxRetries(0)
                .key("order-42")
                .build();
        var options = DispatchOptions.none().engines(Engine.ENGINE_LOCAL).requestId("r").requireSubscriber();

        assertEquals(new Dispatched("a", false), bus.dispatch("t", event, options));

        var request = FakeBus.next(server.dispatches);
        assertEquals("t", request.getTopic());
        assertEquals(List.of(Engine.ENGINE_LOCAL), request.getEnginesList());
        assertEquals("r", request.getRequestId());
        assertTrue(request.getRequireSubscriber());
        var sent = request.getEvents(0);
        assertEquals("application/json", sent.getContentType());
        assertEquals("v", sent.getAttributesOrThrow("k"));
        assertEquals(1, sent.getDelay().getSeconds());
        assertEquals(500_000_000, sent.getDelay().getNanos());
        assertTrue(sent.hasMaxRetries());
        assertEquals("order-42", sent.getKey());
    }

    @Test
    void eachEventOfADispatchIsSentWithItsKey() throws Exception {
        bus.dispatchAll("t", List.of(keyed("x"), EVENT, keyed("y")));

        var sent = FakeBus.next(server.dispatches).getEventsList();
        assertEquals(List.of("x", "", "y"), sent.stream().map(io.duebus.v1.Event::getKey).toList());
    }

    @Test
    void aKeyThatUtf8CanNotCarryIsRefused() {
        var error = assertThrows(DueBusException.class, () -> bus.dispatchAll("t", List.of(EVENT, keyed("\ud800"))));

        assertEquals(Reason.INVALID_ARGUMENT, error.reason());
        assertEquals("events[1].key", error.fieldViolations().get(0).field());
        assertTrue(server.dispatches.isEmpty());
    }

    private static Event keyed(String key) {
        return Event.builder(new byte[0]).key(key).build();
    }

    @Test
    void timesAndNegativeDelaysAreSentAsGiven() throws Exception {
        var moment = Instant.ofEpochSecond(1_800_000_000, 5);
        var events = List.of(
                Event.builder(new byte[0]).deliverAt(moment).build(),
                Event.builder(new byte[0]).delay(Duration.ofMillis(-1500)).build());

        bus.dispatchAll("t", events);

        var request = FakeBus.next(server.dispatches);
        assertEquals(5, request.getEvents(0).getDeliverAt().getNanos());
        assertEquals(-1, request.getEvents(1).getDelay().getSeconds());
        assertEquals(-500_000_000, request.getEvents(1).getDelay().getNanos());
    }

    @Test
    void aDispatchIsRetriedWithItsRequestIdWhileTheServerIsUnavailable() throws Exception {
        var tries = new AtomicInteger();
        server.onDispatch = request -> {
            if (tries.incrementAndGet() < 3) {
                throw FakeBus.error(Status.Code.UNAVAILABLE, Reason.DISPATCHER_NOT_WORKING);
            }
            return FakeBus.stored(request);
        };

        bus.dispatch("t", EVENT);
        bus.dispatch("t", EVENT);

        String first = FakeBus.next(server.dispatches).getRequestId();
        assertFalse(first.isEmpty());
        assertEquals(first, FakeBus.next(server.dispatches).getRequestId());
        assertEquals(first, FakeBus.next(server.dispatches).getRequestId());
        assertNotEquals(first, FakeBus.next(server.dispatches).getRequestId());
    }

    @Test
    void errorsThatNoRetryCanCureAreReportedAtOnceWithDetails() {
        var wrong = BadRequest.FieldViolation.newBuilder().setField("events[0].id").setDescription("is bad");
        server.onDispatch = request -> {
            throw FakeBus.error(
                    Status.Code.INVALID_ARGUMENT,
                    Reason.NO_EVENT_SPECIFIED,
                    BadRequest.newBuilder().addFieldViolations(wrong).build());
        };

        var error = failure();

        assertEquals(1, server.dispatches.size());
        assertEquals(Reason.NO_EVENT_SPECIFIED, error.reason());
        assertTrue(error.is(Reason.INVALID_ARGUMENT));
        assertFalse(error.is(Reason.NO_TOPIC_SPECIFIED));
        assertEquals(List.of(new FieldViolation("events[0].id", "is bad")), error.fieldViolations());
        assertEquals("t", error.metadata().get("topic"));
        assertEquals("NO_EVENT_SPECIFIED: as the test wants it (events[0].id: is bad)", error.getMessage());
    }

    @Test
    void aFullTopicHasARetryDelayAndTheStoredEvents() {
        var later = com.google.protobuf.Duration.newBuilder().setNanos(70_000_000);
        server.onDispatch = request -> {
            throw FakeBus.error(
                    Status.Code.RESOURCE_EXHAUSTED,
                    Reason.MAX_QUEUED_EVENTS_REACHED,
                    RetryInfo.newBuilder().setRetryDelay(later).build(),
                    PartialDispatch.newBuilder()
                            .addStoredEngines(Engine.ENGINE_REDIS)
                            .addEventIds("a")
                            .build());
        };

        var error = failure();

        assertEquals(Duration.ofMillis(70), error.retryAfter().orElseThrow());
        assertEquals(List.of(Engine.ENGINE_REDIS), error.storedEngines());
        assertEquals(List.of("a"), error.storedEventIds());
    }

    @Test
    void aTooLargeRequestIsBadInput() {
        server.onDispatch = request -> {
            throw Status.RESOURCE_EXHAUSTED.withDescription("message larger than max (5 vs. 4)").asRuntimeException();
        };

        var error = failure();

        assertEquals(Reason.INVALID_ARGUMENT, error.reason());
        assertEquals("request", error.fieldViolations().get(0).field());
    }

    @Test
    void anErrorWithoutDetailsHasTheReasonOfItsStatus() {
        server.onDispatch = request -> {
            throw Status.DATA_LOSS.asRuntimeException();
        };

        var error = failure();

        assertEquals(Reason.OTHER, error.reason());
        assertEquals("DATA_LOSS", error.reasonName());
    }

    @Test
    void aConnectionThatIsClosedWhileItIsOpenedIsUnavailable() {
        var closed = Status.UNKNOWN.withCause(new java.nio.channels.ClosedChannelException());

        assertEquals(Reason.UNAVAILABLE, DueBusException.of(closed.asRuntimeException()).reason());
        assertEquals(Reason.OTHER, DueBusException.of(Status.UNKNOWN.asRuntimeException()).reason());
    }

    @Test
    void badInputIsNamedBeforeItIsSent() {
        String half = "\ud83d";
        var bad = Event.builder(new byte[0]).id(half).build();
        var error = assertThrows(DueBusException.class, () -> bus.dispatchAll("t", List.of(EVENT, bad)));
        assertEquals("events[1].id", error.fieldViolations().get(0).field());

        error = assertThrows(DueBusException.class, () -> bus.dispatch(half, EVENT));
        assertEquals("topic", error.fieldViolations().get(0).field());

        error = assertThrows(DueBusException.class, () -> bus.ack(List.of("x", half)));
        assertEquals("lease_tokens[1]", error.fieldViolations().get(0).field());
        assertEquals(0, server.dispatches.size() + server.acks.size());
    }

    @Test
    void unusableTargetsAndOptionsAreRefused() {
        for (String target : List.of("", "a:1,b", "a:1,[b", "a:1,")) {
            var error = assertThrows(DueBusException.class, () -> DueBus.connect(target));
            assertEquals("target", error.fieldViolations().get(0).field());
        }
        var error = assertThrows(
                DueBusException.class, () -> DueBus.builder(server.address()).token("a b").build());
        assertEquals("token", error.fieldViolations().get(0).field());
        error = assertThrows(DueBusException.class, () -> DueBus.builder("a:1").timeout(Duration.ZERO));
        assertEquals("timeout", error.fieldViolations().get(0).field());
    }

    @Test
    void ofEqualIdsTheLaterOnesAreDuplicates() {
        server.onDispatch = request -> DispatchResponse.newBuilder()
                .addAllEventIds(List.of("a", "b", "a"))
                .addDuplicateEventIds("a")
                .build();

        var dispatched = bus.dispatchAll("t", List.of(EVENT, EVENT, EVENT));

        assertEquals(
                List.of(new Dispatched("a", false), new Dispatched("b", false), new Dispatched("a", true)), dispatched);
    }

    @Test
    void anAnswerWithoutIdsIsAnError() {
        server.onDispatch = request -> DispatchResponse.getDefaultInstance();

        assertEquals(Reason.INTERNAL, failure().reason());
    }

    @Test
    void anUnreachableServerIsUnavailableAfterTheTimeout() {
        server.close();
        var options = DispatchOptions.none().timeout(Duration.ofSeconds(2));

        var error = assertThrows(DueBusException.class, () -> bus.dispatch("t", EVENT, options));

        assertTrue(error.is(Reason.UNAVAILABLE), error.getMessage());
    }

    @Test
    void aServerThatDoesNotAnswerIsDeadlineExceeded() throws Exception {
        var never = new CompletableFuture<Void>();
        server.onDispatch = FakeBus.once(never, DispatchResponse.getDefaultInstance());
        var options = DispatchOptions.none().timeout(Duration.ofMillis(200));

        var error = assertThrows(DueBusException.class, () -> bus.dispatch("t", EVENT, options));

        never.complete(null);
        assertEquals(Reason.DEADLINE_EXCEEDED, error.reason());
    }

    @Test
    void aServerThatStartsLateIsFoundSoon() throws Exception {
        int port;
        try (var socket = new ServerSocket(0)) {
            port = socket.getLocalPort();
        }
        try (var late = DueBus.connect("127.0.0.1:" + port)) {
            var call = late.dispatchAsync("t", EVENT, DispatchOptions.none());
            assertThrows(java.util.concurrent.TimeoutException.class, () -> call.get(
                    700, java.util.concurrent.TimeUnit.MILLISECONDS));
            var begun = io.grpc.Grpc.newServerBuilderForPort(port, io.grpc.InsecureServerCredentials.create())
                    .addService(server.bindService())
                    .build()
                    .start();
            assertEquals("new", call.get(20, java.util.concurrent.TimeUnit.SECONDS).eventId());
            begun.shutdownNow();
        }
    }

    @Test
    void closingAClientEndsCallsThatWaitForARetry() throws Exception {
        server.onDispatch = request -> {
            throw FakeBus.error(Status.Code.UNAVAILABLE, Reason.DISPATCHER_NOT_WORKING);
        };
        var call = bus.dispatchAsync("t", EVENT, DispatchOptions.none());
        FakeBus.next(server.dispatches);
        bus.close();
        bus.close();

        var error = assertThrows(java.util.concurrent.ExecutionException.class, call::get);
        assertEquals(Reason.CLIENT_CLOSED, DueBusException.of(error).reason());
        assertEquals(Reason.CLIENT_CLOSED, failure().reason());
    }

    @Test
    void anInterruptCancelsTheCall() throws Exception {
        var never = new CompletableFuture<Void>();
        server.onDispatch = FakeBus.once(never, DispatchResponse.getDefaultInstance());
        Thread.currentThread().interrupt();

        var error = failure();

        assertTrue(Thread.interrupted());
        assertEquals(Reason.CANCELLED, error.reason());
        never.complete(null);
    }

    @Test
    void theTokenIsSentWithEachCall() throws Exception {
        try (var withToken = DueBus.builder(server.address()).token("secret").build()) {
            withToken.dispatch("t", EVENT);
            assertEquals("Bearer secret", FakeBus.next(server.tokens));
            assertThrows(RuntimeException.class, () -> withToken.admin().getTopic("t"));
            assertEquals("Bearer secret", FakeBus.next(server.tokens));
        }
    }

    @Test
    void anEmptyTokenIsNone() throws Exception {
        try (var without = DueBus.builder(server.address()).token("").build()) {
            without.dispatch("t", EVENT);
            assertEquals("null", FakeBus.next(server.tokens));
        }
    }

    @Test
    void theLineBreakAtTheEndOfATokenIsNotSent() throws Exception {
        for (var client : List.of(
                DueBus.builder(server.address()).token("secret\n").build(),
                DueBus.builder(server.address()).tokenProvider(() -> "secret\n").build())) {
            try (client) {
                client.dispatch("t", EVENT);
                assertEquals("Bearer secret", FakeBus.next(server.tokens));
            }
        }
    }

    @Test
    void aSuppliersEmptyTokenIsNoToken() throws Exception {
        var tokens = new java.util.ArrayDeque<>(List.of("", "late"));
        try (var client = DueBus.builder(server.address()).tokenProvider(tokens::poll).build()) {
            client.dispatch("t", EVENT);
            assertEquals("Bearer late", FakeBus.next(server.tokens));
        }
    }

    private DueBusException failureWith(Interceptor interceptor) {
        try (var client = DueBus.builder(server.address()).intercept(interceptor).build()) {
            var call = client.dispatchAsync("t", EVENT);
            var error = assertThrows(
                    java.util.concurrent.ExecutionException.class, () -> call.get(30, TimeUnit.SECONDS));
            return DueBusException.of(error);
        }
    }

    @Test
    void aDispatchForWhichAnInterceptorHasNoResultFails() {
        var error = failureWith(new Interceptor() {
            @Override
            public CompletableFuture<List<Dispatched>> dispatch(String topic, List<Event> events, Dispatching next) {
                return CompletableFuture.completedFuture(List.of());
            }
        });
        assertEquals(Reason.INTERNAL, error.reason());
    }

    @Test
    void whatAnInterceptorThrowsIsTheErrorOfTheFuture() {
        var error = failureWith(new Interceptor() {
            @Override
            public CompletableFuture<List<Dispatched>> dispatch(String topic, List<Event> events, Dispatching next) {
                throw new IllegalStateException("not today");
            }
        });
        assertTrue(error.getMessage().contains("not today"), error.getMessage());
    }

    @Test
    void aDispatchEndsThoughWhatFollowsItThrows() throws Exception {
        var interceptor = new Interceptor() {
            @Override
            public CompletableFuture<List<Dispatched>> dispatch(String topic, List<Event> events, Dispatching next) {
                return Interceptor.afterwards(next.dispatch(events), (dispatched, error) -> {
                    throw new IllegalStateException("the meter is broken");
                });
            }
        };
        try (var client = DueBus.builder(server.address()).intercept(interceptor).build()) {
            assertEquals("new", client.dispatchAsync("t", EVENT).get(30, TimeUnit.SECONDS).eventId());
        }
    }

    @Test
    void metadataThatThrowsOnARetryEndsTheCall() {
        server.onDispatch = request -> {
            throw FakeBus.error(Status.Code.UNAVAILABLE, Reason.DISPATCHER_NOT_WORKING);
        };
        var calls = new AtomicInteger();
        var error = failureWith(new Interceptor() {
            @Override
            public java.util.Map<String, String> metadata() {
                if (calls.incrementAndGet() > 1) {
                    throw new IllegalStateException("no tenant");
                }
                return java.util.Map.of();
            }
        });
        assertTrue(error.getMessage().contains("no tenant"), error.getMessage());
    }

    @Test
    void adminErrorsAreTyped() {
        var error = assertThrows(
                DueBusException.class,
                () -> bus.admin().getTopic("t"));
        assertEquals(Reason.UNIMPLEMENTED, error.reason());
        assertThrows(DueBusException.class, () -> bus.admin().withTimeout(Duration.ZERO));
    }

    @Test
    void anErrorSurvivesSerialization() throws Exception {
        server.onDispatch = request -> {
            var field = BadRequest.FieldViolation.newBuilder().setField("topic").setDescription("is bad");
            throw FakeBus.error(
                    Status.Code.INVALID_ARGUMENT,
                    Reason.INVALID_ARGUMENT,
                    BadRequest.newBuilder().addFieldViolations(field).build());
        };
        var error = assertThrows(DueBusException.class, () -> bus.dispatch("t", EVENT));
        var bytes = new ByteArrayOutputStream();
        new ObjectOutputStream(bytes).writeObject(error);
        var read = (DueBusException) new ObjectInputStream(new ByteArrayInputStream(bytes.toByteArray())).readObject();
        assertEquals(error.getMessage(), read.getMessage());
        assertEquals(error.reason(), read.reason());
        assertEquals(error.code(), read.code());
        assertEquals(error.fieldViolations(), read.fieldViolations());
        assertEquals(error.getStackTrace()[0], read.getStackTrace()[0]);
    }

    @Test
    void anEventIsDispatchedWithoutWaitingAndWithoutOptions() throws Exception {
        assertEquals("new", bus.dispatchAsync("t", EVENT).get(30, TimeUnit.SECONDS).eventId());
        assertEquals(2, bus.dispatchAllAsync("t", List.of(EVENT, EVENT)).get(30, TimeUnit.SECONDS).size());
    }

    @Test
    void oneOfSeveralServersIsEnough() throws Exception {
        try (var several = DueBus.connect("127.0.0.1:1, " + server.address())) {
            for (int i = 0; i < 5; i++) {
                several.dispatch("t", EVENT);
            }
        }
        try (var named = DueBus.connect("localhost:1,localhost:" + server.address().split(":")[1])) {
            named.dispatch("t", EVENT);
        }
    }

    @Test
    void manySettlesGoInSeveralCalls() throws Exception {
        var failure = LeaseFailure.newBuilder().setReason(LeaseFailure.Reason.REASON_EXPIRED).build();
        server.onAck = request -> AckResponse.newBuilder().addFailures(failure).build();
        var tokens = IntStream.range(0, 20_001).mapToObj(String::valueOf).toList();

        var failures = bus.ack(tokens);

        assertEquals(10_000, FakeBus.next(server.acks).getLeaseTokensCount());
        assertEquals(10_000, FakeBus.next(server.acks).getLeaseTokensCount());
        assertEquals(List.of("20000"), FakeBus.next(server.acks).getLeaseTokensList());
        assertEquals(3, failures.size());
    }

    @Test
    void aRetriedAckThatTheFirstTrySettledSucceeds() {
        var tries = new AtomicInteger();
        server.onAck = request -> {
            if (tries.incrementAndGet() == 1) {
                throw Status.UNAVAILABLE.asRuntimeException();
            }
            return AckResponse.newBuilder()
                    .addFailures(FakeBus.failure("a", LeaseFailure.Reason.REASON_SETTLED))
                    .addFailures(FakeBus.failure("b", LeaseFailure.Reason.REASON_EXPIRED))
                    .build();
        };

        var failures = bus.ack(List.of("a", "b"));

        assertEquals(List.of("b"), failures.stream().map(LeaseFailure::getLeaseToken).toList());
    }

    @Test
    void aStreamIsReadFrameByFrameUntilItIsClosed() throws Exception {
        server.onSubscribe = request -> Started.newBuilder().setGroup(request.getGroup()).setMaxInFlight(7);
        var events = bus.subscribe("t", options -> options.group("audit").lease(Duration.ofSeconds(5)));
        assertEquals("audit", events.started().group());
        assertEquals(7, events.started().maxInFlight());
        assertEquals(Duration.ofSeconds(5), events.started().lease());

        var stream = FakeBus.next(server.streams);
        stream.deliver("a", "b");
        var frames = events.iterator();
        var deliveries = assertInstanceOf(EventStream.Deliveries.class, frames.next()).deliveries();
        assertEquals(List.of("a", "b"), deliveries.stream().map(Delivery::eventId).toList());

        events.close();
        assertFalse(frames.hasNext());
        assertTrue(stream.gone.await(30, TimeUnit.SECONDS));
    }

    @Test
    void aStreamThatBreaksThrowsAndOneThatIsClosedEndsTheWait() throws Exception {
        var broken = bus.subscribe("t").iterator();
        FakeBus.next(server.streams).breakOff();
        assertEquals(Reason.UNAVAILABLE, assertThrows(DueBusException.class, broken::hasNext).reason());
        assertEquals(Reason.UNAVAILABLE, assertThrows(DueBusException.class, broken::hasNext).reason());

        var events = bus.subscribe("t");
        var waits = CompletableFuture.supplyAsync(events.iterator()::hasNext);
        events.close();
        assertFalse(waits.get(30, TimeUnit.SECONDS));
    }

    @Test
    void aStreamThatIsRefusedOrDoesNotStartInTimeFails() {
        server.onSubscribe = request -> {
            throw FakeBus.error(Status.Code.RESOURCE_EXHAUSTED, Reason.MAX_STREAMS_REACHED);
        };
        assertEquals(
                Reason.MAX_STREAMS_REACHED,
                assertThrows(DueBusException.class, () -> bus.subscribe("t")).reason());

        var start = new CompletableFuture<Void>();
        server.onSubscribe = FakeBus.once(start, Started.newBuilder());
        assertEquals(
                Reason.DEADLINE_EXCEEDED,
                assertThrows(DueBusException.class, () -> bus.subscribe("t", o -> o.timeout(Duration.ofMillis(50))))
                        .reason());
        start.complete(null);
    }

    @Test
    void streamsTakeTurnsOverTheServersWhateverIsCalledBetweenThem() throws Exception {
        try (var other = new FakeBus(); var client = DueBus.connect(server.address() + "," + other.address())) {
            while (server.streams.isEmpty() || other.streams.isEmpty()) {
                client.subscribe("t"); // until both servers are connected
            }
            int before = server.streams.size();
            int otherBefore = other.streams.size();
            for (int i = 0; i < 4; i++) {
                client.subscribe("t");
                client.dispatch("t", EVENT);
            }
            assertEquals(before + 2, server.streams.size());
            assertEquals(otherBefore + 2, other.streams.size());
        }
    }

    @Test
    void anAdminListGoesOverAllPages() {
        var keys = bus.admin().keys("t", "g", 1);

        assertEquals(List.of("a", "b"), keys.map(KeyInfo::key).toList());
        var pages = List.copyOf(server.keyPages);
        assertEquals(List.of("", "2"), pages.stream().map(each -> each.getPageToken()).toList());
        assertTrue(pages.stream().allMatch(each ->
                each.getTopic().equals("t") && each.getGroup().equals("g") && each.getPageSize() == 1));
    }

    @Test
    void anAdminCallThatReadsIsRetried() {
        server.adminFailures.add(FakeBus.error(Status.Code.UNAVAILABLE, Reason.DISPATCHER_NOT_WORKING));

        assertEquals(2, bus.admin().keys("t", "g").count());

        assertEquals(3, server.keyPages.size());
    }

    @Test
    void anAdminCallWhoseAnswerCountsWhatItDidIsNotRetried() {
        server.adminFailures.add(FakeBus.error(Status.Code.UNAVAILABLE, Reason.DISPATCHER_NOT_WORKING));

        assertThrows(DueBusException.class, () -> bus.admin().purgeEvents("t", filter -> {}));

        assertEquals(1, server.purges.size());
    }

    @Test
    void whatIsEmptyDoesNotMeanAll() {
        var admin = bus.admin();
        assertRefused("filter.event_ids", () -> admin.purgeEvents("t", filter -> filter.eventIds(List.of())));
        assertRefused("filter.key", () -> admin.purgeEvents("t", filter -> filter.key("")));
        assertRefused("filter.error_contains", () -> admin.redriveEvents("t", filter -> filter.errorContains("")));
        assertRefused("group", () -> admin.configureGroup("t", "", changes -> {}));
        assertRefused("group", () -> admin.cancelEvents("t", List.of("a"), ""));
        assertRefused("group", () -> admin.rescheduleEvents("t", List.of("a"), Duration.ZERO, ""));
        assertRefused("key", () -> admin.events("t", EventState.DEAD, options -> options.key("")));
    }

    private static void assertRefused(String field, Executable call) {
        var error = assertThrows(DueBusException.class, call);
        assertEquals(field, error.fieldViolations().get(0).field());
    }

    @Test
    void nullIsRefusedByName() {
        var worker = Worker.builder(bus);
        assertNull("topic", () -> worker.handle(null, delivery -> {}));
        assertNull("handler", () -> worker.handle("t", null));
        assertNull("group", () -> worker.group(null));
        assertNull("engine", () -> worker.engine(null));
        assertNull("lease", () -> worker.lease(null));
        assertNull("max_execution", () -> worker.maxExecution(null));
        assertNull("target", () -> DueBus.builder(null));
        assertNull("token", () -> DueBus.builder("localhost:1").token(null));
        assertNull("data", () -> Event.of(null));
        assertNull("json", () -> Event.json(null));
        var event = Event.json("{}");
        assertNull("id", () -> event.id(null));
        assertNull("content_type", () -> event.contentType(null));
        assertNull("key", () -> event.key(null));
        assertNull("delay", () -> event.delay(null));
        assertNull("deliver_at", () -> event.deliverAt(null));
        assertNull("attributes", () -> event.attributes(null));
        assertNull("attributes[\"k\"]", () -> event.attributes(Collections.singletonMap("k", null)));
        assertNull("event", () -> bus.dispatch("t", null));
    }

    private static void assertNull(String name, Executable call) {
        assertEquals(name, assertThrows(NullPointerException.class, call).getMessage());
    }

    @Test
    void aTokenIsAskedForBeforeEachCallAndEachStream() throws Exception {
        var asked = new AtomicInteger();
        try (var client = DueBus.builder(server.address()).tokenProvider(() -> "token-" + asked.incrementAndGet()).build()) {
            for (int i = 1; i < 6; i += 2) {
                client.dispatch("t", EVENT);
                client.subscribe("t").close();
                assertEquals("Bearer token-" + i, FakeBus.next(server.tokens));
                assertEquals("Bearer token-" + (i + 1), FakeBus.next(server.tokens));
            }
        }
    }

    @Test
    void aCallIsRepeatedWhileThereIsNoToken() throws Exception {
        var asked = new AtomicInteger();
        var builder = DueBus.builder(server.address()).tokenProvider(() -> {
            if (asked.incrementAndGet() == 1) {
                throw new IllegalStateException("the token service is away");
            }
            return "late";
        });
        try (var client = builder.build()) {
            client.dispatch("t", EVENT);
            assertEquals("Bearer late", FakeBus.next(server.tokens));
        }
        builder = DueBus.builder(server.address()).timeout(Duration.ofMillis(500)).tokenProvider(() -> {
            throw new IllegalStateException("the token service is away");
        });
        try (var client = builder.build()) {
            var error = assertThrows(DueBusException.class, () -> client.dispatch("t", EVENT));
            assertEquals(Reason.UNAVAILABLE, error.reason());
            assertTrue(error.getMessage().contains("no token: the token service is away"), error.getMessage());
        }
    }

    @Test
    void aTokenThatCanNotBeSentIsAnErrorAtOnce() {
        assertThrows(DueBusException.class, () -> DueBus.builder("a:1").token("line\nbreak"));
        try (var client = DueBus.builder(server.address()).tokenProvider(() -> "line\nbreak").build()) {
            var error = assertThrows(DueBusException.class, () -> client.dispatch("t", EVENT));
            assertEquals(Reason.UNAUTHENTICATED, error.reason());
        }
    }

    @Test
    void interceptorsSeeEachDispatchTheFirstOutermostAndMayChangeItsEvents() throws Exception {
        var seen = new java.util.concurrent.CopyOnWriteArrayList<String>();
        try (var client = DueBus.builder(server.address())
                .intercept(naming("outer", seen))
                .intercept(new Interceptor() {})
                .intercept(naming("inner", seen))
                .build()) {
            client.dispatch("t", EVENT.toBuilder().id("a").build());
            assertEquals(List.of("outer t 1", "inner t 1", "inner a", "outer a"), seen);
            var sent = FakeBus.next(server.dispatches).getEvents(0);
            assertEquals(java.util.Map.of("outer", "1", "inner", "1"), sent.getAttributesMap());
            seen.clear();
            client.dispatchAllAsync("t", List.of(EVENT, EVENT)).join();
            assertEquals(List.of("outer t 2", "inner t 2"), seen.subList(0, 2));
        }
    }

    private static Interceptor naming(String name, List<String> seen) {
        return new Interceptor() {
            @Override
            public CompletableFuture<List<Dispatched>> dispatch(String topic, List<Event> events, Dispatching next) {
                seen.add(name + " " + topic + " " + events.size());
                var results = next.dispatch(
                        events.stream().map(each -> each.toBuilder().attribute(name, "1").build()).toList());
                return Interceptor.afterwards(
                        results, (dispatched, error) -> seen.add(name + " " + dispatched.get(0).eventId()));
            }
        };
    }

    @Test
    void theMetadataOfInterceptorsIsSentWithEachCall() throws Exception {
        var named = new Interceptor() {
            @Override
            public java.util.Map<String, String> metadata() {
                return java.util.Map.of("authorization", "Bearer of-an-interceptor");
            }
        };
        try (var client = DueBus.builder(server.address()).intercept(named).build()) {
            client.dispatch("t", EVENT);
            assertEquals("Bearer of-an-interceptor", FakeBus.next(server.tokens));
        }
    }
}
