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
import java.util.function.ToIntFunction;

/** Ack, Nack and Extend, by as many calls as the leases need. */
final class Settles {
    /** The most leases that the server accepts in one call. */
    static final int MAX_LEASES = 10_000;

    /** In a request of lease tokens or nacks, the bytes of its other fields, and those of an item besides its text. */
    private static final int OTHER_FIELDS = 4 << 10;

    private static final int ITEM_FIELDS = 32;

    private final Connection connection;

    Settles(Connection connection) {
        this.connection = connection;
    }

    CompletableFuture<List<LeaseFailure>> ack(Collection<String> leaseTokens) {
        var call = new Call<>(
                EventBusGrpc.getAckMethod(), AckResponse::getFailuresList, EnumSet.of(LeaseFailure.Reason.REASON_SETTLED));
        return inBatches(
                call, checked(leaseTokens), String::length, batch -> AckRequest.newBuilder().addAllLeaseTokens(batch).build());
    }

    CompletableFuture<List<LeaseFailure>> nack(Collection<Nack> nacks) {
        var call = new Call<>(
                EventBusGrpc.getNackMethod(),
                NackResponse::getFailuresList,
                EnumSet.of(LeaseFailure.Reason.REASON_SETTLED, LeaseFailure.Reason.REASON_EXPIRED));
        return inBatches(call, List.copyOf(nacks), Nack::getSerializedSize, batch -> NackRequest.newBuilder().addAllNacks(batch).build());
    }

    /** The lease may be null. */
    CompletableFuture<List<LeaseFailure>> extend(Collection<String> leaseTokens, Duration lease) {
        var call = new Call<>(
                EventBusGrpc.getExtendMethod(),
                ExtendResponse::getFailuresList,
                EnumSet.noneOf(LeaseFailure.Reason.class));
        return inBatches(call, checked(leaseTokens), String::length, batch -> extendRequest(batch, lease));
    }

    static ExtendRequest extendRequest(List<String> leaseTokens, Duration lease) {
        var request = ExtendRequest.newBuilder().addAllLeaseTokens(leaseTokens);
        return (lease == null ? request : request.setLease(Times.proto(lease))).build();
    }

    /**
     * How leases are settled in one way.
     *
     * @param doneByLostTry the failures of a retried call whose first attempt may have taken effect: the lease is over,
     *     and nothing is left for the caller to do
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
            Call<Q, R> call, List<L> leases, ToIntFunction<L> size, Function<List<L>, Q> request) {
        var failures = CompletableFuture.completedFuture(List.<LeaseFailure>of());
        for (var batch : batches(leases, connection.maxRequestBytes(), size)) {
            failures = failures.thenCompose(found -> connection
                    .repeat(call.method(), request.apply(batch), null, call::read)
                    .thenApply(more -> joined(found, more)));
        }
        return failures;
    }

    /** How many of the first items fit into one request: at least one. */
    static <L> int fitting(Iterable<L> items, int maxBytes, ToIntFunction<L> size) {
        int left = maxBytes - OTHER_FIELDS;
        int count = 0;
        for (L item : items) {
            left -= size.applyAsInt(item) + ITEM_FIELDS;
            if (left < 0) {
                return Math.max(count, 1);
            }
            count++;
        }
        return count;
    }

    /** Splits items into parts that fit into one request each. */
    static <L> List<List<L>> batches(List<L> items, int maxBytes, ToIntFunction<L> size) {
        var batches = new ArrayList<List<L>>();
        for (int from = 0; from < items.size(); ) {
            var rest = items.subList(from, Math.min(items.size(), from + MAX_LEASES));
            int count = fitting(rest, maxBytes, size);
            batches.add(rest.subList(0, count));
            from += count;
        }
        return batches;
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
