package io.duebus;

import java.time.Instant;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A schedule as it is stored, and what it has done.
 *
 * @param schedule its event has no data if the caller may not see that
 * @param next the next ten nominal times; fewer if it ends first, none while it is paused
 * @param lastFiredAt the nominal time of the last event; null if there was none
 * @param lastEventId its id; empty if there was none
 * @param runs how many nominal times dispatched an event
 * @param skipped how many were skipped because of the overlap
 * @param missed how many were missed: nothing could fire, or the topic was full until the next one
 * @param description the rule in words, or why the server can't read it
 */
public record ScheduleInfo(
        Schedule schedule,
        List<Instant> next,
        @Nullable Instant lastFiredAt,
        String lastEventId,
        long runs,
        long skipped,
        long missed,
        String description) {

    static ScheduleInfo read(io.duebus.v1.ScheduleInfo message) {
        return new ScheduleInfo(
                Schedule.read(message.getSchedule()),
                Times.read(message.getNextList()),
                message.hasLastFiredAt() ? Times.read(message.getLastFiredAt()) : null,
                message.getLastEventId(),
                message.getRuns(),
                message.getSkipped(),
                message.getMissed(),
                message.getDescription());
    }
}
