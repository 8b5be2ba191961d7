package io.duebus;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.duebus.v1.Engine;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneId;
import java.util.List;
import org.junit.jupiter.api.Test;

class SchedulesTest extends BusTestBase {
    private static final Event EVENT = Event.json("{}").key("k").maxRetries(2).build();

    @Test
    void aScheduleIsSentAsGivenAndReadAsItIsStored() throws Exception {
        var rule = ScheduleRule.cron("0 9 * * MON-FRI", ZoneId.of("Europe/Berlin"))
                .from(Instant.parse("2026-11-30T08:00:00.25Z"))
                .until(Instant.parse("2027-11-30T08:00:00Z"));
        var schedule = Schedule.builder("daily", "reports", EVENT, rule)
                .maxRuns(7)
                .jitter(Duration.ofMillis(1500))
                .overlap(Schedule.Overlap.SKIP)
                .catchUp(Schedule.CatchUp.ALL)
                .catchUpWindow(Duration.ofMinutes(5))
                .paused(true)
                .note("for the board")
                .build();

        var info = bus.schedules().withEngine(Engine.ENGINE_REDIS).put(schedule);

        var request = FakeBus.next(server.schedules.puts);
        assertEquals(Engine.ENGINE_REDIS, request.getEngine());
        assertEquals("0 9 * * MON-FRI", request.getSchedule().getCron());
        assertEquals("Europe/Berlin", request.getSchedule().getTimeZone());
        assertEquals(io.duebus.v1.Schedule.Overlap.OVERLAP_SKIP, request.getSchedule().getOverlap());
        assertEquals(schedule, info.schedule());
        assertEquals(3, info.runs());
        assertNull(info.lastFiredAt());
    }

    @Test
    void whatIsNotSetHasItsDefault() throws Exception {
        var schedule = Schedule.builder("beat", "health", EVENT, ScheduleRule.every(Duration.ofSeconds(30))).build();

        assertEquals(schedule, bus.schedules().put(schedule).schedule());

        var sent = FakeBus.next(server.schedules.puts).getSchedule();
        assertEquals(30, sent.getEvery().getSeconds());
        assertEquals(io.duebus.v1.Schedule.CatchUp.CATCH_UP_LAST, sent.getCatchUp());
        assertFalse(sent.hasCatchUpWindow());
        assertFalse(sent.hasStart());
    }

    @Test
    void aRuleOfBothKindsAndTextThatUtf8CanNotCarryAreRefused() {
        var both = new ScheduleRule("* * * * *", Duration.ofSeconds(1), "", null, null);
        assertEquals("schedule.rule", refused(Schedule.builder("s", "t", EVENT, both)));
        var rule = ScheduleRule.cron("* * * * *");
        assertEquals("schedule.note", refused(Schedule.builder("s", "t", EVENT, rule).note("\ud800")));
        var event = Event.builder(new byte[0]).key("\ud800").build();
        assertEquals("schedule.event.key", refused(Schedule.builder("s", "t", event, rule)));
        assertTrue(server.schedules.puts.isEmpty());
    }

    private String refused(Schedule.Builder schedule) {
        var error = assertThrows(DueBusException.class, () -> bus.schedules().put(schedule.build()));
        assertEquals(Reason.INVALID_ARGUMENT, error.reason());
        return error.fieldViolations().get(0).field();
    }

    @Test
    void aListFetchesTheNextPageWhenTheLastIsRead() {
        var all = bus.schedules().list(2).iterator();
        assertEquals("a", all.next().schedule().name());
        assertEquals("b", all.next().schedule().name());
        assertEquals(1, server.schedules.pages.size());
        assertEquals("c", all.next().schedule().name());
        assertFalse(all.hasNext());
        assertEquals(List.of("", "2"), server.schedules.pages.stream().map(each -> each.getPageToken()).toList());
    }

    @Test
    void aTriggerIsRetriedWithItsRequestId() throws Exception {
        String eventId = bus.schedules().trigger("s");

        assertEquals(26, eventId.length());
        assertEquals(eventId, FakeBus.next(server.schedules.triggers).getRequestId());
        assertEquals(eventId, FakeBus.next(server.schedules.triggers).getRequestId());
    }

    @Test
    void aTriggerWithAnEmptyRequestIdGetsOneForAllTries() throws Exception {
        String eventId = bus.schedules().trigger("s", "");

        assertEquals(26, eventId.length());
        assertEquals(eventId, FakeBus.next(server.schedules.triggers).getRequestId());
    }

    @Test
    void aDeletionIsNotRetried() {
        var error = assertThrows(DueBusException.class, () -> bus.schedules().delete("s"));

        assertEquals(Reason.DISPATCHER_NOT_WORKING, error.reason());
        assertEquals(1, server.schedules.deletions.size());
    }
}
