package io.duebus.testing;

import com.google.protobuf.Duration;
import com.google.protobuf.Timestamp;
import io.duebus.Delivery;
import io.duebus.DueBus;
import io.duebus.DueBusException;
import io.duebus.Handler;
import io.duebus.Interceptor;
import io.duebus.Worker;
import io.duebus.v1.AdvanceTimeRequest;
import io.duebus.v1.AdvanceTimeResponse;
import io.duebus.v1.SettleRequest;
import io.duebus.v1.SettleResponse;
import io.duebus.v1.TestClockGrpc;
import io.grpc.StatusRuntimeException;
import java.time.Instant;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/**
 * A bus for tests: the real server in a process of its own, in memory, with a clock that the test moves; in between, the
 * clock runs on. {@link DueBusExtension} passes one to JUnit's tests.
 */
public final class Bus implements AutoCloseable {
    private static final java.time.Duration SETTLE_TIMEOUT = java.time.Duration.ofSeconds(5);

    private static final java.time.Duration READY_TIMEOUT = java.time.Duration.ofSeconds(10);

    /** How long after its own timeout the server may answer. */
    private static final java.time.Duration ANSWER = java.time.Duration.ofSeconds(10);

    private final String address;
    private final Runnable end;
    private final DueBus client;
    private final Verdicts verdicts = new Verdicts();

    private Bus(String address, Runnable end, Consumer<DueBus.Builder> set) {
        this.address = address;
        this.end = end;
        var builder = DueBus.builder(address);
        set.accept(builder);
        client = builder.intercept(verdicts).build();
    }

    /**
     * Starts a bus that is empty. The command {@code duebus} is the one that the environment variable DUEBUS_COMMAND names,
     * otherwise the one in PATH.
     *
     * @throws IllegalStateException there is no such command, or its server does not start
     */
    public static Bus start() {
        return start(client -> {});
    }

    /** As {@link #start()}, with a client that {@code set} has given its options. */
    public static Bus start(Consumer<DueBus.Builder> set) {
        var server = ServerProcess.start();
        try {
            return new Bus(server.address(), server::close, set);
        } catch (Throwable error) {
            server.close();
            throw error;
        }
    }

    /**
     * Connects to a server that something else runs, for example in a container: {@code duebus serve --test-clock}. It goes
     * on when this bus is closed.
     *
     * @param address where it listens, {@code host:port}
     */
    public static Bus connect(String address) {
        return new Bus(address, () -> {}, client -> {});
    }

    /** Where it listens, {@code host:port}. */
    public String address() {
        return address;
    }

    /** A client of it. Workers of this client pass failed assertions on to {@link #settle} and {@link #running}. */
    public DueBus client() {
        return client;
    }

    /** The time of the server's clock. */
    public Instant now() {
        Timestamp now = advanceTime(java.time.Duration.ZERO).getNow();
        return Instant.ofEpochSecond(now.getSeconds(), now.getNanos());
    }

    /**
     * Moves the clock forward. Events become due and leases run out as if the time had passed. A schedule fires at each of
     * its times on the way, and what it has fired is handled, as by {@link #settle}, before the clock is moved further.
     *
     * <p>Returns at once otherwise; {@link #settle} waits until the due events are handled. If handlers may still be
     * running, call it first too, or their leases may run out.
     *
     * @throws DueBusException INVALID_ARGUMENT: it is negative or longer than 10 years
     * @throws IllegalStateException what a schedule has fired is not settled within 5 real seconds
     */
    public void advance(java.time.Duration by) {
        refuse(advanceTime(by).getUnsettledList(), SETTLE_TIMEOUT);
    }

    /** As {@link #settle(java.time.Duration)}, for at most 5 seconds. */
    public void settle() {
        settle(SETTLE_TIMEOUT);
    }

