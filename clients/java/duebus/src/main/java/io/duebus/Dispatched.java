package io.duebus;

import io.duebus.v1.DispatchResponse;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;

/**
 * An event that the bus has stored.
 *
 * @param eventId its id
 * @param duplicate it added nothing, because the topic holds an event with that id or held one within its dedupe window
 */
public record Dispatched(String eventId, boolean duplicate) {

    static List<Dispatched> read(DispatchResponse response, int events) {
        List<String> ids = response.getEventIdsList();
        if (ids.size() != events) {
            String text = "the server answered %d event ids for %d events".formatted(ids.size(), events);
            throw new DueBusException(Reason.INTERNAL, text);
        }
        var duplicates = new HashMap<String, Integer>();
        response.getDuplicateEventIdsList().forEach(id -> duplicates.merge(id, 1, Integer::sum));
        // Of several events with one id in a request, the first is the one that was stored.
        var dispatched = new Dispatched[events];
        for (int i = events - 1; i >= 0; i--) {
            int left = duplicates.merge(ids.get(i), -1, Integer::sum);
            dispatched[i] = new Dispatched(ids.get(i), left >= 0);
        }
        return Arrays.asList(dispatched);
    }
}
