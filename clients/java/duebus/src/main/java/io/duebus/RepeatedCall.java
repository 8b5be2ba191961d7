package io.duebus;

import io.grpc.MethodDescriptor;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.function.BiFunction;
import java.util.function.Consumer;

/** A call with as many attempts as its deadline allows, one after another. */
final class RepeatedCall<Q, R, T> {
    private final Connection connection;
    private final MethodDescriptor<Q, R> method;
    private final Q request;
    private final BiFunction<R, Boolean, T> read;
    private final Consumer<DueBusException> onFailure;
    private final long deadline;
    private final Backoff pauses = Backoff.ofCalls();
    private final CompletableFuture<T> result = new CompletableFuture<>();

    private volatile CompletableFuture<R> current;
    private volatile DueBusException last;

    RepeatedCall(
            Connection connection,
            MethodDescriptor<Q, R> method,
            Q request,
            Duration limit,
            BiFunction<R, Boolean, T> read,
            Consumer<DueBusException> onFailure) {
        this.connection = connection;
        this.method = method;
        this.request = request;
        this.read = read;
        this.onFailure = onFailure;
        this.deadline = System.nanoTime() + Times.nanos(limit);
        result.whenComplete((value, error) -> {
            if (result.isCancelled() && current != null) {
                current.cancel(true);
            }
        });
    }

    /** Cancelling it ends the tries. */
    CompletableFuture<T> result() {
        return result;
    }

    void attempt() {
        if (result.isDone()) {
            return;
        }
        current = connection.once(method, request, left());
        current.whenComplete((response, error) -> {
            if (error == null) {
                succeeded(response);
            } else {
                failed(DueBusException.of(error));
            }
        });
    }

    private Duration left() {
        return Duration.ofNanos(Math.max(0, deadline - System.nanoTime()));
    }

    private void succeeded(R response) {
        try {
            result.complete(read.apply(response, last != null));
        } catch (RuntimeException error) {
            result.completeExceptionally(DueBusException.of(error));
        }
    }

    private void failed(DueBusException error) {
        // A call that this side cancels has no result to complete any more.
        if (!error.is(Reason.UNAVAILABLE) && !error.is(Reason.CANCELLED)) {
            // If the deadline passed during an attempt, the error of the attempt before says more.
            boolean late = error.is(Reason.DEADLINE_EXCEEDED) && last != null;
            result.completeExceptionally(late ? last : error);
            return;
        }
        last = error;
        onFailure.accept(error);
        Duration pause = Times.max(pauses.next(), error.retryAfter().orElse(Duration.ZERO));
        if (pause.compareTo(left()) > 0) {
            result.completeExceptionally(error);
        } else {
            connection.afterPause(pause, this::attempt);
        }
    }
}
