package io.duebus;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.function.BiFunction;
import java.util.function.Consumer;
import java.util.function.Function;

/**
 * The channels of a client: one for calls, whose errors are typed, and one for streams, whose turns over the servers no
 * call takes. Each connects when it is first used.
 */
final class Connection {
    /** How long before it is needed a connection is opened. */
    private static final Duration HEAD_START = Duration.ofMillis(200);

    private final ManagedChannel calls;
    private final ManagedChannel streams;
    private final Duration timeout;
    private final ScheduledThreadPoolExecutor timer = Threads.timer("duebus-client");
    private final Set<CompletableFuture<?>> repeated = ConcurrentHashMap.newKeySet();
    private volatile boolean closed;
    private volatile int maxRequestBytes = 4 << 20;

    Connection(ManagedChannel calls, ManagedChannel streams, Duration timeout) {
        this.calls = calls;
        this.streams = streams;
        this.timeout = timeout;
    }

    Channel calls() {
        return calls;
    }

    /** The calls are connected too, for the first settle. */
    Channel streams() {
        calls.getState(true);
        return streams;
    }

    /** How long a call may take by default, including retries. */
    Duration timeout() {
        return timeout;
    }

    /** The largest request of lease tokens or nacks: gRPC's default, until a server announces its limit. */
    int maxRequestBytes() {
        return maxRequestBytes;
    }

    /** Notes the largest request that the server accepts; 0 if it does not say. */
    void limitRequests(long bytes) {
        if (bytes > 0) {
            maxRequestBytes = (int) Math.min(bytes, Integer.MAX_VALUE);
        }
    }

    void close() {
        closed = true;
        calls.shutdownNow();
        streams.shutdownNow();
        timer.shutdownNow();
        repeated.forEach(each -> each.completeExceptionally(closedError()));
    }

    /** Makes one attempt. Cancelling the future cancels the call. */
    <Q, R> CompletableFuture<R> once(MethodDescriptor<Q, R> method, Q request, Duration limit) {
        return once(method, request, limit, Function.identity());
    }

    /** As the other; {@code read} makes the result of the response. */
    <Q, R, T> CompletableFuture<T> once(
            MethodDescriptor<Q, R> method, Q request, Duration limit, Function<R, T> read) {
        var options = CallOptions.DEFAULT.withDeadlineAfter(Times.nanos(limit), TimeUnit.NANOSECONDS);
        return begin(method, request, options, read);
    }

    /** As {@link #once}, without a time limit. */
    <Q, R, T> CompletableFuture<T> unlimited(MethodDescriptor<Q, R> method, Q request, Function<R, T> read) {
        return begin(method, request, CallOptions.DEFAULT, read);
    }

    private <Q, R, T> CompletableFuture<T> begin(
            MethodDescriptor<Q, R> method, Q request, CallOptions options, Function<R, T> read) {
        ClientCall<Q, R> call = calls.newCall(method, options);
        var answer = new CompletableFuture<T>();
        var observer = new StreamObserver<R>() {
            @Override
            public void onNext(R response) {
                answer.complete(read.apply(response));
            }

            @Override
            public void onError(Throwable error) {
                answer.completeExceptionally(typed(error));
            }

            @Override
            public void onCompleted() {}
        };
        try {
            ClientCalls.asyncUnaryCall(call, request, observer);
        } catch (RuntimeException error) { // an interceptor's
            answer.completeExceptionally(typed(error));
        }
        answer.whenComplete((response, error) -> {
            if (answer.isCancelled()) {
                call.cancel("given up by the caller", null);
            }
        });
        return answer;
    }

    /**
     * Makes a call with as many attempts as its deadline allows. UNAVAILABLE is retried, and so is a call that
     * the server has cancelled, as it does when there are too many at once; everything else is reported at once.
     *
     * @param limit of all attempts together; null: the client's
     * @param read makes the result of the response and of whether there was more than one try
     */
    <Q, R, T> CompletableFuture<T> repeat(
            MethodDescriptor<Q, R> method, Q request, Duration limit, BiFunction<R, Boolean, T> read) {
        return repeat(method, request, limit, read, failure -> {});
    }

    /** As the other; {@code onFailure} gets each failure that a retry may cure. */
    <Q, R, T> CompletableFuture<T> repeat(
            MethodDescriptor<Q, R> method,
            Q request,
            Duration limit,
            BiFunction<R, Boolean, T> read,
            Consumer<DueBusException> onFailure) {
        var call = new RepeatedCall<>(this, method, request, limit == null ? timeout : limit, read, onFailure);
        repeated.add(call.result());
        call.result().whenComplete((result, error) -> repeated.remove(call.result()));
        call.attempt();
        return call.result();
    }

    /** Runs a short task at its time, unless the client is closed before that. */
    Future<?> schedule(Duration delay, Runnable task) {
        return timer.schedule(task, Times.nanos(delay), TimeUnit.NANOSECONDS);
    }

    /** Runs the task after a pause, with the channel of the calls on its way to being connected. */
    void afterPause(Duration pause, Runnable task) {
        connectBefore(pause, calls);
        timer.schedule(task, pause.toMillis(), TimeUnit.MILLISECONDS);
    }

    /** Makes the channel of the streams connect before the end of a pause. */
    void connectBefore(Duration pause) {
        connectBefore(pause, streams);
    }

    /** Cuts the channel's own backoff of up to two minutes: the pauses between calls and streams suffice. */
    private void connectBefore(Duration pause, ManagedChannel channel) {
        long before = Math.max(0, pause.minus(HEAD_START).toMillis());
        timer.schedule(channel::resetConnectBackoff, before, TimeUnit.MILLISECONDS);
    }

    /** The error of a call; CLIENT_CLOSED if the client is closed. */
    DueBusException typed(Throwable error) {
        return closed ? closedError() : DueBusException.of(error);
    }

    private static DueBusException closedError() {
        return new DueBusException(Reason.CLIENT_CLOSED, "the client is closed");
    }

    /** Waits for a call; an interrupt cancels it. */
    static <T> T await(CompletableFuture<T> call) {
        try {
            return call.get();
        } catch (ExecutionException error) {
            throw DueBusException.of(error.getCause()).here();
        } catch (InterruptedException error) {
            call.cancel(true);
            Thread.currentThread().interrupt();
            throw new DueBusException(Reason.CANCELLED, "the thread was interrupted");
        }
    }
}
