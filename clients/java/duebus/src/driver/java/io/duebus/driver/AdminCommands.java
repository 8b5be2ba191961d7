package io.duebus.driver;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Parser;
import io.duebus.Admin;
import io.duebus.DeadLetterFilter;
import io.duebus.Event;
import io.duebus.EventInfo;
import io.duebus.EventState;
import io.duebus.KeyPolicy;
import io.duebus.Limits;
import io.duebus.TopicChanges;
import io.duebus.v1.CancelEventsRequest;
import io.duebus.v1.ConfigureTopicRequest;
import io.duebus.v1.DeleteGroupRequest;
import io.duebus.v1.DeleteTopicRequest;
import io.duebus.v1.Engine;
import io.duebus.v1.GetEventRequest;
import io.duebus.v1.GetTopicRequest;
import io.duebus.v1.ListEventsRequest;
import io.duebus.v1.ListKeysRequest;
import io.duebus.v1.ListTopicsRequest;
import io.duebus.v1.PauseGroupRequest;
import io.duebus.v1.PurgeEventsRequest;
import io.duebus.v1.RedriveEventsRequest;
import io.duebus.v1.RescheduleEventsRequest;
import io.duebus.v1.ResumeGroupRequest;
import io.duebus.v1.TopicConfig;
import java.lang.reflect.RecordComponent;
import java.time.Duration;
import java.time.Instant;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.stream.Stream;

/** The client's admin calls by the names of the service. */
final class AdminCommands {
    /** Makes a call, for the response in protobuf's JSON. */
    interface Call {
        Map<String, Object> make(Admin admin, byte[] request) throws InvalidProtocolBufferException;
    }

    private interface Typed<Q> {
        Map<String, Object> make(Admin admin, Q request);
    }

    /** A list has only one page. */
    static final Map<String, Call> ALL = new HashMap<>();

    static {
        put("ListTopics", ListTopicsRequest.parser(), ListTopicsRequest::getEngine, (admin, request) ->
                Map.of("topics", all(admin.topics(request.getPageSize()))));
        put("GetTopic", GetTopicRequest.parser(), GetTopicRequest::getEngine, (admin, request) ->
                Map.of("topic", json(admin.getTopic(request.getTopic()))));
        put("ConfigureTopic", ConfigureTopicRequest.parser(), ConfigureTopicRequest::getEngine,
                AdminCommands::configure);
        put("DeleteTopic", DeleteTopicRequest.parser(), DeleteTopicRequest::getEngine, (admin, request) ->
                Map.of("removed", admin.deleteTopic(request.getTopic())));
        put("DeleteGroup", DeleteGroupRequest.parser(), DeleteGroupRequest::getEngine, (admin, request) -> Map.of(
                "removed", admin.deleteGroup(request.getTopic(), request.getGroup())));
        put("PauseGroup", PauseGroupRequest.parser(), PauseGroupRequest::getEngine, (admin, request) -> {
            admin.pauseGroup(request.getTopic(), request.getGroup());
            return Map.of();
        });
        put("ResumeGroup", ResumeGroupRequest.parser(), ResumeGroupRequest::getEngine, (admin, request) -> {
            admin.resumeGroup(request.getTopic(), request.getGroup());
            return Map.of();
        });
        put("ListEvents", ListEventsRequest.parser(), ListEventsRequest::getEngine, AdminCommands::listEvents);
        put("GetEvent", GetEventRequest.parser(), GetEventRequest::getEngine, (admin, request) -> Map.of(
                "event", json(admin.getEvent(request.getTopic(), request.getEventId()))));
        put("ListKeys", ListKeysRequest.parser(), ListKeysRequest::getEngine, (admin, request) -> Map.of(
                "keys", all(admin.keys(request.getTopic(), request.getGroup(), request.getPageSize()))));
        put("CancelEvents", CancelEventsRequest.parser(), CancelEventsRequest::getEngine, AdminCommands::cancel);
        put("RescheduleEvents", RescheduleEventsRequest.parser(), RescheduleEventsRequest::getEngine,
                AdminCommands::reschedule);
        put("RedriveEvents", RedriveEventsRequest.parser(), RedriveEventsRequest::getEngine, (admin, request) -> Map.of(
                "redriven",
                admin.redriveEvents(
                        request.getTopic(), filter(request.getGroup(), request.getFilter()), request.getRate())));
        put("PurgeEvents", PurgeEventsRequest.parser(), PurgeEventsRequest::getEngine, (admin, request) -> Map.of(
                "purged",
                admin.purgeEvents(request.getTopic(), filter(request.getGroup(), request.getFilter()))));
    }

