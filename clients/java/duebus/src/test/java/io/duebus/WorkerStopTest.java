package io.duebus;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.duebus.v1.Started;
import io.grpc.Status;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

class WorkerStopTest extends WorkerTestBase {
    @Test
    void aStopFinishesRunningHandlersAndReleasesTheRest() throws Exception {
        var worker = start(this::hold, builder -> builder.concurrency(1));
        var stream = FakeBus.next(server.streams);
        stream.deliver("a", "b");
        FakeBus.next(handled);
        var stopped = worker.stop();

        var released = nextNack();
        assertEquals("lease of b", released.getLeaseToken());
        assertTrue(released.getRelease());
        assertTrue(stream.gone.await(30, TimeUnit.SECONDS));
        assertFalse(stopped.isDone());
        finish.countDown();
        stopped.get(30, TimeUnit.SECONDS);
        assertEquals(FakeBus.tokensOf("a"), FakeBus.next(server.acks).getLeaseTokensList());
    }

    @Test
    void aStopWaitsAtMostItsTimeout() throws Exception {
        var worker = start(this::hold, builder -> builder.drainTimeout(Duration.ofMillis(100)));
        FakeBus.next(server.streams).deliver("a");
        FakeBus.next(handled);
        worker.stop().get(30, TimeUnit.SECONDS);

        assertTrue(nextNack().getRelease());
    }

    @Test
    void aWorkerStopsWhileTheServerIsUnreachable() throws Exception {
        server.close();
        start(delivery -> {}).stop().get(30, TimeUnit.SECONDS);
    }

    @Test
    void runEndsOnAnErrorOrAnInterrupt() throws Exception {
        var worker = Worker.builder(bus).handle("t", delivery -> {}).build();
        var thread = new Thread(worker::run);
        thread.start();
        worker.ready().get(30, TimeUnit.SECONDS);
        thread.interrupt();
        thread.join(30_000);
        assertFalse(thread.isAlive());
        assertThrows(IllegalStateException.class, worker::start);

        server.onSubscribe = request -> {
            throw Status.UNAUTHENTICATED.asRuntimeException();
        };
        var refused = Worker.builder(bus).handle("t", delivery -> {}).build();
        assertEquals(Reason.UNAUTHENTICATED, assertThrows(DueBusException.class, refused::run).reason());
    }

    @Test
    void readyEndsWhenTheWorkerFailsWhileAHandlerStillRuns() throws Exception {
        var refuse = new CompletableFuture<Void>();
        server.onSubscribe = request -> {
            if (request.getTopic().equals("refused")) {
                refuse.join();
                throw FakeBus.error(Status.Code.PERMISSION_DENIED, Reason.PERMISSION_DENIED);
            }
            return Started.newBuilder();
        };
        var worker = start(
                this::hold, builder -> builder.handle("refused", this::hold).drainTimeout(Duration.ofHours(1)));
        FakeBus.next(server.streams).deliver("a");
        FakeBus.next(handled);
        refuse.complete(null);

        var error = assertThrows(ExecutionException.class, () -> worker.ready().get(30, TimeUnit.SECONDS));
        assertEquals(Reason.PERMISSION_DENIED, DueBusException.of(error).reason());
        assertFalse(worker.ended().isDone());
    }

    @Test
    void anErrorThatNoRetryCanCureEndsTheWorker() {
        server.onSubscribe = request -> {
            throw FakeBus.error(Status.Code.FAILED_PRECONDITION, Reason.NO_DISPATCHER_SPECIFIED);
        };
        var worker = start(delivery -> {});

        assertEquals(Reason.NO_DISPATCHER_SPECIFIED, errorOf(worker).reason());
        assertThrows(ExecutionException.class, () -> worker.ready().get(30, TimeUnit.SECONDS));
    }

    @Test
    void aPermanentlyRefusedSettleEndsTheWorker() throws Exception {
        server.onAck = request -> {
            throw Status.PERMISSION_DENIED.asRuntimeException();
        };
        var worker = start(delivery -> {});
        FakeBus.next(server.streams).deliver("a");

        assertEquals(Reason.PERMISSION_DENIED, errorOf(worker).reason());
    }

    @Test
    void oneFailedSubscriptionEndsTheWorker() {
        server.onSubscribe = request -> {
            if (request.getTopic().equals("bad")) {
                throw FakeBus.error(Status.Code.INVALID_ARGUMENT, Reason.INVALID_ARGUMENT);
            }
            return Started.newBuilder();
        };
        var worker = start(delivery -> {}, builder -> builder.handle("bad", delivery -> {}));

        assertEquals(Reason.INVALID_ARGUMENT, errorOf(worker).reason());
    }

    @Test
    void closingAClientEndsItsWorkers() throws Exception {
        var worker = start(delivery -> {});
        FakeBus.next(server.streams);
        bus.close();

        assertEquals(Reason.CLIENT_CLOSED, errorOf(worker).reason());
    }

    private static DueBusException errorOf(Worker worker) {
        var error = assertThrows(
                ExecutionException.class, () -> worker.ended().get(30, TimeUnit.SECONDS));
        return DueBusException.of(error);
    }
}
