package io.duebus;

/** Where an event stands in one group. */
public enum EventState {
    /** Waits for its due time, or for the end of a retry's backoff. */
    SCHEDULED,
    /** Due, and waiting for a subscriber with room. */
    READY,
    /** Held by a subscriber. */
    LEASED,
    /** Due, but its key is taken, or is closed by a rate, a pause or a dead letter. */
    BLOCKED,
    /** Used up its retries or was nacked as dead; kept until it is redriven or purged. */
    DEAD,
    /** A state that this version does not know; events can't be listed by it. */
    UNKNOWN;

    static EventState read(io.duebus.v1.EventState state) {
        return switch (state) {
            case EVENT_STATE_SCHEDULED -> SCHEDULED;
            case EVENT_STATE_READY -> READY;
            case EVENT_STATE_LEASED -> LEASED;
            case EVENT_STATE_BLOCKED -> BLOCKED;
            case EVENT_STATE_DEAD -> DEAD;
            case EVENT_STATE_UNSPECIFIED, UNRECOGNIZED -> UNKNOWN;
        };
    }

    io.duebus.v1.EventState wire() {
        return switch (this) {
            case SCHEDULED -> io.duebus.v1.EventState.EVENT_STATE_SCHEDULED;
            case READY -> io.duebus.v1.EventState.EVENT_STATE_READY;
            case LEASED -> io.duebus.v1.EventState.EVENT_STATE_LEASED;
            case BLOCKED -> io.duebus.v1.EventState.EVENT_STATE_BLOCKED;
            case DEAD -> io.duebus.v1.EventState.EVENT_STATE_DEAD;
            case UNKNOWN -> throw DueBusException.invalid("state", "is not known to this version");
        };
    }
}
