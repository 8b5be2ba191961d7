package io.duebus.driver;

import io.duebus.Delivery;
import io.duebus.DueBusException;
import io.duebus.v1.Engine;
import io.duebus.v1.LeaseFailure;
import java.time.Duration;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** Writes the client's values. */
final class Lines {
    private Lines() {}

    static Map<String, Object> error(Throwable thrown) {
        if (thrown instanceof DueBusException) {
            return error(DueBusException.of(thrown));
        }
        return error("DRIVER_ERROR", String.valueOf(thrown), List.of(), null, Map.of(), List.of(), List.of());
    }

    private static Map<String, Object> error(DueBusException error) {
        var violations = error.fieldViolations().stream()
                .map(each -> Map.of("field", each.field(), "description", each.description()))
                .toList();
        return error(
                error.reasonName(),
                error.text(),
                violations,
                error.retryAfter().map(Duration::toMillis).orElse(null),
                error.metadata(),
                error.storedEngines().stream().map(Lines::name).toList(),
                error.storedEventIds());
    }

    private static Map<String, Object> error(
            String reason,
            String message,
            List<?> violations,
            Long retryAfterMs,
            Map<String, String> metadata,
            List<String> engines,
            List<String> eventIds) {
        var line = new LinkedHashMap<String, Object>();
        line.put("reason", reason);
        line.put("message", message);
        line.put("field_violations", violations);
        line.put("retry_after_ms", retryAfterMs);
        line.put("metadata", metadata);
        line.put("stored_engines", engines);
        line.put("stored_event_ids", eventIds);
        return line;
    }

    static Map<String, Object> delivery(Delivery delivery) {
        var line = new LinkedHashMap<String, Object>();
        line.put("event_id", delivery.eventId());
        line.put("data", base64(delivery.data()));
        line.put("content_type", delivery.contentType());
        line.put("attributes", delivery.attributes());
        line.put("key", delivery.key());
        line.put("priority", delivery.priority());
        line.put("topic", delivery.topic());
        line.put("group", delivery.group());
        line.put("lease_token", delivery.leaseToken());
        line.put("fencing_token", delivery.fencingToken());
        line.put("attempt", delivery.attempt());
        line.put("deliver_at_ms", delivery.deliverAt().toEpochMilli());
        line.put("dispatched_at_ms", delivery.dispatchedAt().toEpochMilli());
        line.put("lease_expires_at_ms", delivery.leaseExpiresAt().toEpochMilli());
        line.put("last_error", delivery.lastError());
        return line;
    }

    static Map<String, Object> failures(List<LeaseFailure> failures) {
        return Map.of("failures", failures.stream()
                .map(each -> Map.of("lease_token", each.getLeaseToken(), "reason", name(each.getReason())))
                .toList());
    }

    static String base64(byte[] bytes) {
        return Base64.getEncoder().encodeToString(bytes);
    }

    static String name(Engine engine) {
        return lower(engine.name(), "ENGINE_");
    }

    private static String name(LeaseFailure.Reason reason) {
        return lower(reason.name(), "REASON_");
    }

    /** The name of the proto without its prefix, in lower case. */
    static String lower(String name, String prefix) {
        return name.substring(prefix.length()).toLowerCase(Locale.ROOT);
    }
}
