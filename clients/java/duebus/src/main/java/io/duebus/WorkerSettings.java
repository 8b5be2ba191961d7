package io.duebus;

import io.duebus.v1.Engine;
import io.duebus.v1.SubscribeRequest;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.Executor;

/** How a handler's events are subscribed to and handled. Null are: the grace for the server's, the executor for the worker's. */
record WorkerSettings(
        String group,
        boolean ephemeral,
        Engine engine,
        String consumer,
        int maxInFlight,
        long maxInFlightBytes,
        int concurrency,
        Duration lease,
        Duration disconnectGrace,
        Duration maxExecution,
        Duration drainTimeout,
        Executor executor) {

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