    private AdminCommands() {}

    private static <Q> void put(String name, Parser<Q> parser, Function<Q, Engine> engine, Typed<Q> call) {
        ALL.put(name, (admin, bytes) -> {
            Q request = parser.parseFrom(bytes);
            return call.make(admin.withEngine(engine.apply(request)), request);
        });
    }

    private static Map<String, Object> configure(Admin admin, ConfigureTopicRequest request) {
        var changes = changes(request.getConfig());
        var config = request.getGroup().isEmpty()
                ? admin.configureTopic(request.getTopic(), changes)
                : admin.configureGroup(request.getTopic(), request.getGroup(), changes);
        return Map.of("config", json(config));
    }

    private static Consumer<TopicChanges> changes(TopicConfig config) {
        return changes -> {
            var retries = config.getRetryPolicy();
            when(retries.hasMaxRetries(), () -> changes.maxRetries(retries.getMaxRetries()));
            when(retries.hasBackoffInitial(), () -> changes.backoffInitial(length(retries.getBackoffInitial())));
            when(retries.hasBackoffMax(), () -> changes.backoffMax(length(retries.getBackoffMax())));
            when(config.hasLease(), () -> changes.lease(length(config.getLease())));
            when(config.hasMaxQueued(), () -> changes.maxQueued(config.getMaxQueued()));
            when(config.hasDeadLetterRetention(), () ->
                    changes.deadLetterRetention(length(config.getDeadLetterRetention())));
            when(config.hasDedupeWindow(), () -> changes.dedupeWindow(length(config.getDedupeWindow())));
            when(config.hasPartitions(), () -> changes.partitions(config.getPartitions()));
            var limits = config.getLimits();
            when(config.hasLimits(), () ->
                    changes.limits(
                            new Limits(limits.getMaxInFlight(), limits.hasRate() ? rate(limits.getRate()) : null)));
            when(config.hasKeys(), () -> changes.keys(keys(config.getKeys())));
        };
    }

    private static void when(boolean isSet, Runnable change) {
        if (isSet) {
            change.run();
        }
    }

    private static Duration length(com.google.protobuf.Duration length) {
        return Duration.ofSeconds(length.getSeconds(), length.getNanos());
    }

    private static Limits.Rate rate(io.duebus.v1.Rate rate) {
        return new Limits.Rate(rate.getEvents(), length(rate.getPer()), rate.getBurst());
    }

    private static KeyPolicy keys(io.duebus.v1.KeyPolicy keys) {
        return new KeyPolicy(
                keys.hasMaxInFlight() ? keys.getMaxInFlight() : 1,
                keys.hasRate() ? rate(keys.getRate()) : null,
                keys.getOnDead() == io.duebus.v1.KeyPolicy.OnDead.ON_DEAD_HOLD
                        ? KeyPolicy.OnDead.HOLD
                        : KeyPolicy.OnDead.SKIP,
                keys.getMaxBlocked());
    }

