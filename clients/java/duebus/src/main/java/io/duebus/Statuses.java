package io.duebus;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.duebus.v1.PartialDispatch;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Reads gRPC's statuses. The reason in the details decides; without one, the code does. */
final class Statuses {
    private static final String DOMAIN = "duebus";

    /** How gRPC refuses a message that is too large to read. Its code is the same as for a full topic. */
    private static final String TOO_LARGE = "larger than max";

    private Statuses() {}

    static DueBusException.Failure read(Throwable thrown) {
        Status status = Status.fromThrowable(thrown);
        List<Any> details = details(thrown);
        var info = find(details, ErrorInfo.class, ErrorInfo.getDefaultInstance());
        if (!info.getDomain().equals(DOMAIN)) {
            info = ErrorInfo.getDefaultInstance();
        }
        var partial = find(details, PartialDispatch.class, PartialDispatch.getDefaultInstance());
        List<FieldViolation> violations = violations(details);
        String reason = info.getReason();
        if (reason.isEmpty() && isTooLarge(status)) {
            reason = Reason.INVALID_ARGUMENT.name();
            violations = List.of(new FieldViolation("request", "is larger than a message may be"));
        }
        return new DueBusException.Failure(
                reason.isEmpty() ? ofStatus(status) : reason,
                status.getCode(),
                text(status),
                Map.copyOf(info.getMetadataMap()),
                violations,
                retryAfter(details),
                List.copyOf(partial.getStoredEnginesList()),
                List.copyOf(partial.getEventIdsList()));
    }

    /** The causes of gRPC's own errors say what happened: a refused connection, an untrusted certificate. */
    private static String text(Status status) {
        String text = status.getDescription() == null ? "" : status.getDescription();
        Throwable cause = status.getCause();
        if (cause == null || cause.getMessage() == null || text.contains(cause.getMessage())) {
            return text;
        }
        return text.isEmpty() ? cause.getMessage() : text + ": " + cause.getMessage();
    }

    private static boolean isTooLarge(Status status) {
        return status.getCode() == Status.Code.RESOURCE_EXHAUSTED && text(status).contains(TOO_LARGE);
    }

    /** A connection that is closed while it is being opened is UNKNOWN to gRPC. */
    private static String ofStatus(Status status) {
        boolean broken = status.getCode() == Status.Code.UNKNOWN && status.getCause() instanceof IOException;
        return broken ? Reason.UNAVAILABLE.name() : status.getCode().name();
    }

    private static List<Any> details(Throwable thrown) {
        com.google.rpc.Status status = StatusProto.fromThrowable(thrown);
        return status == null ? List.of() : status.getDetailsList();
    }

    private static <M extends Message> M find(List<Any> details, Class<M> type, M otherwise) {
        for (Any detail : details) {
            if (detail.is(type)) {
                try {
                    return detail.unpack(type);
                } catch (InvalidProtocolBufferException ignored) {
                    return otherwise; // a detail that can't be read must not hide the error
                }
            }
        }
        return otherwise;
    }

    private static List<FieldViolation> violations(List<Any> details) {
        var found = new ArrayList<FieldViolation>();
        for (var each : find(details, BadRequest.class, BadRequest.getDefaultInstance()).getFieldViolationsList()) {
            found.add(new FieldViolation(each.getField(), each.getDescription()));
        }
        return List.copyOf(found);
    }

    private static Duration retryAfter(List<Any> details) {
        RetryInfo info = find(details, RetryInfo.class, null);
        return info == null ? null : Times.read(info.getRetryDelay());
    }
}
