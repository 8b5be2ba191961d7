package io.duebus;

import io.duebus.v1.ListEventsRequest;

/** Which events of a group to list, and how. */
public final class ListOptions {
    private final ListEventsRequest.Builder request;

    ListOptions(ListEventsRequest.Builder request) {
        this.request = request;
    }

    /** The group; "default" otherwise. If the topic has none yet, that means the events that wait for the first. */
    public ListOptions group(String group) {
        request.setGroup(Checks.text("group", group));
        return this;
    }

    /** Only those with this key. */
    public ListOptions key(String key) {
        request.setKey(Checks.textOrNone("key", key, "all events"));
        return this;
    }

    /** The newest first by due time, lease expiry or time of death; the oldest first otherwise. */
    public ListOptions newestFirst() {
        request.setOrder(ListEventsRequest.Order.ORDER_NEWEST_FIRST);
        return this;
    }

    /** How many to fetch at a time, 1 to 1,000; 100 otherwise. */
    public ListOptions pageSize(int events) {
        request.setPageSize(Checks.notNegative("page_size", events));
        return this;
    }
}
