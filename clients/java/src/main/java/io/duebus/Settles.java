package io.duebus;

import io.duebus.v1.AckRequest;
import io.duebus.v1.AckResponse;
import io.duebus.v1.EventBusGrpc;
import io.duebus.v1.ExtendRequest;
import io.duebus.v1.ExtendResponse;
import io.duebus.v1.LeaseFailure;
import io.duebus.v1.Nack;
import io.duebus.v1.NackRequest;
import io.duebus.v1.NackResponse;
import io.grpc.MethodDescriptor;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.function.Function;

/** Ack, Nack and Extend, by as many calls as the leases need. */
final class Settles {
    /** The most that the server takes in one call. */
    static final int MAX_LEASES = 10_000;

    private final Connection connection;

    Settles(Connection connection) {
        this.connection = connection;
    }

    CompletableFuture<List<LeaseFailure>> ack(Collection<String> leaseTokens) {
        var call = new Call<>(
                EventBusGrpc.getAckMethod(), AckResponse::getFailuresList, EnumSet.of(LeaseFailure.Reason.REASON_SETTLED));
        return inBatches(
                call, checked(leaseTokens), batch -> AckRequest.newBuilder().addAllLeaseTokens(batch).build());
    }

    CompletableFuture<List<LeaseFailure>> nack(Collection<Nack> nacks) {
        var call = new Call<>(
                EventBusGrpc.getNackMethod(),
                NackResponse::getFailuresList,
                EnumSet.of(LeaseFailure.Reason.REASON_SETTLED, LeaseFailure.Reason.REASON_EXPIRED));
        return inBatches(call, List.copyOf(nacks), batch -> NackRequest.newBuilder().addAllNacks(batch).build());
    }

    /** The lease may be null. */
    CompletableFuture<List<LeaseFailure>> extend(Collection<String> leaseTokens, Duration lease) {
        var call = new Call<>(
                EventBusGrpc.getExtendMethod(),
                ExtendResponse::getFailuresList,
                EnumSet.noneOf(LeaseFailure.Reason.class));
        return inBatches(call, checked(leaseTokens), batch -> extendRequest(batch, lease));
    }

    static ExtendRequest extendRequest(List<String> leaseTokens, Duration lease) {
        var request = ExtendRequest.newBuilder().addAllLeaseTokens(leaseTokens);
        return (lease == null ? request : request.setLease(Times.proto(lease))).build();
    }

    /**
     * How leases are settled in one way.
     *
     * @param doneByLostTry what a repeated call answers when its first try was carried out and only the answer was lost:
     *     the event is no longer this holder's, and nothing is left for the caller to do
     */
    private record Call<Q, R>(
            MethodDescriptor<Q, R> method,
            Function<R, List<LeaseFailure>> failures,
            Set<LeaseFailure.Reason> doneByLostTry) {
        List<LeaseFailure> read(R response, boolean again) {
            return failures.apply(response).stream()
                    .filter(each -> !again || !doneByLostTry.contains(each.getReason()))
                    .toList();
        }
    }

    private <Q, R, L> CompletableFuture<List<LeaseFailure>> inBatches(
            Call<Q, R> call, List<L> leases, Function<List<L>, Q> request) {
        if (leases.size() <= MAX_LEASES) {
            return leases.isEmpty()
                    ? CompletableFuture.completedFuture(List.of())
                    : connection.repeat(call.method(), request.apply(leases), null, call::read);
        }
        var first = inBatches(call, leases.subList(0, MAX_LEASES), request);
        return first.thenCompose(failures ->
                inBatches(call, leases.subList(MAX_LEASES, leases.size()), request)
                        .thenApply(more -> joined(failures, more)));
    }

    private static List<LeaseFailure> joined(List<LeaseFailure> one, List<LeaseFailure> other) {
        var both = new ArrayList<>(one);
        both.addAll(other);
        return both;
    }

    private static List<String> checked(Collection<String> leaseTokens) {
        var tokens = List.copyOf(leaseTokens);
        for (int i = 0; i < tokens.size(); i++) {
            Checks.text("lease_tokens[" + i + "]", tokens.get(i));
        }
        return tokens;
    }
}
