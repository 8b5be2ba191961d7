package io.duebus.testing;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.duebus.Admin;
import io.duebus.Cancelled;
import io.duebus.DeadLetter;
import io.duebus.DueBusException;
import io.duebus.Event;
import io.duebus.EventInfo;
import io.duebus.EventState;
import io.duebus.EventStream;
import io.duebus.KeyInfo;
import io.duebus.KeyPolicy;
import io.duebus.Limits;
import io.duebus.Reason;
import io.duebus.ScheduleRule;
import io.duebus.TopicConfig;
import io.duebus.TopicInfo;
import io.duebus.Worker;
import io.duebus.v1.Engine;
import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.function.Executable;

@Timeout(60)
@ExtendWith(DueBusExtension.class)
class AdminTest {
    private static Bus bus;
    private static Admin admin;

    @BeforeAll
    static void keep(Bus shared) {
        bus = shared;
        admin = bus.client().admin();
    }

    private static Event event(String id, String key) {
        return Event.json("{}").id(id).key(key).build();
    }

    /** Dispatches events with these ids, of which a worker makes dead letters. */
    private static void dead(String topic, String... ids) {
        var worker = Worker.builder(bus.client())
                .consumer("tester")
                .handle(topic, delivery -> {
                    throw new DeadLetter("can't handle " + delivery.eventId());
                })
                .build();
        bus.running(worker, () -> {
            bus.client().dispatchAll(topic, Arrays.stream(ids).map(id -> event(id, "key-" + id)).toList());
            bus.settle();
        });
    }

    /** Waits until a stream has so many deliveries. */
    private static void delivered(EventStream stream, int count) {
        var frames = stream.iterator();
        for (int left = count; left > 0; ) {
            left -= ((EventStream.Deliveries) frames.next()).deliveries().size();
        }
    }

    @Test
    void aGroupWithoutANameIsNotTheTopic() {
        admin.configureTopic("unnamed", topic -> topic.maxRetries(3));
        var error = assertThrows(
                DueBusException.class, () -> admin.configureGroup("unnamed", "", group -> group.maxRetries(1)));
        assertTrue(error.is(Reason.INVALID_ARGUMENT));
        assertEquals(3, admin.getTopic("unnamed").config().retryPolicy().maxRetries());
    }

    @Test
    void aNegativeNumberIsNotSentAsALargeOne() {
        var rate = Duration.ofSeconds(1);
        var bus = AdminTest.bus.client();
        for (Executable each : List.<Executable>of(
                () -> admin.configureTopic("t", topic -> topic.maxQueued(-1)),
                () -> admin.configureTopic("t", topic -> topic.maxRetries(-1)),
                () -> admin.configureTopic("t", topic -> topic.partitions(-1)),
                () -> admin.configureTopic("t", topic -> topic.limits(Limits.maxInFlight(-1))),
                () -> admin.configureTopic("t", topic -> topic.limits(Limits.rate(-1, rate))),
                () -> admin.configureTopic(
                        "t", topic -> topic.limits(new Limits(0, new Limits.Rate(1, rate, -1)))),
                () -> admin.configureTopic(
                        "t", topic -> topic.keys(new KeyPolicy(-1, null, KeyPolicy.OnDead.SKIP, 0))),
                () -> admin.configureTopic(
                        "t", topic -> topic.keys(new KeyPolicy(1, null, KeyPolicy.OnDead.SKIP, -1))),
                () -> admin.topics(-1),
                () -> admin.keys("t", "g", -1),
                () -> admin.events("t", EventState.READY, options -> options.pageSize(-1)),
                () -> bus.schedules().list(-1),
                () -> bus.schedules().preview(ScheduleRule.every(rate), -1, null),
                () -> Event.json("{}").maxRetries(-1),
                () -> bus.subscribe("t", options -> options.maxInFlight(-1)),
                () -> bus.subscribe("t", options -> options.maxInFlightBytes(-1)),
                () -> Worker.builder(bus).maxInFlightBytes(-1))) {
            var error = assertThrows(DueBusException.class, each);
            assertTrue(error.getMessage().contains("must not be negative, but is -1"), error.getMessage());
        }
    }

