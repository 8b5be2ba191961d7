package io.duebus;

import java.time.Duration;
import java.time.Instant;

/**
 * One delivery and the state of its handling. The monitor of its subscription guards what changes.
 *
 * <pre>
 * WAITING --start--> RUNNING --handler has ended--> SETTLING --settled--> GONE
 *    |                  |--cancelled--> CANCELLED ------^
 *    |--released----------------------------------------|
 * from every stage: --lease lost--> GONE
 * </pre>
 */
final class Lease {
    enum Stage {
        /** Its handler has not been started. */
        WAITING,
        RUNNING,
        /**
         * Its handler was cancelled and has not ended. Its lease is no longer extended, so that a handler that
         * doesn't end can't hold the event forever.
         */
        CANCELLED,
        /** Being acked, nacked or released; the server has not confirmed it yet. */
        SETTLING,
        /** Settled, or the lease was lost. It must not be settled. */
        GONE
    }

    /** Why a handler is cancelled. */
    enum Cause {
        TIMEOUT,
        STOPPED,
        LOST
    }

    final Delivery delivery;
    Stage stage = Stage.WAITING;

    /** Null: it was not cancelled. */
    Cause cause;

    /** The handler's thread; null before and after. */
    Thread thread;

    /** The handler did not end when it was cancelled; it keeps its slot. */
    boolean leftBehind;

    boolean ended;

    /** When the lease runs out, by this host's clock, unless it has been extended meanwhile. */
    Instant expires = Instant.MAX;

    /** How far this host's clock was ahead of the engine's when the delivery arrived, if it arrived instantly. */
    Duration lead = Duration.ZERO;

    /** A settle was sent, and its outcome is unknown. */
    boolean tried;

    Lease(Delivery delivery) {
        this.delivery = delivery;
    }

    /** Whether its handler has not started and its lease has run out, unless the server confirms it. */
    boolean mayHavePassed() {
        return stage == Stage.WAITING && Instant.now().isAfter(expires);
    }

    String token() {
        return delivery.leaseToken();
    }

    @Override
    public String toString() {
        return "event " + delivery.eventId() + ", attempt " + delivery.attempt();
    }
}
