package io.duebus;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.rpc.RetryInfo;
import io.duebus.v1.DispatchRequest;
import io.duebus.v1.DispatchResponse;
import io.grpc.Status;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Function;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class DispatcherTest extends BusTestBase {
    /** Holds the answer to the first dispatch until the future completes. */
    private CompletableFuture<Void> holdFirst(Function<DispatchRequest, DispatchResponse> others) {
        var release = new CompletableFuture<Void>();
        var calls = new AtomicInteger();
        server.onDispatch = request -> {
            if (calls.getAndIncrement() == 0) {
                release.join();
                return FakeBus.stored(request);
            }
            return others.apply(request);
        };
        return release;
    }

    private CompletableFuture<Dispatched> dispatchAsync(String id) {
        return bus.dispatchAsync("t", Event.builder(new byte[0]).id(id).key("key of " + id).build());
    }

    private List<String> nextSent() throws InterruptedException {
        return FakeBus.stored(FakeBus.next(server.dispatches)).getEventIdsList();
    }

    @Test
    void singleDispatchesThatArriveDuringACallShareTheNext() throws Exception {
        var release = holdFirst(FakeBus::stored);
        var first = dispatchAsync("first");
        assertEquals(List.of("first"), nextSent());
        var others = List.of(dispatchAsync("a"), dispatchAsync("b"), dispatchAsync("c"));
        release.complete(null);

        assertEquals(new Dispatched("first", false), first.get(30, TimeUnit.SECONDS));
        for (int i = 0; i < 3; i++) {
            assertEquals("abc".substring(i, i + 1), others.get(i).get(30, TimeUnit.SECONDS).eventId());
        }
        var sent = FakeBus.next(server.dispatches);
        assertEquals(List.of("a", "b", "c"), FakeBus.stored(sent).getEventIdsList());
        assertEquals(
                List.of("key of a", "key of b", "key of c"),
                sent.getEventsList().stream().map(io.duebus.v1.Event::getKey).toList());
        assertTrue(server.dispatches.isEmpty());
    }

    @Test
    void aDispatchThatIsCancelledWhileItWaitsIsNotSent() throws Exception {
        var release = holdFirst(FakeBus::stored);
        dispatchAsync("first");
        nextSent();
        var hasty = dispatchAsync("a");
        var patient = dispatchAsync("b");
        hasty.cancel(true);
        release.complete(null);

        patient.get(30, TimeUnit.SECONDS);
        assertEquals(List.of("b"), nextSent());
    }

    @Test
    void aFirstDispatchThatIsCancelledDoesNotHoldUpTheOthers() throws Exception {
        var release = holdFirst(FakeBus::stored);
        var first = dispatchAsync("first");
        nextSent();
        var second = dispatchAsync("second");
        first.cancel(true);

        assertEquals("second", second.get(30, TimeUnit.SECONDS).eventId());
        release.complete(null);
    }

    @Test
    void aSharedCallIsRepeatedAsItWas() throws Exception {
        var lost = new AtomicInteger();
        var release = holdFirst(request -> {
            if (lost.getAndIncrement() == 0) {
                throw FakeBus.error(Status.Code.UNAVAILABLE, Reason.DISPATCHER_NOT_WORKING);
            }
            return FakeBus.stored(request);
        });
        dispatchAsync("first");
        nextSent();
        var others = List.of(dispatchAsync("a"), dispatchAsync("b"));
        release.complete(null);
        for (var each : others) {
            each.get(30, TimeUnit.SECONDS);
        }

        assertEquals(FakeBus.next(server.dispatches), FakeBus.next(server.dispatches));
    }

    @Test
    void largeEventsGoInSeveralSharedCalls() throws Exception {
        var release = holdFirst(FakeBus::stored);
        dispatchAsync("first");
        nextSent();
        var large = IntStream.range(0, 4)
                .mapToObj(i -> Event.builder(new byte[1 << 20]).id("" + i).build())
                .map(event -> bus.dispatchAsync("t", event))
                .toList();
        release.complete(null);
        for (var each : large) {
            each.get(30, TimeUnit.SECONDS);
        }

        assertEquals(List.of("0", "1"), nextSent());
        assertEquals(List.of("2", "3"), nextSent());
    }

    @Test
    void whatBlocksAfterADispatchDoesNotHoldUpTheOthersOfItsCall() throws Exception {
        var release = holdFirst(FakeBus::stored);
        dispatchAsync("first");
        nextSent();
        var end = new CountDownLatch(1);
        var blocked = dispatchAsync("a").thenRun(() -> {
            try {
                end.await();
            } catch (InterruptedException error) {
                throw new IllegalStateException(error);
            }
        });
        var others = List.of(dispatchAsync("b"), dispatchAsync("c"));
        release.complete(null);
        for (var each : others) {
            each.get(30, TimeUnit.SECONDS);
        }
        assertEquals("d", dispatchAsync("d").get(30, TimeUnit.SECONDS).eventId());
        end.countDown();
        blocked.get(30, TimeUnit.SECONDS);
    }

    @Test
    void aDispatchThatTimesOutAfterAnOutageReportsTheOutage() throws Exception {
        var release = new CompletableFuture<Void>();
        var end = new CompletableFuture<Void>();
        var later = com.google.protobuf.Duration.newBuilder().setSeconds(60).build();
        server.onDispatch = request -> {
            if (request.getEvents(0).getId().equals("first")) {
                release.join();
                throw FakeBus.error(
                        Status.Code.UNAVAILABLE,
                        Reason.DISPATCHER_NOT_WORKING,
                        RetryInfo.newBuilder().setRetryDelay(later).build());
            }
            end.join();
            return FakeBus.stored(request);
        };
        try (var hasty = DueBus.builder(server.address()).timeout(Duration.ofSeconds(3)).build()) {
            var first = hasty.dispatchAsync("t", Event.builder(new byte[0]).id("first").build());
            assertEquals(List.of("first"), nextSent());
            var second = hasty.dispatchAsync("t", Event.builder(new byte[0]).id("second").build());
            release.complete(null);
            for (var each : List.of(first, second)) {
                var error = DueBusException.of(
                        assertThrows(ExecutionException.class, () -> each.get(30, TimeUnit.SECONDS)));
                assertEquals(Reason.DISPATCHER_NOT_WORKING, error.reason());
            }
            assertEquals(List.of("second"), nextSent());
        } finally {
            end.complete(null);
        }
    }

    @Test
    void whileTheServerIsAwayEveryDispatchReportsWhere() throws Exception {
        String address = server.address();
        server.close();
        try (var hasty = DueBus.builder(address).timeout(Duration.ofSeconds(3)).build()) {
            var calls = IntStream.range(0, 5).mapToObj(i -> hasty.dispatchAsync("t", Event.of(new byte[0]))).toList();
            for (var each : calls) {
                var error = DueBusException.of(
                        assertThrows(ExecutionException.class, () -> each.get(30, TimeUnit.SECONDS)));
                assertTrue(error.is(Reason.UNAVAILABLE), error.getMessage());
                assertTrue(error.getMessage().contains(address), error.getMessage());
            }
        }
    }
}
