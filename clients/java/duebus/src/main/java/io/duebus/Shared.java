package io.duebus;

import java.util.concurrent.ScheduledExecutorService;
import java.util.function.Consumer;

/**
 * What the parts of one subscription share.
 *
 * @param name the topic and the group, for the log
 * @param monitor guards the leases, the slots and the settles
 * @param timer of the worker
 * @param failed is called with an error that no retry can cure
 */
record Shared(String name, Object monitor, ScheduledExecutorService timer, Consumer<DueBusException> failed) {
    private static final System.Logger LOG = System.getLogger("io.duebus.worker");

    void fail(DueBusException error) {
        failed.accept(error);
    }

    void info(String format, Object... arguments) {
        log(System.Logger.Level.INFO, null, format, arguments);
    }

    void warn(String format, Object... arguments) {
        log(System.Logger.Level.WARNING, null, format, arguments);
    }

    /** Logs a failure during an outage. */
    void log(Outage outage, String format, Object... arguments) {
        log(outage.level(), null, format, arguments);
    }

    void log(System.Logger.Level level, Throwable thrown, String format, Object... arguments) {
        try {
            LOG.log(level, name + ": " + format.formatted(arguments), thrown);
        } catch (Throwable ignored) {
            return; // a failing logger must not stop the caller
        }
    }
}
