package io.duebus;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.duebus.v1.ExtendResponse;
import io.duebus.v1.LeaseFailure;
import io.grpc.Status;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

class WorkerLeaseTest extends WorkerTestBase {
    @Test
    void aDeliveryWhoseLeaseHasRunOutIsNotStarted() throws Exception {
        server.onExtend = request -> {
            var answer = ExtendResponse.newBuilder();
            request.getLeaseTokensList().stream()
                    .filter(each -> !each.endsWith("alive"))
                    .forEach(each -> answer.addFailures(FakeBus.failure(each, LeaseFailure.Reason.REASON_EXPIRED)));
            return answer.build();
        };
        start(this::hold, builder -> builder.concurrency(1));
        var stream = FakeBus.next(server.streams);
        stream.deliverUntil(Instant.now().minusSeconds(1), "stale");
        stream.deliver("first alive");
        assertEquals("first alive", FakeBus.next(handled));

        stream.deliverUntil(Instant.now().minusSeconds(1), "waited");
        stream.deliver("last alive");
        finish.countDown();
        assertEquals("last alive", FakeBus.next(handled));
        assertTrue(server.nacks.isEmpty());
    }

    @Test
    void differingClocksDoNotKeepDeliveriesFromStarting() throws Exception {
        start(delivery -> {});
        var stream = FakeBus.next(server.streams);
        var engine = Instant.now().minus(Duration.ofHours(1)); // this host's clock is an hour ahead
        for (String id : List.of("a", "b", "c")) {
            stream.deliverUntil(engine.plusSeconds(30), id);
            assertEquals(FakeBus.tokensOf(id), FakeBus.next(server.acks).getLeaseTokensList());
        }
        assertEquals(1, server.extend.size());
    }

    @Test
    void leasesAreExtendedWhileAHandlerRuns() throws Exception {
        start(this::hold, builder -> builder.lease(Duration.ofMillis(600)).concurrency(1));
        FakeBus.next(server.streams).deliver("a", "b");

        for (int i = 0; i < 3; i++) {
            var request = FakeBus.next(server.extend);
            assertEquals(FakeBus.tokensOf("a", "b"), request.getLeaseTokensList());
            assertEquals(600_000_000, request.getLease().getNanos());
        }
    }

    @Test
    void whileNoStreamIsOpenLeasesAreExtendedWithinTheGrace() throws Exception {
        start(this::hold);
        var stream = FakeBus.next(server.streams);
        stream.deliver("a");
        FakeBus.next(handled);
        server.onSubscribe = request -> {
            throw Status.UNAVAILABLE.asRuntimeException();
        };
        stream.breakOff();

        assertEquals(FakeBus.tokensOf("a"), FakeBus.next(server.extend).getLeaseTokensList());
    }

    @Test
    void aHandlerWhoseLeaseIsLostIsInterruptedAndSettlesNothing() throws Exception {
        server.onExtend = request -> ExtendResponse.newBuilder()
                .addFailures(FakeBus.failure("lease of a", LeaseFailure.Reason.REASON_EXPIRED))
                .build();
        var interrupted = new CountDownLatch(1);
        var worker = start(
                delivery -> {
                    try {
                        hold(delivery);
                    } catch (InterruptedException cancelled) {
                        interrupted.countDown();
                        throw cancelled;
                    }
                },
                builder -> builder.lease(Duration.ofMillis(100)));
        FakeBus.next(server.streams).deliver("a");

        assertTrue(interrupted.await(30, TimeUnit.SECONDS));
        worker.stop().get(30, TimeUnit.SECONDS);
        assertEquals(0, server.acks.size() + server.nacks.size());
    }

    @Test
    void aHandlerThatRunsTooLongIsInterruptedAndItsEventNacked() throws Exception {
        start(this::hold, builder -> builder.maxExecution(Duration.ofMillis(50)));
        FakeBus.next(server.streams).deliver("a");

        var nack = nextNack();
        assertEquals("lease of a", nack.getLeaseToken());
        assertTrue(nack.getError().contains("longer than PT0.05S"));
    }

    @Test
    void anInterruptHitsOnlyItsHandler() throws Exception {
        var seen = new LinkedBlockingQueue<Boolean>();
        start(
                delivery -> {
                    if (delivery.eventId().equals("a")) {
                        try {
                            hold(delivery);
                        } catch (InterruptedException cancelled) {
                            Thread.currentThread().interrupt();
                        }
                    } else {
                        seen.add(Thread.currentThread().isInterrupted());
                    }
                },
                builder -> builder.maxExecution(Duration.ofSeconds(1)));
        var stream = FakeBus.next(server.streams);
        stream.deliver("a");
        nextNack();
        stream.deliver("b");

        assertFalse(FakeBus.next(seen));
    }

    @Test
    void handlersThatIgnoreInterruptionDoNotHoldTheirEvents() throws Exception {
        start(
                delivery -> {
                    while (finish.getCount() > 0) {
                        try {
                            finish.await();
                        } catch (InterruptedException ignored) {
                            continue;
                        }
                    }
                },
                builder -> builder.concurrency(1).maxExecution(Duration.ofMillis(500)));
        var stream = FakeBus.next(server.streams);
        stream.deliver("a", "b");

        assertEquals("lease of a", nextNack().getLeaseToken());
        var released = nextNack();
        assertEquals("lease of b", released.getLeaseToken());
        assertTrue(released.getRelease());
        assertTrue(stream.gone.await(30, TimeUnit.SECONDS), "it stays subscribed though it can handle nothing");
        assertTrue(server.streams.isEmpty());
        finish.countDown();
        FakeBus.next(server.streams).deliver("c");
        assertEquals(FakeBus.tokensOf("c"), FakeBus.next(server.acks).getLeaseTokensList());
    }
}