    /**
     * Waits until no event is due or leased in any group that has a subscriber. An event that failed and waits for its
     * retry is not waited for: move the clock to its due time.
     *
     * @param timeout how long to wait, in real time
     * @throws IllegalStateException it takes longer; the message names what is not settled
     * @throws AssertionError an assertion has failed in a handler
     */
    public void settle(java.time.Duration timeout) {
        var request = SettleRequest.newBuilder().setTimeout(duration(timeout)).build();
        var answer = TestClockGrpc.newFutureStub(client.eventBus().getChannel())
                .withDeadlineAfter(timeout.plus(ANSWER).toMillis(), TimeUnit.MILLISECONDS)
                .settle(request);
        var settled = new CompletableFuture<SettleResponse>();
        answer.addListener(
                () -> {
                    try {
                        settled.complete(answer.get());
                    } catch (Exception error) {
                        settled.completeExceptionally(DueBusException.of(error.getCause()));
                    }
                },
                Runnable::run);
        try {
            CompletableFuture.anyOf(settled, verdicts.next()).join();
        } catch (CompletionException error) {
            throw (RuntimeException) error.getCause();
        } finally {
            answer.cancel(true);
            verdicts.raise();
        }
        refuse(settled.join().getUnsettledList(), timeout);
    }

    /**
     * Runs a worker of {@link #client} during a block. It is subscribed when the block begins, and drained when the block
     * ends.
     *
     * @throws DueBusException the error that ended the worker
     * @throws IllegalStateException it is not subscribed within 10 seconds: it may be connected to another server
     * @throws AssertionError an assertion has failed in a handler, and no {@link #settle} has thrown it
     */
    public <E extends Exception> void running(Worker worker, Block<E> block) throws E {
        running(worker, block, READY_TIMEOUT);
    }

    <E extends Exception> void running(Worker worker, Block<E> block, java.time.Duration readyTimeout) throws E {
        try {
            worker.start().ready().completeOnTimeout(null, readyTimeout.toMillis(), TimeUnit.MILLISECONDS).join();
            if (!worker.ready().isDone()) {
                throw new IllegalStateException("after %s the worker is not subscribed; is it connected to %s?"
                        .formatted(readyTimeout, address()));
            }
            block.run();
            worker.stop().join();
        } catch (CompletionException error) {
            throw DueBusException.of(error.getCause());
        } finally {
            worker.close();
            verdicts.raise(); // it is why the block has failed, if it has
        }
    }

    /**
     * Statements of a test.
     *
     * @param <E> what they may throw
     */
    @FunctionalInterface
    public interface Block<E extends Exception> {
        void run() throws E;
    }

    /** Ends the server that {@link #start()} has started; its events are dropped. Closing twice is not an error. */
    @Override
    public void close() {
        client.close();
        end.run();
    }

    private AdvanceTimeResponse advanceTime(java.time.Duration by) {
        var request = AdvanceTimeRequest.newBuilder()
                .setBy(duration(by))
                .setSettleTimeout(duration(SETTLE_TIMEOUT))
                .build();
        try {
            return TestClockGrpc.newBlockingStub(client.eventBus().getChannel()).advanceTime(request);
        } catch (StatusRuntimeException error) {
            throw DueBusException.of(error);
        }
    }

    private static void refuse(List<String> unsettled, java.time.Duration timeout) {
        if (!unsettled.isEmpty()) {
            throw new IllegalStateException(
                    "after %s these are not settled: %s".formatted(timeout, String.join(", ", unsettled)));
        }
    }

    private static Duration duration(java.time.Duration given) {
        return Duration.newBuilder().setSeconds(given.getSeconds()).setNanos(given.getNano()).build();
    }

    /** The failed assertions of handlers: an event that is nacked would hide them. */
    private static final class Verdicts implements Interceptor {
        private final Queue<AssertionError> found = new ConcurrentLinkedQueue<>();
        private volatile CompletableFuture<Void> next = new CompletableFuture<>();

        @Override
        public void handle(Delivery delivery, Handler handler) throws Exception {
            try {
                handler.handle(delivery);
            } catch (AssertionError error) {
                found.add(error);
                next.complete(null);
                throw error;
            }
        }

        CompletableFuture<Void> next() {
            return next;
        }

        /** Throws the first since the last one that was thrown. The others must not fail another test. */
        void raise() {
            AssertionError first = found.poll();
            if (first != null) {
                found.clear();
                next = new CompletableFuture<>();
                throw first;
            }
        }
    }
}
