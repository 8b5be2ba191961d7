package io.duebus;

import io.duebus.v1.DispatchRequest;
import io.duebus.v1.Engine;
import java.time.Duration;
import java.util.List;
import java.util.UUID;

/** How to dispatch: {@code DispatchOptions.none().requestId("order-42")}. Each method returns an extended copy. */
public final class DispatchOptions {
    private static final DispatchOptions NONE = new DispatchOptions(List.of(), "", false, null);

    private final List<Engine> engines;
    private final String requestId;
    private final boolean requireSubscriber;
    private final Duration timeout;

    private DispatchOptions(List<Engine> engines, String requestId, boolean requireSubscriber, Duration timeout) {
        this.engines = engines;
        this.requestId = requestId;
        this.requireSubscriber = requireSubscriber;
        this.timeout = timeout;
    }

    public static DispatchOptions none() {
        return NONE;
    }

    /** The engines that store the events; none: the server's default engine. */
    public DispatchOptions engines(Engine... engines) {
        return new DispatchOptions(List.of(engines), requestId, requireSubscriber, timeout);
    }

    /**
     * Lets the caller repeat the dispatch safely: within the dedupe window the same id, of at most 255 bytes, returns
     * the first answer and adds nothing. Otherwise each dispatch gets its own id, for the client's retries.
     */
    public DispatchOptions requestId(String requestId) {
        return new DispatchOptions(engines, Checks.text("request_id", requestId), requireSubscriber, timeout);
    }

    /** Fails with NO_HANDLER_FOUND unless a subscriber of the topic is connected to some replica. */
    public DispatchOptions requireSubscriber() {
        return new DispatchOptions(engines, requestId, true, timeout);
    }

    /** How long the dispatch may take, including retries; the client's timeout otherwise. */
    public DispatchOptions timeout(Duration timeout) {
        return new DispatchOptions(engines, requestId, requireSubscriber, Checks.positive("timeout", timeout));
    }

    /** May be null. */
    Duration timeout() {
        return timeout;
    }

    /** Whether the event may share a call with others: an error names which of several engines hold it. */
    boolean mayShare() {
        return requestId.isEmpty() && engines.size() <= 1;
    }

    DispatchRequest encode(String topic, List<Event> events) {
        var request = DispatchRequest.newBuilder()
                .setTopic(Checks.text("topic", topic))
                .addAllEngines(engines)
                .setRequestId(requestId.isEmpty() ? UUID.randomUUID().toString() : requestId)
                .setRequireSubscriber(requireSubscriber);
        for (int i = 0; i < events.size(); i++) {
            request.addEvents(events.get(i).encode("events[" + i + "]."));
        }
        return request.build();
    }
}
