package io.duebus.driver;

import io.duebus.Event;
import io.duebus.Schedule;
import io.duebus.ScheduleInfo;
import io.duebus.ScheduleRule;
import io.duebus.Schedules;
import java.time.Duration;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.BiFunction;

/** The commands about schedules. */
final class ScheduleCommands {
    /** By name, without "schedule." in front. */
    static final Map<String, BiFunction<Schedules, Command, Object>> ALL = Map.of(
            "put", (all, command) -> line(at(all, command).put(schedule(command))),
            "get", (all, command) -> line(at(all, command).get(command.text("name"))),
            "list", (all, command) -> Map.of("names", names(at(all, command), command)),
            "delete", (all, command) -> done(() -> at(all, command).delete(command.text("name"))),
            "pause", (all, command) -> done(() -> at(all, command).pause(command.text("name"))),
            "resume", (all, command) -> done(() -> at(all, command).resume(command.text("name"))),
            "trigger", (all, command) -> Map.of("event_id", trigger(at(all, command), command)),
            "backfill", (all, command) -> Map.of("event_ids", backfill(at(all, command), command)),
            "preview", ScheduleCommands::preview);

    private ScheduleCommands() {}

    private static Schedules at(Schedules all, Command command) {
        return command.has("engine") ? all.withEngine(command.engine("engine")) : all;
    }

    private static Object done(Runnable call) {
        call.run();
        return Map.of();
    }

    private static Schedule schedule(Command command) {
        var event = Driver.event(command.object("event"));
        var schedule = Schedule.builder(command.text("name"), command.text("topic"), event, rule(command))
                .catchUpWindow(command.millis("catch_up_window_ms"))
                .paused(command.flag("paused"))
                .note(command.text("note"));
        if (command.has("max_runs")) {
            schedule.maxRuns(command.number("max_runs"));
        }
        if (command.has("jitter_ms")) {
            schedule.jitter(command.millis("jitter_ms"));
        }
        if (command.has("overlap")) {
            schedule.overlap(Schedule.Overlap.valueOf(command.text("overlap").toUpperCase(Locale.ROOT)));
        }
        if (command.has("catch_up")) {
            schedule.catchUp(Schedule.CatchUp.valueOf(command.text("catch_up").toUpperCase(Locale.ROOT)));
        }
        return schedule.build();
    }

    private static ScheduleRule rule(Command command) {
        return new ScheduleRule(
                command.has("cron") ? command.text("cron") : null,
                command.millis("every_ms"),
                command.text("time_zone"),
                command.moment("start_at_ms"),
                command.moment("end_at_ms"));
    }

    private static List<String> names(Schedules schedules, Command command) {
        int pageSize = command.has("page_size") ? command.number("page_size").intValue() : 0;
        return schedules.list(pageSize).map(each -> each.schedule().name()).toList();
    }

    private static String trigger(Schedules schedules, Command command) {
        String name = command.text("name");
        return command.has("request_id")
                ? schedules.trigger(name, command.text("request_id"))
                : schedules.trigger(name);
    }

    private static List<String> backfill(Schedules schedules, Command command) {
        String name = command.text("name");
        Instant start = command.moment("start_at_ms");
        Instant end = command.moment("end_at_ms");
        return command.has("request_id")
                ? schedules.backfill(name, start, end, command.text("request_id"))
                : schedules.backfill(name, start, end);
    }

    private static Object preview(Schedules schedules, Command command) {
        int count = command.has("count") ? command.number("count").intValue() : 0;
        var preview = schedules.preview(rule(command), count, command.moment("after_at_ms"));
        return Map.of("times_at_ms", millis(preview.times()), "description", preview.description());
    }

    private static Map<String, Object> line(ScheduleInfo info) {
        Schedule schedule = info.schedule();
        ScheduleRule rule = schedule.rule();
        var line = new LinkedHashMap<String, Object>();
        line.put("name", schedule.name());
        line.put("topic", schedule.topic());
        line.put("event", line(schedule.event()));
        line.put("cron", rule.cron() == null ? "" : rule.cron());
        line.put("every_ms", millis(rule.every()));
        line.put("time_zone", rule.timeZone());
        line.put("start_at_ms", millis(rule.start()));
        line.put("end_at_ms", millis(rule.end()));
        line.put("max_runs", schedule.maxRuns());
        line.put("jitter_ms", millis(schedule.jitter()));
        line.put("overlap", schedule.overlap().name().toLowerCase(Locale.ROOT));
        line.put("catch_up", schedule.catchUp().name().toLowerCase(Locale.ROOT));
        line.put("catch_up_window_ms", millis(schedule.catchUpWindow()));
        line.put("paused", schedule.paused());
        line.put("note", schedule.note());
        line.put("next_at_ms", millis(info.next()));
        line.put("last_fired_at_ms", millis(info.lastFiredAt()));
        line.put("last_event_id", info.lastEventId());
        line.put("runs", info.runs());
        line.put("skipped", info.skipped());
        line.put("missed", info.missed());
        line.put("description", info.description());
        return line;
    }

    private static Map<String, Object> line(Event event) {
        var line = new LinkedHashMap<String, Object>();
        line.put("data", Lines.base64(event.data()));
        line.put("content_type", event.contentType());
        line.put("attributes", event.attributes());
        line.put("key", event.key());
        line.put("max_retries", event.maxRetries().isPresent() ? event.maxRetries().getAsInt() : null);
        return line;
    }

    private static Long millis(Duration length) {
        return length == null ? null : length.toMillis();
    }

    private static Long millis(Instant moment) {
        return moment == null ? null : moment.toEpochMilli();
    }

    private static List<Long> millis(List<Instant> moments) {
        return moments.stream().map(Instant::toEpochMilli).toList();
    }
}
