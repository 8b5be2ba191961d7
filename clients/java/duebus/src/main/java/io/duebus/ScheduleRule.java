package io.duebus;

import java.time.Duration;
import java.time.Instant;
import java.time.ZoneId;
import org.jspecify.annotations.Nullable;

/**
 * When a schedule fires: {@code ScheduleRule.cron("0 9 * * MON-FRI", ZoneId.of("Europe/Berlin"))} or {@code
 * ScheduleRule.every(Duration.ofMinutes(5))}.
 *
 * @param cron five fields, or six with the second first; null: it fires by {@code every}
 * @param every the interval, 1 s to 366 days, counted from {@code start}, or else from 1970; null: it fires by cron
 * @param timeZone of cron, as the IANA database names it; empty: UTC
 * @param start the first moment at which it may fire; null: no limit
 * @param end the last moment at which it may fire; null: no limit
 */
public record ScheduleRule(
        @Nullable String cron,
        @Nullable Duration every,
        String timeZone,
        @Nullable Instant start,
        @Nullable Instant end) {

    /** A cron expression in UTC. */
    public static ScheduleRule cron(String cron) {
        return cron(cron, "");
    }

    /** A cron expression in a time zone. */
    public static ScheduleRule cron(String cron, ZoneId timeZone) {
        return cron(cron, timeZone.getId());
    }

    /** A cron expression in a time zone of the server's, which Java need not know. */
    public static ScheduleRule cron(String cron, String timeZone) {
        return new ScheduleRule(cron, null, timeZone, null, null);
    }

    /** A fixed interval. */
    public static ScheduleRule every(Duration interval) {
        return new ScheduleRule(null, interval, "", null, null);
    }

    /** The same rule, which does not fire before that moment. */
    public ScheduleRule from(Instant start) {
        return new ScheduleRule(cron, every, timeZone, start, end);
    }

    /** The same rule, which does not fire after that moment. */
    public ScheduleRule until(Instant end) {
        return new ScheduleRule(cron, every, timeZone, start, end);
    }

    static ScheduleRule read(io.duebus.v1.Schedule message) {
        return new ScheduleRule(
                message.hasCron() ? message.getCron() : null,
                message.hasEvery() ? Times.read(message.getEvery()) : null,
                message.getTimeZone(),
                message.hasStart() ? Times.read(message.getStart()) : null,
                message.hasEnd() ? Times.read(message.getEnd()) : null);
    }

    /** A schedule with nothing but this rule. The server refuses one that is neither. */
    io.duebus.v1.Schedule.Builder encode() {
        if (cron != null && every != null) {
            throw DueBusException.invalid("schedule.rule", "can't be both cron and every");
        }
        var message = io.duebus.v1.Schedule.newBuilder().setTimeZone(Checks.text("schedule.time_zone", timeZone));
        if (cron != null) {
            message.setCron(Checks.text("schedule.cron", cron));
        }
        if (every != null) {
            message.setEvery(Times.proto(every));
        }
        if (start != null) {
            message.setStart(Times.proto(start));
        }
        if (end != null) {
            message.setEnd(Times.proto(end));
        }
        return message;
    }
}
