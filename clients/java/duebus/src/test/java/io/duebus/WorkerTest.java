package io.duebus;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.duebus.v1.AckResponse;
import io.duebus.v1.LeaseFailure;
import io.duebus.v1.Nack;
import io.duebus.v1.NackResponse;
import io.duebus.v1.Started;
import io.duebus.v1.SubscribeRequest;
import io.grpc.Status;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.Executors;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

class WorkerTest extends WorkerTestBase {
    @Test
    void anEventIsAckedWhenItsHandlerReturns() throws Exception {
        var keys = new LinkedBlockingQueue<String>();
        var worker = start(
                delivery -> keys.add(delivery.key()), builder -> builder.group("g").consumer("c").maxInFlight(7));
        worker.ready().get(30, TimeUnit.SECONDS);
        var stream = FakeBus.next(server.streams);
        stream.deliver("a");

        assertEquals(FakeBus.tokensOf("a"), FakeBus.next(server.acks).getLeaseTokensList());
        assertEquals("key of a", FakeBus.next(keys));
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

        thrown.add(new RateLimited(Duration.ofHours(2), RateLimited.Scope.GROUP, "too many requests"));
        stream.deliver("limited");
        nack = nextNack();
        assertEquals("too many requests", nack.getError());
        assertEquals(Nack.Pause.Scope.SCOPE_GROUP, nack.getPause().getScope());
        assertEquals(3600, nack.getPause().getDuration().getSeconds());
        assertEquals(Nack.ActionCase.ACTION_NOT_SET, nack.getActionCase());

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
    void settlesExtensionsAndHeldTokensFitIntoTheLargestRequest() throws Exception {
        int limit = 64 << 10;
        server.onSubscribe = request -> Started.newBuilder().setMaxRequestBytes(limit);
        start(
                delivery -> {
                    finish.await();
                    throw new DeadLetter("x".repeat(4096));
                },
                builder -> builder.maxInFlight(1000).concurrency(50).lease(Duration.ofSeconds(1)));
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
        var both = new CyclicBarrier(2);
        start(
                delivery -> {
                    most.accumulateAndGet(running.incrementAndGet(), Math::max);
                    both.await(30, TimeUnit.SECONDS);
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
        assertTrue(stream.gone.await(30, TimeUnit.SECONDS));
        allowed.complete(null);

        assertEquals(
                List.of("lease of b", "lease of c"),
                FakeBus.next(server.acks).getLeaseTokensList().stream().sorted().toList());
        stopped.get(30, TimeUnit.SECONDS);
    }

    @Test
    void settlesAreRetriedUntilTheySucceed() throws Exception {
        var tries = new AtomicInteger();
        server.onAck = request -> switch (tries.incrementAndGet()) {
            case 1 -> throw Status.UNAVAILABLE.asRuntimeException();
            case 2 -> AckResponse.newBuilder()
                    .addFailures(FakeBus.failure("lease of a", LeaseFailure.Reason.REASON_ENGINE_STOPPED))
                    .build();
            default -> AckResponse.getDefaultInstance();
        };
        var worker = start(delivery -> {});
        FakeBus.next(server.streams).deliver("a");
        for (int i = 0; i < 3; i++) {
            assertEquals(FakeBus.tokensOf("a"), FakeBus.next(server.acks).getLeaseTokensList());
        }

        worker.stop().get(30, TimeUnit.SECONDS);
        assertEquals(3, tries.get());
    }

    @Test
    void unusableWorkersAreRefused() {
        var builder = Worker.builder(bus);
        assertEquals("worker", fieldOf(builder::build));
        assertEquals("max_in_flight", fieldOf(() -> builder.maxInFlight(0)));
        assertEquals("lease", fieldOf(() -> builder.lease(Duration.ofMillis(99))));
        assertEquals("max_execution", fieldOf(() -> builder.maxExecution(Duration.ZERO)));
        assertEquals("drain_timeout", fieldOf(() -> builder.drainTimeout(Duration.ofMillis(-1))));
        assertEquals("max_in_flight", fieldOf(() -> Worker.builder(bus)
                .handle("t", options -> options.maxInFlight(0), delivery -> {})
                .build()));
        assertEquals("topic", fieldOf(() -> builder.handle("\ud83d", delivery -> {}).build()));
    }

    private static String fieldOf(org.junit.jupiter.api.function.Executable call) {
        return assertThrows(DueBusException.class, call).fieldViolations().get(0).field();
    }

    @Test
    void aHandlerHasItsOwnOptionsAndOtherwiseThoseOfTheWorker() throws Exception {
        start(delivery -> {}, builder -> builder.handle(
                        "own",
                        options -> options.group("shipping").maxInFlight(4).lease(Duration.ofSeconds(60)),
                        delivery -> {})
                .group("billing")
                .consumer("host-1"));

        var requests = Stream.of(FakeBus.next(server.streams), FakeBus.next(server.streams))
                .map(each -> each.request)
                .collect(Collectors.toMap(SubscribeRequest::getTopic, Function.identity()));
        assertEquals("billing", requests.get("t").getGroup());
        assertEquals(64, requests.get("t").getMaxInFlight());
        assertEquals(30, requests.get("t").getLease().getSeconds());
        assertEquals("shipping", requests.get("own").getGroup());
        assertEquals(4, requests.get("own").getMaxInFlight());
        assertEquals(60, requests.get("own").getLease().getSeconds());
        assertEquals("host-1", requests.get("own").getConsumer());
    }

    @Test
    void aHandlerRunsForAsLongAsItsOwnOptionsSay() throws Exception {
        start(delivery -> {}, builder -> builder.handle(
                "own", options -> options.maxExecution(Duration.ofMillis(50)), this::hold));
        for (int i = 0; i < 2; i++) {
            var stream = FakeBus.next(server.streams);
            if (stream.request.getTopic().equals("own")) {
                stream.deliver("a");
            }
        }
        assertTrue(nextNack().getError().contains("PT0.05S"));
    }

    @Test
    void handlersThatEndAtOnceShareFewThreads() throws Exception {
        var threads = ConcurrentHashMap.<Thread>newKeySet();
        start(delivery -> threads.add(Thread.currentThread()), builder -> builder.maxInFlight(500));
        FakeBus.next(server.streams).deliver(IntStream.range(0, 500).mapToObj(String::valueOf).toArray(String[]::new));

        for (int i = 0; i < 500; i++) {
            FakeBus.next(handled);
        }
        assertTrue(threads.size() < 250, "500 events were handled on " + threads.size() + " threads");
    }

    @Test
    void allSlotsAreTakenByHandlersThatHold() throws Exception {
        start(this::hold, builder -> builder.maxInFlight(100).concurrency(50));
        FakeBus.next(server.streams).deliver(IntStream.range(0, 100).mapToObj(String::valueOf).toArray(String[]::new));

        for (int i = 0; i < 50; i++) {
            FakeBus.next(handled);
        }
        assertNull(handled.poll(50, TimeUnit.MILLISECONDS));
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
    void aPauseOfAKeyThatCanNotBePausedIsARetry() throws Exception {
        var noKey = LeaseFailure.newBuilder()
                .setLeaseToken(FakeBus.tokensOf("a").get(0))
                .setReason(LeaseFailure.Reason.REASON_NO_KEY);
        server.onNack = request -> NackResponse.newBuilder().addFailures(noKey).build();
        start(delivery -> {
            throw new RateLimited(Duration.ofMinutes(1));
        });
        FakeBus.next(server.streams).deliver("a");

        assertEquals(60, nextNack().getPause().getDuration().getSeconds());
        Nack retried = nextNack();
        assertEquals(60, retried.getDelay().getSeconds());
        assertFalse(retried.hasPause());
    }
}
