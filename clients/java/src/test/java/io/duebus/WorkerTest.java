package io.duebus;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.rpc.RetryInfo;
import io.duebus.v1.AckResponse;
import io.duebus.v1.Closing;
import io.duebus.v1.ExtendResponse;
import io.duebus.v1.LeaseFailure;
import io.duebus.v1.Nack;
import io.duebus.v1.NackRequest;
import io.duebus.v1.Started;
import io.duebus.v1.SubscribeResponse;
import io.grpc.Status;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.UnaryOperator;
import java.util.logging.Filter;
import java.util.logging.Level;
import java.util.logging.Logger;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(30)
class WorkerTest {
    private final BlockingQueue<String> handled = new LinkedBlockingQueue<>();
    private final CountDownLatch finish = new CountDownLatch(1);
    private final List<Worker> workers = new ArrayList<>();
    private FakeBus server;
    private DueBus bus;

    @BeforeEach
    void connect() throws Exception {
        server = new FakeBus();
        bus = DueBus.connect(server.address());
    }

    @AfterEach
    void disconnect() {
        finish.countDown();
        workers.forEach(Worker::close);
        bus.close();
        server.close();
    }

    private Worker start(Handler handler, UnaryOperator<Worker.Builder> more) {
        var worker = more.apply(Worker.builder(bus).handle("t", delivery -> {
                    handled.add(delivery.eventId());
                    handler.handle(delivery);
                }))
                .build();
        workers.add(worker);
        return worker.start();
    }

    private Worker start(Handler handler) {
        return start(handler, builder -> builder);
    }

    /** A handler that holds until the test has ended, or it is interrupted. */
    private void hold(Delivery delivery) throws InterruptedException {
        finish.await();
    }

    private Nack nextNack() throws InterruptedException {
        NackRequest request = FakeBus.next(server.nacks);
        assertEquals(1, request.getNacksCount());
        return request.getNacks(0);
    }

    private static DueBusException errorOf(Worker worker) {
        var error = assertThrows(
                ExecutionException.class, () -> worker.ended().get(10, TimeUnit.SECONDS));
        return DueBusException.of(error);
    }

    @Test
    void anEventIsAckedWhenItsHandlerReturns() throws Exception {
        var worker = start(delivery -> {}, builder -> builder.group("g").consumer("c").maxInFlight(7));
        worker.ready().get(10, TimeUnit.SECONDS);
        var stream = FakeBus.next(server.streams);
        stream.deliver("a");

        assertEquals(FakeBus.tokensOf("a"), FakeBus.next(server.acks).getLeaseTokensList());
        assertEquals("g", stream.request.getGroup());
        assertEquals("c", stream.request.getConsumer());
        assertEquals(7, stream.request.getMaxInFlight());
        assertEquals(30, stream.request.getLease().getSeconds());
    }

    @Test
    void whatAHandlerThrowsDecidesAboutItsEvent() throws Exception {
        var thrown = new LinkedBlockingQueue<Throwable>();
        start(delivery -> {
            Throwable next = thrown.take();
            if (next instanceof Error error) {
                throw error;
            }
            throw (Exception) next;
        });
        var stream = FakeBus.next(server.streams);

        thrown.add(new IllegalStateException("boom"));
        stream.deliver("a");
        var nack = nextNack();
        assertEquals("java.lang.IllegalStateException: boom", nack.getError());
        assertEquals(Nack.ActionCase.ACTION_NOT_SET, nack.getActionCase());

        thrown.add(new StackOverflowError());
        stream.deliver("b");
        assertEquals("java.lang.StackOverflowError", nextNack().getError());

        thrown.add(new RetryAfter(Duration.ofMillis(1500), "busy"));
        stream.deliver("c");
        nack = nextNack();
        assertEquals("busy", nack.getError());
        assertEquals(1, nack.getDelay().getSeconds());
        assertEquals(500_000_000, nack.getDelay().getNanos());

        thrown.add(new DeadLetter("no such card"));
        stream.deliver("d");
        nack = nextNack();
        assertEquals("no such card", nack.getError());
        assertTrue(nack.getDeadLetter());

        thrown.add(new Release());
        stream.deliver("e");
        nack = nextNack();
        assertEquals("", nack.getError());
        assertTrue(nack.getRelease());
        assertTrue(server.acks.isEmpty());
    }