    @Test
    void theSettingsOfATopicAreDurationsAndWhatIsNotSetStays() {
        var before = admin.configureTopic(
                "settings", changes -> changes.dedupeWindow(Duration.ofMinutes(5)).maxQueued(1L << 40));
        var config = admin.configureTopic("settings", changes -> changes.lease(Duration.ofSeconds(45))
                .backoffInitial(Duration.ofNanos(1_500_000))
                .limits(Limits.rate(10, Duration.ofSeconds(1))));
        var retries = before.retryPolicy();
        var expected = new TopicConfig(
                new TopicConfig.RetryPolicy(retries.maxRetries(), Duration.ofNanos(1_500_000), retries.backoffMax()),
                Duration.ofSeconds(45),
                1L << 40,
                before.deadLetterRetention(),
                Duration.ofMinutes(5),
                1,
                new Limits(0, new Limits.Rate(10, Duration.ofSeconds(1), 0)),
                null);
        assertEquals(expected, config);
        var policy = KeyPolicy.inOrder(KeyPolicy.OnDead.HOLD);
        config = admin.configureTopic("settings", changes -> changes.limits(null).keys(policy));
        assertNull(config.limits());
        assertEquals(policy, config.keys());
        assertEquals(config, admin.getTopic("settings").config());
        assertNull(admin.configureTopic("settings", changes -> changes.keys(null)).keys());
    }

    @Test
    void aGroupHasSettingsOfItsOwn() {
        bus.client().subscribe("own", options -> options.group("g")).close();
        admin.configureTopic("own", changes -> changes.maxRetries(3));
        assertEquals(7, admin.configureGroup("own", "g", changes -> changes.maxRetries(7)).retryPolicy().maxRetries());
        assertEquals(3, admin.getTopic("own").config().retryPolicy().maxRetries());
        assertEquals(7, admin.getTopic("own").groups().get(0).retryPolicy().maxRetries());
    }

    @Test
    void aTopicShowsItsGroupsTheirCountsAndTheLastHour() {
        dead("shown", "a", "b");
        try (var stream = bus.client().subscribe("shown", options -> options.group("other").consumer("c").maxInFlight(1))) {
            var later = Event.json("{}").delay(Duration.ofMinutes(1)).build();
            bus.client().dispatchAll("shown", List.of(event("c", ""), event("d", ""), later));
            delivered(stream, 1);
            TopicInfo topic = admin.getTopic("shown");
            assertEquals(Engine.ENGINE_LOCAL, topic.engine());
            assertFalse(topic.durable());
            assertEquals(3, topic.queued());
            var groups = topic.groups().stream().sorted(Comparator.comparing(TopicInfo.Group::group)).toList();
            var settled = groups.get(0);
            assertEquals(List.of("default", 2L, 2L), List.of(settled.group(), settled.dead(), settled.ready()));
            assertNotNull(settled.oldestReadyAge());
            assertNull(settled.oldestBlockedAge());
            var other = groups.get(1);
            assertEquals(List.of(1L, 1L, 1L), List.of(other.leased(), other.ready(), other.scheduled()));
            var subscriber = other.subscribers().get(0);
            assertEquals("c", subscriber.consumer());
            assertEquals(1, subscriber.inFlight());
            assertTrue(subscriber.connectedAt().isAfter(Instant.EPOCH));
            assertEquals(5, topic.minutes().stream().mapToLong(TopicInfo.Minute::dispatched).sum());
            assertNotNull(topic.minutes().get(0).lateness().p99());
        }
        assertTrue(admin.topics(1).anyMatch(each -> each.topic().equals("shown")));
    }

    @Test
    void aPausedGroupIsResumed() {
        bus.client().subscribe("paused", options -> options.group("g")).close();
        admin.pauseGroup("paused", "g");
        assertTrue(admin.getTopic("paused").groups().get(0).paused());
        admin.resumeGroup("paused", "g");
        assertFalse(admin.getTopic("paused").groups().get(0).paused());
    }

