package io.duebus;

import java.time.Duration;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * A rule, and the event that it dispatches again and again.
 *
 * <pre>{@code
 * var weekdays = ScheduleRule.cron("0 9 * * MON-FRI", ZoneId.of("Europe/Berlin"));
 * bus.schedules().put(Schedule.builder("daily-report", "reports", Event.json("{}").build(), weekdays)
 *         .overlap(Schedule.Overlap.SKIP)
 *         .build());
 * }</pre>
 *
 * @param name unique in its engine: {@code [A-Za-z0-9][A-Za-z0-9._-]{0,199}}
 * @param topic where its events go; it can't be changed
 * @param event without an id and a due time, which the firing adds
 * @param maxRuns it ends after this many firings; 0: no limit
 * @param jitter each firing is up to this much later than its nominal time, at most 24 h
 * @param overlap what happens while an earlier event is unfinished
 * @param catchUp what happens to missed times
 * @param catchUpWindow how long ago they may be with {@link CatchUp#ALL}, 1 s to 31 days; null: 1 h
 * @param paused when it is put: counts only if it is created by that
 * @param note for people, at most 1,000 bytes
 */
public record Schedule(
        String name,
        String topic,
        Event event,
        ScheduleRule rule,
        long maxRuns,
        Duration jitter,
        Overlap overlap,
        CatchUp catchUp,
        @Nullable Duration catchUpWindow,
        boolean paused,
        String note) {

    /** What happens to a firing while the event of an earlier one is neither acked nor dead in some lasting group. */
    public enum Overlap {
        /** The event is dispatched anyway. */
        ALLOW,
        /** The firing is skipped, if the last event is unfinished. */
        SKIP,
        /**
         * The firing is skipped, if the last two events are unfinished. An event without a key gets the schedule's name
         * as its key, so that the second waits for the first.
         */
        BUFFER_ONE,
        /** A choice that this version does not know; a schedule can't be put with it. */
        UNKNOWN
    }

    /** What happens to nominal times that passed while nothing could fire. */
    public enum CatchUp {
        /** The last of them fires, if it is at most a year ago. */
        LAST,
        /** Each fires, within the window and at most 1,000. */
        ALL,
        /** None fires. */
        NONE,
        /** A choice that this version does not know; a schedule can't be put with it. */
        UNKNOWN
    }

    /** Starts building a schedule. */
    public static Builder builder(String name, String topic, Event event, ScheduleRule rule) {
        return new Builder(name, topic, event, rule);
    }

    static Schedule read(io.duebus.v1.Schedule message) {
        return new Schedule(
                message.getName(),
                message.getTopic(),
                Event.read(message.getEvent()),
                ScheduleRule.read(message),
                message.getMaxRuns(),
                Times.read(message.getJitter()),
                read(message.getOverlap()),
                read(message.getCatchUp()),
                message.hasCatchUpWindow() ? Times.read(message.getCatchUpWindow()) : null,
                message.getPaused(),
                message.getNote());
    }

    private static Overlap read(io.duebus.v1.Schedule.Overlap overlap) {
        return switch (overlap) {
            case OVERLAP_UNSPECIFIED, OVERLAP_ALLOW -> Overlap.ALLOW;
            case OVERLAP_SKIP -> Overlap.SKIP;
            case OVERLAP_BUFFER_ONE -> Overlap.BUFFER_ONE;
            case UNRECOGNIZED -> Overlap.UNKNOWN;
        };
    }

    private static CatchUp read(io.duebus.v1.Schedule.CatchUp catchUp) {
        return switch (catchUp) {
            case CATCH_UP_UNSPECIFIED, CATCH_UP_LAST -> CatchUp.LAST;
            case CATCH_UP_ALL -> CatchUp.ALL;
            case CATCH_UP_NONE -> CatchUp.NONE;
            case UNRECOGNIZED -> CatchUp.UNKNOWN;
        };
    }

    io.duebus.v1.Schedule encode() {
        var message = rule.encode()
                .setName(Checks.text("schedule.name", name))
                .setTopic(Checks.text("schedule.topic", topic))
                .setEvent(event.encode("schedule.event."))
                .setMaxRuns(Checks.notNegative("schedule.max_runs", maxRuns))
                .setJitter(Times.proto(jitter))
                .setOverlap(wire(overlap))
                .setCatchUp(wire(catchUp))
                .setPaused(paused)
                .setNote(Checks.text("schedule.note", note));
        if (catchUpWindow != null) {
            message.setCatchUpWindow(Times.proto(catchUpWindow));
        }
        return message.build();
    }

    private static io.duebus.v1.Schedule.Overlap wire(Overlap overlap) {
        return switch (overlap) {
            case ALLOW -> io.duebus.v1.Schedule.Overlap.OVERLAP_ALLOW;
            case SKIP -> io.duebus.v1.Schedule.Overlap.OVERLAP_SKIP;
            case BUFFER_ONE -> io.duebus.v1.Schedule.Overlap.OVERLAP_BUFFER_ONE;
            case UNKNOWN -> throw DueBusException.invalid("schedule.overlap", "is not known to this version");
        };
    }

    private static io.duebus.v1.Schedule.CatchUp wire(CatchUp catchUp) {
        return switch (catchUp) {
            case LAST -> io.duebus.v1.Schedule.CatchUp.CATCH_UP_LAST;
            case ALL -> io.duebus.v1.Schedule.CatchUp.CATCH_UP_ALL;
            case NONE -> io.duebus.v1.Schedule.CatchUp.CATCH_UP_NONE;
            case UNKNOWN -> throw DueBusException.invalid("schedule.catch_up", "is not known to this version");
        };
    }

    /** Builds a schedule. */
    public static final class Builder {
        private final String name;
        private final String topic;
        private final Event event;
        private final ScheduleRule rule;
        private long maxRuns;
        private Duration jitter = Duration.ZERO;
        private Overlap overlap = Overlap.ALLOW;
        private CatchUp catchUp = CatchUp.LAST;
        private Duration catchUpWindow;
        private boolean paused;
        private String note = "";

        private Builder(String name, String topic, Event event, ScheduleRule rule) {
            this.name = Objects.requireNonNull(name, "name");
            this.topic = Objects.requireNonNull(topic, "topic");
            this.event = Objects.requireNonNull(event, "event");
            this.rule = Objects.requireNonNull(rule, "rule");
        }

        /** It ends after this many firings; not set: no limit. */
        public Builder maxRuns(long firings) {
            this.maxRuns = firings;
            return this;
        }

        /** Each firing is up to this much later than its nominal time, at most 24 h; not set: not at all. */
        public Builder jitter(Duration atMost) {
            this.jitter = Objects.requireNonNull(atMost, "jitter");
            return this;
        }

        /** What happens while an earlier event is unfinished; {@link Overlap#ALLOW} by default. */
        public Builder overlap(Overlap overlap) {
            this.overlap = Objects.requireNonNull(overlap, "overlap");
            return this;
        }

        /** What happens to missed times; {@link CatchUp#LAST} by default. */
        public Builder catchUp(CatchUp catchUp) {
            this.catchUp = Objects.requireNonNull(catchUp, "catchUp");
            return this;
        }

        /** How long ago missed times may be with {@link CatchUp#ALL}, 1 s to 31 days; 1 h by default. */
        public Builder catchUpWindow(Duration window) {
            this.catchUpWindow = window;
            return this;
        }

        /** Whether it is paused, if it is created. */
        public Builder paused(boolean paused) {
            this.paused = paused;
            return this;
        }

        /** For people, at most 1,000 bytes. */
        public Builder note(String note) {
            this.note = Objects.requireNonNull(note, "note");
            return this;
        }

        public Schedule build() {
            return new Schedule(
                    name, topic, event, rule, maxRuns, jitter, overlap, catchUp, catchUpWindow, paused, note);
        }
    }
}
