package io.duebus.driver;

import io.duebus.Delivery;
import io.duebus.DueBus;
import io.duebus.DueBusException;
import io.duebus.v1.Closing;
import io.duebus.v1.Started;
import io.duebus.v1.SubscribeRequest;
import io.duebus.v1.SubscribeResponse;
import io.grpc.Status;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** One stream of the generated stubs. */
final class RawSubscription implements ClientResponseObserver<SubscribeRequest, SubscribeResponse> {
    private static final long START_WITHIN_MS = 30_000;

    private final Command command;
    private final String name;
    private final Output output;
    private final CountDownLatch begun = new CountDownLatch(1);
    private final CountDownLatch ended = new CountDownLatch(1);
    private volatile ClientCallStreamObserver<SubscribeRequest> call;
    private volatile boolean answered;
    private volatile boolean cancelled;

    RawSubscription(Command command, Output output) {
        this.command = command;
        this.name = command.text("subscription");
        this.output = output;
    }

    /** Opens the stream; the answer comes with its first frame, or with the error. */
    void open(DueBus bus) throws InterruptedException {
        bus.eventBus().subscribe(request(), this);
        Long timeoutMs = command.number("timeout_ms");
        if (!begun.await(timeoutMs == null ? START_WITHIN_MS : timeoutMs, TimeUnit.MILLISECONDS)) {
            call.cancel("the stream did not start in time", Status.DEADLINE_EXCEEDED.asRuntimeException());
        }
    }

    private SubscribeRequest request() {
        var request = SubscribeRequest.newBuilder()
                .setTopic(command.text("topic"))
                .setGroup(command.text("group"))
                .setEngine(command.engine("engine"))
                .setConsumer(command.text("consumer"))
                .addAllHeldLeaseTokens(command.texts("held_lease_tokens"))
                .setEphemeral(command.flag("ephemeral"));
        if (command.has("max_in_flight")) {
            request.setMaxInFlight(command.number("max_in_flight").intValue());
        }
        if (command.has("max_in_flight_bytes")) {
            request.setMaxInFlightBytes(command.number("max_in_flight_bytes"));
        }
        if (command.has("lease_ms")) {
            request.setLease(proto(command.millis("lease_ms")));
        }
        if (command.has("disconnect_grace_ms")) {
            request.setDisconnectGrace(proto(command.millis("disconnect_grace_ms")));
        }
        return request.build();
    }

    private static com.google.protobuf.Duration proto(Duration length) {
        return com.google.protobuf.Duration.newBuilder()
                .setSeconds(length.getSeconds())
                .setNanos(length.getNano())
                .build();
    }

    void cancel() {
        cancelled = true;
        call.cancel("unsubscribed", null);
    }

    void awaitEnd() throws InterruptedException {
        ended.await();
    }

    @Override
    public void beforeStart(ClientCallStreamObserver<SubscribeRequest> call) {
        this.call = call;
    }

    @Override
    public void onNext(SubscribeResponse frame) {
        switch (frame.getFrameCase()) {
            case STARTED -> onStarted(frame.getStarted());
            case DELIVERIES -> output.event("deliveries", "subscription", name, "deliveries",
                    frame.getDeliveries().getDeliveriesList().stream().map(Delivery::of).map(Lines::delivery).toList());
            case HEARTBEAT -> output.event(
                    "heartbeat", "subscription", name, "backlog", frame.getHeartbeat().getBacklog());
            case CLOSING -> onClosing(frame.getClosing());
            default -> {}
        }
    }

    private void onStarted(Started frame) {
        var result = new LinkedHashMap<String, Object>();
        result.put("session_id", frame.getSessionId());
        result.put("max_in_flight", frame.getMaxInFlight());
        result.put("max_in_flight_bytes", frame.getMaxInFlightBytes());
        result.put("lease_ms", Lines.millis(frame.getLease()));
        result.put("disconnect_grace_ms", Lines.millis(frame.getDisconnectGrace()));
        result.put("lost_lease_tokens", frame.getLostLeaseTokensList());
        result.put("group", frame.getGroup());
        answered = true;
        output.answer(command.id(), result);
        begun.countDown();
    }

    private void onClosing(Closing frame) {
        output.event("closing", "subscription", name,
                "reason", Lines.lower(frame.getReason().name(), "REASON_"),
                "reconnect_after_ms", Lines.millis(frame.getReconnectAfter()));
    }

    @Override
    public void onError(Throwable thrown) {
        end(cancelled ? null : thrown);
    }

    @Override
    public void onCompleted() {
        end(null);
    }

    private void end(Throwable thrown) {
        if (answered) {
            output.event("ended", "subscription", name, "error", thrown == null ? null : Lines.error(thrown));
        } else if (thrown == null) {
            output.error(command.id(), new DriverError("the server ended the stream before it started"));
        } else {
            // A stream that did not start in time was cancelled with that as the cause.
            boolean late = thrown.getCause() instanceof io.grpc.StatusRuntimeException;
            output.error(command.id(), DueBusException.of(late ? thrown.getCause() : thrown));
        }
        begun.countDown();
        ended.countDown();
    }
}
