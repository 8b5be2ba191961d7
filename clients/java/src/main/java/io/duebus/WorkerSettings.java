package io.duebus;

import io.duebus.v1.Engine;
import io.duebus.v1.SubscribeRequest;
import java.time.Duration;
import java.util.List;

/** How a worker subscribes and handles. The grace may be null: the server's setting. */
record WorkerSettings(
        boolean ephemeral,
        Engine engine,
        String consumer,
        int maxInFlight,
        long maxInFlightBytes,
        int concurrency,
        Duration lease,
        Duration disconnectGrace,
        Duration maxExecution,
        Duration drainTimeout) {

    /** @param window how many events the stream may hold */
    SubscribeRequest subscribe(String topic, String group, int window, List<String> heldLeaseTokens) {
        var request = SubscribeRequest.newBuilder()
                .setTopic(topic)
                .setGroup(group)
                .setEphemeral(ephemeral)
                .setEngine(engine)
                .setConsumer(consumer)
                .setMaxInFlight(window)
                .setMaxInFlightBytes(maxInFlightBytes)
                .setLease(Times.proto(lease))
                .addAllHeldLeaseTokens(heldLeaseTokens);
        if (disconnectGrace != null) {
            request.setDisconnectGrace(Times.proto(disconnectGrace));
        }
        return request.build();
    }
}
