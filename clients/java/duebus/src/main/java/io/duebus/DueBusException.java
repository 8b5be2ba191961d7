package io.duebus;

import io.duebus.v1.Engine;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.StatusRuntimeException;
import java.io.Serializable;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;

/** The error of a call that failed. */
public final class DueBusException extends RuntimeException {
    private static final long serialVersionUID = 1;

    private final Failure failure;

    /** The details of a failed call; {@code text} and {@code retryAfter} may be null. */
    record Failure(
            String reason,
            Status.Code code,
            String text,
            Map<String, String> metadata,
            List<FieldViolation> fieldViolations,
            Duration retryAfter,
            List<Engine> storedEngines,
            List<String> storedEventIds)
            implements Serializable {
        static Failure of(Reason reason, String text, FieldViolation... violations) {
            return new Failure(
                    reason.name(), Status.Code.OK, text, Map.of(), List.of(violations), null, List.of(), List.of());
        }
    }

    DueBusException(Failure failure, Throwable cause) {
        super(line(failure), cause);
        this.failure = failure;
    }

    DueBusException(Reason reason, String text) {
        this(Failure.of(reason, text), null);
    }

    /** The error of one wrong field that the client itself found. */
    static DueBusException invalid(String field, String description) {
        var violation = new FieldViolation(field, description);
        return new DueBusException(
                Failure.of(Reason.INVALID_ARGUMENT, field + ": " + description, violation), null);
    }

    /**
     * Makes a DueBusException of what a call threw: of the generated stubs' StatusRuntimeException, of what wraps an
     * error of a future, or of the error itself.
     */
    public static DueBusException of(Throwable thrown) {
        if (thrown instanceof DueBusException typed) {
            return typed;
        }
        if (thrown instanceof StatusRuntimeException || thrown instanceof StatusException) {
            return new DueBusException(Statuses.read(thrown), thrown);
        }
        if (thrown instanceof CancellationException) {
            return new DueBusException(Failure.of(Reason.CANCELLED, "the call was given up"), thrown);
        }
        boolean wraps = thrown instanceof CompletionException || thrown instanceof ExecutionException;
        if (wraps && thrown.getCause() != null) {
            return of(thrown.getCause());
        }
        return new DueBusException(Failure.of(Reason.INTERNAL, "the client failed: " + thrown), thrown);
    }

    /** Serialized without its cause: gRPC's exceptions can't be serialized. */
    private Object writeReplace() {
        var copy = new DueBusException(failure, getCause() instanceof DueBusException typed ? typed : null);
        copy.setStackTrace(getStackTrace());
        return copy;
    }

    /** The same error, with the stack of the caller's thread. */
    DueBusException here() {
        return new DueBusException(failure, this);
    }

    /** Why the call failed; see {@link #is}. */
    public Reason reason() {
        return Reason.named(failure.reason());
    }

    /** The name of the reason, even if this version does not know it. */
    public String reasonName() {
        return failure.reason();
    }

    /**
     * True when the error has this reason or one that belongs to it: an error of NO_TOPIC_SPECIFIED or
     * NO_EVENT_SPECIFIED is also INVALID_ARGUMENT, one of DISPATCHER_NOT_WORKING is also UNAVAILABLE.
     */
    public boolean is(Reason reason) {
        return reason().belongsTo(reason);
    }

    /** The gRPC status; OK if the client itself found the error. */
    public Status.Code code() {
        return failure.code();
    }

    /** For people, without the reason; {@link #getMessage} is one line with both. */
    public String text() {
        return failure.text() == null ? "" : failure.text();
    }

    /** The subject of the error: topic, group, engine, ... */
    public Map<String, String> metadata() {
        return failure.metadata();
    }

    /** The wrong fields; empty unless the input was bad. */
    public List<FieldViolation> fieldViolations() {
        return failure.fieldViolations();
    }

    /** How long to wait before repeating the call, if the server said so. */
    public Optional<Duration> retryAfter() {
        return Optional.ofNullable(failure.retryAfter());
    }

    /**
     * If a dispatch to several engines failed partway: the ones that hold the events. Repeating it with the same
     * request id is safe.
     */
    public List<Engine> storedEngines() {
        return failure.storedEngines();
    }

    /** The ids under which {@link #storedEngines} hold the events, in request order. */
    public List<String> storedEventIds() {
        return failure.storedEventIds();
    }

    /** False if repeating the call can't help: a worker ends with such an error. */
    boolean heals() {
        return switch (reason()) {
            case INVALID_ARGUMENT, NO_TOPIC_SPECIFIED, NO_EVENT_SPECIFIED, NO_DISPATCHER_SPECIFIED, UNIMPLEMENTED,
                    UNAUTHENTICATED, PERMISSION_DENIED, CLIENT_CLOSED -> false;
            default -> true;
        };
    }

    private static String line(Failure failure) {
        var line = new StringBuilder(failure.reason());
        if (failure.text() != null && !failure.text().isBlank()) {
            line.append(": ").append(failure.text().strip().replaceAll("\\s+", " "));
        }
        for (var violation : failure.fieldViolations()) {
            if (line.indexOf(violation.field()) < 0) {
                line.append(" (%s: %s)".formatted(violation.field(), violation.description()));
            }
        }
        return line.toString();
    }
}
