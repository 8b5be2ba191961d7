package io.duebus;

import io.duebus.v1.AckRequest;
import io.duebus.v1.AckResponse;
import io.duebus.v1.EventBusGrpc;
import io.duebus.v1.LeaseFailure;
import io.duebus.v1.Nack;
import io.duebus.v1.NackRequest;
import io.duebus.v1.NackResponse;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/** Sends the acks and nacks of one subscription in batches. Its callers hold the monitor of the subscription. */
final class Settler {
    private final Connection connection;
    private final Lane acks;
    private final Lane nacks;

    Settler(Connection connection, Shared shared, Leases leases) {
        this.connection = connection;
        this.acks = new Lane("ack", connection, this::sendAcks, shared, leases);
        this.nacks = new Lane("nack", connection, this::sendNacks, shared, leases);
    }

    void ack(Lease lease) {
        acks.put(new Lane.Settle(lease, null));
    }

    void nack(Lease lease, Nack nack) {
        nacks.put(new Lane.Settle(lease, nack));
    }

    /** Sends nothing until it is called with false, because each settle makes the server send more. */
    void hold(boolean held) {
        acks.hold(held);
        nacks.hold(held);
    }

    void retryNow() {
        acks.retryNow();
        nacks.retryNow();
    }

    // One attempt each; the lane repeats them.

    private CompletableFuture<List<LeaseFailure>> sendAcks(List<Lane.Settle> batch) {
        var request = AckRequest.newBuilder();
        batch.forEach(each -> request.addLeaseTokens(each.lease().token()));
        return connection
                .once(EventBusGrpc.getAckMethod(), request.build(), connection.timeout())
                .thenApply(AckResponse::getFailuresList);
    }

    private CompletableFuture<List<LeaseFailure>> sendNacks(List<Lane.Settle> batch) {
        var request = NackRequest.newBuilder();
        batch.forEach(each -> request.addNacks(each.nack()));
        return connection
                .once(EventBusGrpc.getNackMethod(), request.build(), connection.timeout())
                .thenApply(NackResponse::getFailuresList);
    }
}
