package io.duebus;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.lang.reflect.RecordComponent;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

class NullableTest {
    @Test
    void whatIsNullInAnAnswerIsAnnotated() {
        var topic = io.duebus.v1.TopicInfo.newBuilder();
        topic.getConfigBuilder().getLimitsBuilder();
        topic.getConfigBuilder().getKeysBuilder();
        topic.addMinutesBuilder().addGroupsBuilder();
        topic.addGroupsBuilder().addSubscribersBuilder();
        var event = io.duebus.v1.EventInfo.newBuilder();
        event.addGroupsBuilder().addHistoryBuilder();

        var wrong = Stream.of(
                        TopicInfo.read(topic.build()),
                        TopicConfig.read(io.duebus.v1.TopicConfig.getDefaultInstance()),
                        EventInfo.read(event.build()),
                        KeyInfo.read(io.duebus.v1.KeyInfo.getDefaultInstance()),
                        ScheduleInfo.read(io.duebus.v1.ScheduleInfo.getDefaultInstance()))
                .flatMap(NullableTest::wrong)
                .toList();

        assertEquals(List.of(), wrong);
    }

    /** The components that are null without being annotated. */
    private static Stream<RecordComponent> wrong(Object value) {
        if (value instanceof List<?> list) {
            return list.stream().flatMap(NullableTest::wrong);
        }
        return value instanceof Record answer
                ? Arrays.stream(answer.getClass().getRecordComponents()).flatMap(each -> wrong(answer, each))
                : Stream.empty();
    }

    private static Stream<RecordComponent> wrong(Record answer, RecordComponent component) {
        try {
            Object value = component.getAccessor().invoke(answer);
            boolean allowed = value != null || component.getAnnotatedType().isAnnotationPresent(Nullable.class);
            return allowed ? wrong(value) : Stream.of(component);
        } catch (ReflectiveOperationException error) {
            throw new AssertionError(error);
        }
    }
}
