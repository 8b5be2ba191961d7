package io.duebus;

import io.duebus.v1.CancelEventsResponse;
import java.util.List;

/**
 * The result of a cancellation.
 *
 * @param cancelled how many events lost at least one copy
 * @param leasedEventIds those of which a copy was leased or dead, and stays
 * @param missingEventIds those that the topic, or the group, does not hold
 */
public record Cancelled(long cancelled, List<String> leasedEventIds, List<String> missingEventIds) {
    static Cancelled read(CancelEventsResponse response) {
        return new Cancelled(
                response.getCancelled(),
                List.copyOf(response.getLeasedEventIdsList()),
                List.copyOf(response.getMissingEventIdsList()));
    }
}