    @Test
    void aDeliveryWhoseLeaseHasRunOutIsNotStarted() throws Exception {
        server.onExtend = request -> {
            var answer = ExtendResponse.newBuilder();
            request.getLeaseTokensList().stream()
                    .filter(each -> !each.endsWith("alive"))
                    .forEach(each -> answer.addFailuresBuilder()
                            .setLeaseToken(each)
                            .setReason(LeaseFailure.Reason.REASON_EXPIRED));
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
    void settlesExtensionsAndHeldTokensFitIntoTheLargestRequest() throws Exception {
        int limit = 64 << 10;
        server.onSubscribe = request -> Started.newBuilder().setMaxRequestBytes(limit);
        start(
                delivery -> {
                    finish.await();
                    throw new DeadLetter("x".repeat(4096));
                },
                builder -> builder.maxInFlight(1000).concurrency(50).lease(Duration.ofMillis(150)));
        var stream = FakeBus.next(server.streams);
        stream.deliver(IntStream.range(0, 1000).mapToObj("%0100d"::formatted).toArray(String[]::new));

        for (int extended = 0; extended < 1000; ) {
            var request = FakeBus.next(server.extend);
            assertTrue(request.getSerializedSize() <= limit);
            extended += request.getLeaseTokensCount();
        }
        stream.breakOff();
        var held = FakeBus.next(server.streams).request;
        assertTrue(held.getSerializedSize() <= limit);
        assertTrue(held.getHeldLeaseTokensCount() > 100);
        finish.countDown();
        for (int nacked = 0; nacked < 50; ) {
            var request = FakeBus.next(server.nacks);
            assertTrue(request.getSerializedSize() <= limit);
            nacked += request.getNacksCount();
        }
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
    void aHandlerThatOverflowsTheStackOrCanNotBeLoggedFreesItsSlot() throws Exception {
        start(
                delivery -> {
                    if (delivery.eventId().equals("deep")) {
                        recurse(1);
                    }
                    if (delivery.eventId().equals("unprintable")) {
                        throw new AssertionError() {
                            @Override
                            public String toString() {
                                throw new StackOverflowError();
                            }
                        };
                    }
                },
                builder -> builder.concurrency(1));
        FakeBus.next(server.streams).deliver("deep", "unprintable", "after");
        assertEquals(FakeBus.tokensOf("after"), FakeBus.next(server.acks).getLeaseTokensList());
        var errors = new ArrayList<String>();
        while (errors.size() < 2) {
            FakeBus.next(server.nacks).getNacksList().forEach(each -> errors.add(each.getError()));
        }
        assertEquals("java.lang.StackOverflowError", errors.get(0));
        assertTrue(errors.get(1).contains("WorkerTest"), errors.get(1));
    }

    private static int recurse(int depth) {
        return recurse(depth + 1) + 1;
    }

    @Test
    void anUnprintableErrorIsStillAFailure() throws Exception {
        start(delivery -> {
            throw new IllegalStateException() {
                @Override
                public String toString() {
                    throw new UnsupportedOperationException();
                }
            };
        });
        FakeBus.next(server.streams).deliver("a");

        assertTrue(nextNack().getError().contains("WorkerTest"));
    }

    @Test
    void aLongMessageIsCutBetweenCharacters() throws Exception {
        start(delivery -> {
            throw new DeadLetter("x" + "ж".repeat(5000) + "\ud83d");
        });
        FakeBus.next(server.streams).deliver("a");

        String error = nextNack().getError();
        assertEquals(4095, error.getBytes(StandardCharsets.UTF_8).length);
        assertTrue(error.endsWith("ж"));
    }

    @Test
    void concurrencyLimitsRunningHandlers() throws Exception {
        var running = new AtomicInteger();
        var most = new AtomicInteger();
        start(
                delivery -> {
                    most.accumulateAndGet(running.incrementAndGet(), Math::max);
                    Thread.sleep(5);
                    running.decrementAndGet();
                },
                builder -> builder.concurrency(2));
        FakeBus.next(server.streams).deliver("a", "b", "c", "d", "e", "f");

        for (int i = 0; i < 6; i++) {
            FakeBus.next(handled);
        }
        assertEquals(2, most.get());
    }

    @Test
    void acksThatAccumulateDuringACallGoIntoTheNext() throws Exception {
        var allowed = new CompletableFuture<Void>();
        server.onAck = FakeBus.once(allowed, AckResponse.getDefaultInstance());
        var worker = start(delivery -> {});
        var stream = FakeBus.next(server.streams);
        stream.deliver("a");
        assertEquals(1, FakeBus.next(server.acks).getLeaseTokensCount());
        stream.deliver("b", "c");
        FakeBus.next(handled);
        FakeBus.next(handled);
        FakeBus.next(handled);
        var stopped = worker.stop(); // which waits for the handlers, so that both acks have collected
        assertTrue(stream.gone.await(10, TimeUnit.SECONDS));
        allowed.complete(null);

        assertEquals(
                List.of("lease of b", "lease of c"),
                FakeBus.next(server.acks).getLeaseTokensList().stream().sorted().toList());
        stopped.get(10, TimeUnit.SECONDS);
    }

    @Test
    void settlesAreRetriedUntilTheySucceed() throws Exception {
        var tries = new AtomicInteger();
        server.onAck = request -> switch (tries.incrementAndGet()) {
            case 1 -> throw Status.UNAVAILABLE.asRuntimeException();
            case 2 -> AckResponse.newBuilder()
                    .addFailures(LeaseFailure.newBuilder()
                            .setLeaseToken("lease of a")
                            .setReason(LeaseFailure.Reason.REASON_ENGINE_STOPPED))
                    .build();
            default -> AckResponse.getDefaultInstance();
        };
        var worker = start(delivery -> {});
        FakeBus.next(server.streams).deliver("a");
        for (int i = 0; i < 3; i++) {
            assertEquals(FakeBus.tokensOf("a"), FakeBus.next(server.acks).getLeaseTokensList());
        }

        worker.stop().get(10, TimeUnit.SECONDS);
        assertEquals(3, tries.get());
    }

    @Test
    void leasesAreExtendedWhileAHandlerRuns() throws Exception {
        start(this::hold, builder -> builder.lease(Duration.ofMillis(150)).concurrency(1));
        FakeBus.next(server.streams).deliver("a", "b");

        for (int i = 0; i < 3; i++) {
            var request = FakeBus.next(server.extend);
            assertEquals(FakeBus.tokensOf("a", "b"), request.getLeaseTokensList());
            assertEquals(150_000_000, request.getLease().getNanos());
        }
    }

    @Test
    void aHandlerWhoseLeaseIsLostIsInterruptedAndSettlesNothing() throws Exception {
        server.onExtend = request -> ExtendResponse.newBuilder()
                .addFailures(LeaseFailure.newBuilder()
                        .setLeaseToken("lease of a")
                        .setReason(LeaseFailure.Reason.REASON_EXPIRED))
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

        assertTrue(interrupted.await(10, TimeUnit.SECONDS));
        worker.stop().get(10, TimeUnit.SECONDS);
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
                builder -> builder.maxExecution(Duration.ofMillis(100)));
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
                builder -> builder.concurrency(1).maxExecution(Duration.ofMillis(50)));
        var stream = FakeBus.next(server.streams);
        stream.deliver("a", "b");

        assertEquals("lease of a", nextNack().getLeaseToken());
        var released = nextNack();
        assertEquals("lease of b", released.getLeaseToken());
        assertTrue(released.getRelease());
        assertTrue(stream.gone.await(10, TimeUnit.SECONDS), "it stays subscribed though it can handle nothing");
        assertTrue(server.streams.isEmpty());
        finish.countDown();
        FakeBus.next(server.streams).deliver("c");
        assertEquals(FakeBus.tokensOf("c"), FakeBus.next(server.acks).getLeaseTokensList());
    }

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
    void aClosedStreamIsReopenedAfterTheServersDelay() throws Exception {
        start(delivery -> {});
        var stream = FakeBus.next(server.streams);
        long closed = System.nanoTime();
        stream.send(SubscribeResponse.newBuilder()
                .setClosing(Closing.newBuilder()
                        .setReason(Closing.Reason.REASON_DRAINING)
                        .setReconnectAfter(com.google.protobuf.Duration.newBuilder().setNanos(300_000_000)))
                .build());

        FakeBus.next(server.streams);
        assertTrue(System.nanoTime() - closed >= 300_000_000);
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
        start(delivery -> {}).ready().get(10, TimeUnit.SECONDS);
    }

    @Test
    void anErrorThatNoRetryCanCureEndsTheWorker() {
        server.onSubscribe = request -> {
            throw FakeBus.error(Status.Code.FAILED_PRECONDITION, Reason.NO_DISPATCHER_SPECIFIED);
        };
        var worker = start(delivery -> {});

        assertEquals(Reason.NO_DISPATCHER_SPECIFIED, errorOf(worker).reason());
        assertThrows(ExecutionException.class, () -> worker.ready().get(10, TimeUnit.SECONDS));
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
        assertTrue(stream.gone.await(10, TimeUnit.SECONDS));
        assertFalse(stopped.isDone());
        finish.countDown();
        stopped.get(10, TimeUnit.SECONDS);
        assertEquals(FakeBus.tokensOf("a"), FakeBus.next(server.acks).getLeaseTokensList());
    }

    @Test
    void aStopWaitsAtMostItsTimeout() throws Exception {
        var worker = start(this::hold, builder -> builder.drainTimeout(Duration.ofMillis(100)));
        FakeBus.next(server.streams).deliver("a");
        FakeBus.next(handled);
        worker.stop().get(10, TimeUnit.SECONDS);

        assertTrue(nextNack().getRelease());
    }

    @Test
    void aWorkerStopsWhileTheServerIsUnreachable() throws Exception {
        server.close();
        start(delivery -> {}).stop().get(10, TimeUnit.SECONDS);
    }

    @Test
    void runEndsOnAnErrorOrAnInterrupt() throws Exception {
        var worker = Worker.builder(bus).handle("t", delivery -> {}).build();
        var thread = new Thread(worker::run);
        thread.start();
        worker.ready().get(10, TimeUnit.SECONDS);
        thread.interrupt();
        thread.join(10_000);
        assertFalse(thread.isAlive());
        assertThrows(IllegalStateException.class, worker::start);

        server.onSubscribe = request -> {
            throw Status.UNAUTHENTICATED.asRuntimeException();
        };
        var refused = Worker.builder(bus).handle("t", delivery -> {}).build();
        assertEquals(Reason.UNAUTHENTICATED, assertThrows(DueBusException.class, refused::run).reason());
    }

    @Test
    void unusableWorkersAreRefused() {
        var builder = Worker.builder(bus);
        assertEquals("worker", fieldOf(builder::build));
        assertEquals("max_in_flight", fieldOf(() -> builder.maxInFlight(0)));
        assertEquals("lease", fieldOf(() -> builder.lease(Duration.ofMillis(99))));
        assertEquals("max_execution", fieldOf(() -> builder.maxExecution(Duration.ZERO)));
        assertEquals("drain_timeout", fieldOf(() -> builder.drainTimeout(Duration.ofMillis(-1))));
        assertEquals("topic", fieldOf(() -> builder.handle("\ud83d", delivery -> {}).build()));
    }

    private static String fieldOf(org.junit.jupiter.api.function.Executable call) {
        return assertThrows(DueBusException.class, call).fieldViolations().get(0).field();
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

        var error = assertThrows(ExecutionException.class, () -> worker.ready().get(10, TimeUnit.SECONDS));
        assertEquals(Reason.PERMISSION_DENIED, DueBusException.of(error).reason());
        assertFalse(worker.ended().isDone());
    }

    @Test
    void handlersRunOnTheGivenExecutorWhichTheWorkerLeavesOpen() throws Exception {
        var names = new LinkedBlockingQueue<String>();
        var executor = Executors.newFixedThreadPool(2, task -> new Thread(task, "given"));
        try {
            var worker = start(
                    delivery -> names.add(Thread.currentThread().getName()),
                    builder -> builder.executor(executor).concurrency(2));
            FakeBus.next(server.streams).deliver("a");

            assertEquals("given", FakeBus.next(names));
            FakeBus.next(server.acks);
            worker.close();
            assertFalse(executor.isShutdown());
        } finally {
            executor.shutdown();
        }
    }

    @Test
    void anExecutorThatRefusesAHandlerCostsAnAttemptAndNotTheWorker() throws Exception {
        var refusals = new AtomicInteger();
        start(delivery -> {}, builder -> builder.executor(task -> {
            if (refusals.getAndIncrement() == 0) {
                throw new RejectedExecutionException("full");
            }
            new Thread(task).start();
        }));
        var stream = FakeBus.next(server.streams);
        stream.deliver("a");
        assertTrue(nextNack().getError().contains("full"));
        stream.deliver("b");
        assertEquals(FakeBus.tokensOf("b"), FakeBus.next(server.acks).getLeaseTokensList());
    }

    @Test
    void handlersRunOnVirtualThreadsWhereJavaHasThem() throws Exception {
        var threads = new LinkedBlockingQueue<Thread>();
        start(delivery -> threads.add(Thread.currentThread()));
        FakeBus.next(server.streams).deliver("a");

        var thread = FakeBus.next(threads);
        assertTrue(thread.getName().startsWith("duebus-handler-"), thread.getName());
        boolean exist = Runtime.version().feature() >= 21;
        assertEquals(exist, exist && (boolean) Thread.class.getMethod("isVirtual").invoke(thread));
    }

    @Test
    void anOutageOfTheStreamAndOfSettlesIsOneWarningEach() throws Exception {
        var warnings = new LinkedBlockingQueue<String>();
        var log = Logger.getLogger("io.duebus.worker");
        Filter before = log.getFilter();
        log.setFilter(line -> {
            if (line.getLevel() == Level.WARNING) {
                warnings.add(line.getMessage());
            }
            return false;
        });
        try {
            var tries = new CountDownLatch(4);
            server.onAck = request -> {
                tries.countDown();
                var failure = LeaseFailure.newBuilder()
                        .setLeaseToken(request.getLeaseTokens(0))
                        .setReason(LeaseFailure.Reason.REASON_ENGINE_STOPPED);
                return AckResponse.newBuilder().addFailures(failure).build();
            };
            start(delivery -> {});
            var stream = FakeBus.next(server.streams);
            stream.deliver("a");
            assertTrue(tries.await(10, TimeUnit.SECONDS));
            var streams = new CountDownLatch(4);
            server.onSubscribe = request -> {
                streams.countDown();
                throw FakeBus.error(Status.Code.UNAVAILABLE, Reason.DISPATCHER_NOT_WORKING);
            };
            stream.breakOff();
            assertTrue(streams.await(10, TimeUnit.SECONDS));

            assertTrue(FakeBus.next(warnings).contains("the engine is stopped; 1 acks will be retried"));
            assertTrue(FakeBus.next(warnings).contains("the stream broke"));
            assertTrue(warnings.isEmpty(), warnings.toString());
        } finally {
            server.onAck = request -> AckResponse.getDefaultInstance();
            log.setFilter(before);
        }
    }
}
