package io.duebus;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.rpc.RetryInfo;
import io.duebus.v1.AckResponse;
import io.duebus.v1.Closing;
import io.duebus.v1.LeaseFailure;
import io.duebus.v1.Started;
import io.grpc.Status;
import java.util.Queue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.logging.Level;
import java.util.logging.Logger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class WorkerStreamTest extends WorkerTestBase {
    private static final Logger LOG = Logger.getLogger("io.duebus.worker");

    @Test
    void aBrokenStreamIsResumedWithTheLeasesStillHeld() throws Exception {
        server.onSubscribe = request -> Started.newBuilder().addAllLostLeaseTokens(
                request.getHeldLeaseTokensList().stream().filter("lease of b"::equals).toList());
        var interrupted = new LinkedBlockingQueue<String>();
        start(delivery -> {
            try {
                hold(delivery);
            } catch (InterruptedException cancelled) {
                interrupted.add(delivery.eventId());
                throw cancelled;
            }
        });
        var stream = FakeBus.next(server.streams);
        stream.deliver("a", "b");
        FakeBus.next(handled);
        FakeBus.next(handled);
        stream.breakOff();

        assertEquals(FakeBus.tokensOf("a", "b"), FakeBus.next(server.streams).request.getHeldLeaseTokensList());
        assertEquals("b", FakeBus.next(interrupted));
        finish.countDown();
        assertEquals(FakeBus.tokensOf("a"), FakeBus.next(server.acks).getLeaseTokensList());
    }

    @Test
    void aWorkerOfAGroupWithLimitsPrefetchesNothing() throws Exception {
        server.onSubscribe = request -> Started.newBuilder().setLimited(true);
        start(this::hold, builder -> builder.maxInFlight(8).concurrency(2));
        var first = FakeBus.next(server.streams);
        first.deliver("a", "b", "c");
        var second = FakeBus.next(server.streams);

        assertEquals(8, first.request.getMaxInFlight());
        assertEquals(2, second.request.getMaxInFlight());
        assertEquals(FakeBus.tokensOf("a", "b", "c"), second.request.getHeldLeaseTokensList());
        finish.countDown();
        for (int acked = 0; acked < 3; ) {
            acked += FakeBus.next(server.acks).getLeaseTokensCount();
        }
        assertTrue(server.streams.isEmpty());
        assertTrue(server.nacks.isEmpty());
    }

    @Test
    void aClosedStreamIsReopenedAfterTheServersDelay() throws Exception {
        start(delivery -> {});
        var stream = FakeBus.next(server.streams);
        long closed = System.nanoTime();
        stream.close(Closing.newBuilder()
                .setReason(Closing.Reason.REASON_DRAINING)
                .setReconnectAfter(com.google.protobuf.Duration.newBuilder().setNanos(300_000_000)));

        FakeBus.next(server.streams);
        assertTrue(System.nanoTime() - closed >= 300_000_000);
    }

    @Test
    void aRebalancedStreamIsReopenedAtOnceOnTheNextServerWithItsLeases() throws Exception {
        var lines = new LinkedBlockingQueue<String>();
        var counts = new AtomicIntegerArray(2);
        takeLog(Level.INFO, lines);
        try (var other = new FakeBus(server.streams);
                var spread = DueBus.connect(server.address() + "," + other.address())) {
            server.onSubscribe = request -> counted(counts, 0);
            other.onSubscribe = request -> counted(counts, 1);
            var worker = Worker.builder(spread).handle("t", this::hold).build();
            worker.start();
            var stream = FakeBus.next(server.streams);
            stream.deliver("a");
            while (server.dispatches.isEmpty() || other.dispatches.isEmpty()) {
                spread.dispatch("t", Event.of(new byte[0])); // until both servers are connected
            }
            for (int i = 0; i < 20; i++) {
                stream.close(Closing.newBuilder().setReason(Closing.Reason.REASON_REBALANCE));
                stream = FakeBus.next(server.streams);
                assertEquals(FakeBus.tokensOf("a"), stream.request.getHeldLeaseTokensList());
            }
            finish.countDown();
            worker.stop().get(30, TimeUnit.SECONDS);
        }
        assertTrue(counts.get(0) > 8 && counts.get(1) > 8, counts.toString());
        // A pause before the next try would be another line.
        assertTrue(lines.stream().allMatch(each -> each.contains("subscribed as")), lines.toString());
    }

    private static Started.Builder counted(AtomicIntegerArray counts, int server) {
        counts.incrementAndGet(server);
        return Started.newBuilder();
    }

    /** Takes the lines of the log from this level on, until the test has ended. */
    private static void takeLog(Level least, Queue<String> lines) {
        LOG.setFilter(line -> {
            if (line.getLevel().intValue() >= least.intValue()) {
                lines.add(line.getMessage());
            }
            return false;
        });
    }

    @AfterEach
    void giveLogBack() {
        LOG.setFilter(null);
    }

    @Test
    void aTemporaryErrorDoesNotEndTheWorker() throws Exception {
        var tries = new AtomicInteger();
        server.onSubscribe = request -> {
            if (tries.incrementAndGet() == 1) {
                throw FakeBus.error(
                        Status.Code.UNAVAILABLE, Reason.DISPATCHER_NOT_WORKING, RetryInfo.getDefaultInstance());
            }
            return Started.newBuilder();
        };
        start(delivery -> {}).ready().get(30, TimeUnit.SECONDS);
    }

    @Test
    void anOutageIsAWarningOnce() {
        var outage = new Outage();
        assertEquals(System.Logger.Level.WARNING, outage.level());
        assertEquals(System.Logger.Level.DEBUG, outage.level());
        outage.over();
        assertEquals(System.Logger.Level.WARNING, outage.level());
    }

    @Test
    void anOutageOfTheStreamAndOfSettlesIsOneWarningEach() throws Exception {
        var warnings = new LinkedBlockingQueue<String>();
        takeLog(Level.WARNING, warnings);
        try {
            var tries = new CountDownLatch(4);
            server.onAck = request -> {
                tries.countDown();
                var failure = FakeBus.failure(request.getLeaseTokens(0), LeaseFailure.Reason.REASON_ENGINE_STOPPED);
                return AckResponse.newBuilder().addFailures(failure).build();
            };
            start(delivery -> {});
            var stream = FakeBus.next(server.streams);
            stream.deliver("a");
            assertTrue(tries.await(30, TimeUnit.SECONDS));
            var streams = new CountDownLatch(4);
            server.onSubscribe = request -> {
                streams.countDown();
                throw FakeBus.error(Status.Code.UNAVAILABLE, Reason.DISPATCHER_NOT_WORKING);
            };
            stream.breakOff();
            assertTrue(streams.await(30, TimeUnit.SECONDS));

            assertTrue(FakeBus.next(warnings).contains("the engine is stopped; 1 acks will be retried"));
            assertTrue(FakeBus.next(warnings).contains("the stream broke"));
            assertTrue(warnings.isEmpty(), warnings.toString());
        } finally {
            server.onAck = request -> AckResponse.getDefaultInstance();
        }
    }
}