    private static Map<String, Object> listEvents(Admin admin, ListEventsRequest request) {
        var state = EventState.valueOf(request.getState().name().substring("EVENT_STATE_".length()));
        return Map.of("events", all(admin.events(request.getTopic(), state, options -> {
            options.group(request.getGroup()).pageSize(request.getPageSize());
            when(!request.getKey().isEmpty(), () -> options.key(request.getKey()));
            when(request.getOrder() == ListEventsRequest.Order.ORDER_NEWEST_FIRST, options::newestFirst);
        })));
    }

    private static Map<String, Object> cancel(Admin admin, CancelEventsRequest request) {
        String topic = request.getTopic();
        String group = orNull(request.getGroup());
        return json(request.getKey().isEmpty()
                ? admin.cancelEvents(topic, request.getEventIdsList(), group)
                : admin.cancelKey(topic, request.getKey(), group));
    }

    private static Map<String, Object> reschedule(Admin admin, RescheduleEventsRequest request) {
        String topic = request.getTopic();
        List<String> ids = request.getEventIdsList();
        var moment = request.getDeliverAt();
        return Map.of(
                "rescheduled",
                request.hasDeliverAt()
                        ? admin.rescheduleEvents(
                                topic,
                                ids,
                                Instant.ofEpochSecond(moment.getSeconds(), moment.getNanos()),
                                orNull(request.getGroup()))
                        : admin.rescheduleEvents(topic, ids, length(request.getDelay()), orNull(request.getGroup())));
    }

    private static String orNull(String text) {
        return text.isEmpty() ? null : text;
    }

    private static Consumer<DeadLetterFilter> filter(String group, io.duebus.v1.DeadLetterFilter conditions) {
        return filter -> {
            filter.group(group);
            when(!conditions.getErrorContains().isEmpty(), () -> filter.errorContains(conditions.getErrorContains()));
            when(!conditions.getKey().isEmpty(), () -> filter.key(conditions.getKey()));
            when(conditions.getEventIdsCount() > 0, () -> filter.eventIds(conditions.getEventIdsList()));
            when(conditions.hasMinAge(), () -> filter.minAge(length(conditions.getMinAge())));
        };
    }

    private static List<Object> all(Stream<?> items) {
        return items.map(AdminCommands::value).toList();
    }

    /** A record in protobuf's JSON. Fields that are null are left out. */
    private static Map<String, Object> json(Record message) {
        var line = new LinkedHashMap<String, Object>();
        for (RecordComponent each : message.getClass().getRecordComponents()) {
            try {
                Object value = each.getAccessor().invoke(message);
                if (value != null) {
                    line.put(each.getName(), value(value));
                }
            } catch (ReflectiveOperationException error) {
                throw new DriverError(error.toString());
            }
        }
        return line;
    }

    private static Object value(Object value) {
        if (value instanceof Record message) {
            return json(message);
        }
        if (value instanceof Event event) {
            return event(event);
        }
        if (value instanceof List<?> list) {
            return all(list.stream());
        }
        if (value instanceof Duration length) {
            return "%d.%09ds".formatted(length.getSeconds(), length.getNano());
        }
        if (value instanceof Enum<?> choice) {
            return name(choice);
        }
        return value instanceof Instant ? value.toString() : value;
    }

    /** The name that the proto has. */
    private static String name(Enum<?> choice) {
        if (choice instanceof Engine) {
            return choice.name();
        }
        if (choice == EventInfo.Outcome.UNDER_WAY) {
            return "OUTCOME_UNSPECIFIED";
        }
        String type = choice.getClass().getSimpleName().replaceAll("(?<=.)([A-Z])", "_$1");
        return type.toUpperCase(Locale.ROOT) + "_" + choice.name();
    }

    private static Map<String, Object> event(Event event) {
        var line = new LinkedHashMap<String, Object>();
        line.put("id", event.id());
        line.put("data", Lines.base64(event.data()));
        line.put("content_type", event.contentType());
        line.put("attributes", event.attributes());
        line.put("key", event.key());
        line.put("priority", event.priority());
        event.maxRetries().ifPresent(most -> line.put("max_retries", most));
        return line;
    }
}