    @Test
    void anEventHasItsHistory() {
        dead("history", "a");
        var listed = admin.events("history", EventState.DEAD).toList();
        assertEquals(List.of("a"), listed.stream().map(each -> each.event().id()).toList());
        EventInfo found = admin.getEvent("history", "a");
        assertEquals("key-a", found.event().key());
        assertTrue(found.dispatchedAt().isAfter(Instant.EPOCH));
        var group = found.groups().get(0);
        assertEquals(EventState.DEAD, group.state());
        assertNotNull(group.deadAt());
        assertNull(group.leaseExpiresAt());
        assertEquals("can't handle a", group.lastError());
        var attempt = group.history().get(0);
        assertEquals(EventInfo.Outcome.DEAD, attempt.outcome());
        assertEquals("tester", attempt.consumer());
        assertFalse(attempt.endedAt().isBefore(attempt.startedAt()));
    }

    @Test
    void eventsAreListedByStateKeyAndAge() {
        bus.client().dispatch("listed", Event.json("1").id("old").key("k").delay(Duration.ofMinutes(1)).build());
        bus.client().dispatch("listed", Event.json("2").id("new").delay(Duration.ofMinutes(2)).build());
        var newest = admin.events("listed", EventState.SCHEDULED, options -> options.newestFirst().pageSize(1));
        assertEquals(List.of("new", "old"), newest.map(each -> each.event().id()).toList());
        var ofKey = admin.events("listed", EventState.SCHEDULED, options -> options.key("k"));
        assertEquals(List.of("old"), ofKey.map(each -> each.event().id()).toList());
        assertEquals(0, admin.events("listed", EventState.READY).count());
    }

    @Test
    void eventsAreRescheduledAndCancelled() {
        bus.client().dispatchAll("moved", List.of(event("a", ""), event("b", "k"), event("c", "k")));
        Instant at = bus.now().plus(Duration.ofHours(1));
        assertEquals(2, admin.rescheduleEvents("moved", List.of("a", "b"), at));
        var group = admin.getEvent("moved", "a").groups().get(0);
        assertEquals(EventState.SCHEDULED, group.state());
        assertTrue(Duration.between(group.deliverAt(), at).abs().compareTo(Duration.ofMillis(1)) < 0);
        assertEquals(1, admin.rescheduleEvents("moved", List.of("a"), Duration.ZERO));
        assertEquals(
                new Cancelled(1, List.of(), List.of("z")), admin.cancelEvents("moved", List.of("a", "z")));
        assertEquals(2, admin.cancelKey("moved", "k", null).cancelled());
    }

    @Test
    void deadLettersAreRedrivenAndPurgedByConditions() {
        dead("letters", "a", "b", "c");
        assertEquals(1, admin.redriveEvents("letters", filter -> filter.errorContains("handle a"), 100));
        assertEquals(0, admin.redriveEvents("letters", filter -> filter.minAge(Duration.ofHours(1))));
        assertEquals(1, admin.purgeEvents("letters", filter -> filter.key("key-b").group("default")));
        assertEquals(0, admin.purgeEvents("letters", filter -> filter.eventIds(List.of("b"))));
        assertEquals(1, admin.purgeEvents("letters", filter -> {}));
    }

    @Test
    void theKeysOfAGroupAreShownTheMostBlockedFirst() {
        try (var stream = bus.client().subscribe("keys")) {
            bus.client().dispatchAll("keys", List.of(event("a", "k"), event("c", "k"), event("b", "l")));
            delivered(stream, 2);
            assertEquals(
                    List.of(
                            new KeyInfo("k", 1, 1, "a", false, null),
                            new KeyInfo("l", 0, 1, "b", false, null)),
                    admin.keys("keys", "default").toList());
        }
    }

    @Test
    void groupsAndTopicsAreDeletedWithTheirEvents() {
        dead("deleted", "a", "b");
        assertEquals(2, admin.deleteGroupAsync("deleted", "default").join());
        bus.client().dispatch("deleted", event("c", ""));
        assertEquals(1, admin.withTimeout(Duration.ofSeconds(10)).deleteTopic("deleted"));
        var error = assertThrows(DueBusException.class, () -> admin.getTopic("deleted"));
        assertEquals(Reason.NOT_FOUND, error.reason());
    }
}
