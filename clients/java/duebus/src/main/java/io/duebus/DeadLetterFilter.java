package io.duebus;

import java.time.Duration;
import java.util.Collection;

/** Selects the dead letters of a group that meet every condition; without conditions, all of them. */
public final class DeadLetterFilter {
    private static final String ALL = "all dead letters";

    private final io.duebus.v1.DeadLetterFilter.Builder message = io.duebus.v1.DeadLetterFilter.newBuilder();
    private String group = "";

    DeadLetterFilter() {}

    io.duebus.v1.DeadLetterFilter encode() {
        return message.build();
    }

    String group() {
        return group;
    }

    /** The group that they died in; "default" otherwise. */
    public DeadLetterFilter group(String group) {
        this.group = Checks.text("group", group);
        return this;
    }

    /**
     * Only these, 1 to 1,000.
     *
     * @throws DueBusException INVALID_ARGUMENT: there are none, which the server would take for all
     */
    public DeadLetterFilter eventIds(Collection<String> ids) {
        if (ids.isEmpty()) {
            throw DueBusException.invalid("filter.event_ids", "is empty; leave it out for " + ALL);
        }
        ids.forEach(each -> message.addEventIds(Checks.text("filter.event_ids", each)));
        return this;
    }

    /**
     * Only those whose last error contains this text.
     *
     * @throws DueBusException INVALID_ARGUMENT: it is empty, which the server would take for all
     */
    public DeadLetterFilter errorContains(String text) {
        message.setErrorContains(Checks.textOrNone("filter.error_contains", text, ALL));
        return this;
    }

    /** Only those that have been dead for at least this long. */
    public DeadLetterFilter minAge(Duration age) {
        message.setMinAge(Times.proto(age));
        return this;
    }

    /**
     * Only those with this key.
     *
     * @throws DueBusException INVALID_ARGUMENT: it is empty, which the server would take for all
     */
    public DeadLetterFilter key(String key) {
        message.setKey(Checks.textOrNone("filter.key", key, ALL));
        return this;
    }
}
