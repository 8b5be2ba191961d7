package io.duebus;

import io.duebus.SubscribeStream.Arrival;
import io.duebus.v1.SubscribeResponse;
import java.time.Duration;
import java.time.Instant;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/**
 * One stream of the bus, which has started: its group exists, and nothing that is dispatched from now on is missed. A
 * loop over it waits for each frame, and ends when the stream does. It does not reconnect. Settle what it delivers with
 * the client. A {@link Worker} does all that automatically.
 *
 * <pre>{@code
 * try (var stream = bus.subscribe("order.created", options -> options.group("audit"))) {
 *     for (var frame : stream) {
 *         if (frame instanceof EventStream.Deliveries deliveries) { ... }
 *     }
 * }
 * }</pre>
 *
 * <p>One thread reads; any may close.
 */
public final class EventStream implements Iterable<EventStream.Frame>, AutoCloseable {
    /**
     * The limits of a stream that are in force.
     *
     * @param sessionId identifies the stream in the admin views and the server's logs
     * @param group the group, whether the options or the server named it
     * @param lostLeaseTokens the named leases that are no longer held
     * @param limited the group has limits, so what is delivered counts at once: ask for no more than can be handled
     */
    public record Started(
            String sessionId,
            String group,
            int maxInFlight,
            long maxInFlightBytes,
            Duration lease,
            Duration disconnectGrace,
            List<String> lostLeaseTokens,
            boolean limited) {}

    /** What the server sends. */
    public sealed interface Frame {}

    /** Events that are due. */
    public record Deliveries(List<Delivery> deliveries) implements Frame {}

    /** Nothing else was sent for 10 s; so many events of the group are ready. */
    public record Heartbeat(Instant serverTime, long backlog) implements Frame {}

    /** The server ends the stream; its leases stay in force. Wait so long before subscribing again. */
    public record Closing(io.duebus.v1.Closing.Reason reason, Duration reconnectAfter) implements Frame {}

    private final BlockingQueue<Arrival> arrivals = new LinkedBlockingQueue<>();
    private final SubscribeStream stream;
    private final Started started;
    private volatile boolean closed;

    private EventStream(Connection connection, SubscribeOptions options) {
        stream = SubscribeStream.open(connection, options.request(), arrivals);
        try {
            var first = firstFrame(options.timeout()).getStarted();
            connection.limitRequests(first.getMaxRequestBytes());
            started = read(first);
        } catch (RuntimeException error) {
            stream.cancel();
            throw error;
        }
    }

    /** Opens a stream, and waits until it has started. */
    static EventStream open(Connection connection, SubscribeOptions options) {
        return new EventStream(connection, options);
    }

    private SubscribeResponse firstFrame(Duration timeout) {
        try {
            Arrival first = arrivals.poll(Times.nanos(timeout), TimeUnit.NANOSECONDS);
            if (first == null) {
                throw new DueBusException(Reason.DEADLINE_EXCEEDED, "the stream did not start in time");
            }
            if (first.error() != null) {
                throw first.error().here();
            }
            if (first.frame() == null) {
                throw new DueBusException(Reason.UNAVAILABLE, "the server ended the stream before it started");
            }
            return first.frame();
        } catch (InterruptedException error) {
            throw interrupted();
        }
    }

    private static DueBusException interrupted() {
        Thread.currentThread().interrupt();
        return new DueBusException(Reason.CANCELLED, "the thread was interrupted");
    }

    private static Started read(io.duebus.v1.Started frame) {
        return new Started(
                frame.getSessionId(),
                frame.getGroup(),
                frame.getMaxInFlight(),
                frame.getMaxInFlightBytes(),
                Times.read(frame.getLease()),
                Times.read(frame.getDisconnectGrace()),
                List.copyOf(frame.getLostLeaseTokensList()),
                frame.getLimited());
    }

    /** The limits in force. */
    public Started started() {
        return started;
    }

    /**
     * The frames from here on. Its methods wait; they throw {@link DueBusException} when the stream breaks, and CANCELLED
     * when the thread is interrupted.
     */
    @Override
    public Iterator<Frame> iterator() {
        return new Frames();
    }

    /** Ends the stream, and a loop over it. Its leases run out after the disconnect grace, if nobody names them. */
    @Override
    public void close() {
        closed = true;
        stream.cancel();
        arrivals.add(new Arrival(stream, null, null));
    }

    private final class Frames implements Iterator<Frame> {
        private Frame next;

        @Override
        public boolean hasNext() {
            while (next == null && !closed) {
                Arrival arrival = take();
                if (arrival.frame() == null) {
                    return end(arrival);
                }
                next = read(arrival.frame());
            }
            return next != null && !closed;
        }

        private Arrival take() {
            try {
                return arrivals.take();
            } catch (InterruptedException error) {
                throw interrupted();
            }
        }

        private boolean end(Arrival end) {
            arrivals.add(end); // for the next call
            if (end.error() != null && !closed) {
                throw end.error().here();
            }
            return false;
        }

        @Override
        public Frame next() {
            if (!hasNext()) {
                throw new NoSuchElementException("the stream has ended");
            }
            Frame frame = next;
            next = null;
            return frame;
        }

        /** Null for a frame that this version does not know. */
        private static Frame read(SubscribeResponse frame) {
            return switch (frame.getFrameCase()) {
                case DELIVERIES -> new Deliveries(frame.getDeliveries().getDeliveriesList().stream()
                        .map(Delivery::of)
                        .toList());
                case HEARTBEAT -> new Heartbeat(
                        Times.read(frame.getHeartbeat().getServerTime()), frame.getHeartbeat().getBacklog());
                case CLOSING -> new Closing(
                        frame.getClosing().getReason(), Times.read(frame.getClosing().getReconnectAfter()));
                default -> null;
            };
        }
    }
}
