package io.duebus;

import io.duebus.v1.Nack;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;

/** Decides what the end of a handler means for its event. */
final class Outcomes {
    /** How much of an error the bus keeps. */
    private static final int MAX_ERROR_BYTES = 4096;

    private Outcomes() {}

    static Nack nack(Delivery delivery, Throwable thrown) {
        var nack = Nack.newBuilder().setLeaseToken(delivery.leaseToken());
        if (thrown instanceof Release) {
            return nack.setRelease(true).build();
        }
        nack.setError(text(thrown));
        if (thrown instanceof DeadLetter) {
            nack.setDeadLetter(true);
        } else if (thrown instanceof RetryAfter later) {
            nack.setDelay(Times.proto(later.delay()));
        } else if (thrown instanceof RateLimited limited) {
            nack.setPause(pause(limited));
            boolean hasNoKey = limited.scope() == RateLimited.Scope.KEY && delivery.key().isEmpty();
            return hasNoKey ? retryInstead(nack.build()) : nack.build();
        }
        return nack.build();
    }

    private static Nack.Pause pause(RateLimited limited) {
        var scope = limited.scope() == RateLimited.Scope.KEY ? Nack.Pause.Scope.SCOPE_KEY : Nack.Pause.Scope.SCOPE_GROUP;
        return Nack.Pause.newBuilder().setDuration(Times.proto(limited.after())).setScope(scope).build();
    }

    /** The nack without its pause: a retry after the same time. */
    static Nack retryInstead(Nack nack) {
        return nack.toBuilder().clearPause().setDelay(nack.getPause().getDuration()).build();
    }

    static Nack release(String leaseToken) {
        return Nack.newBuilder().setLeaseToken(leaseToken).setRelease(true).build();
    }

    static Nack failed(String leaseToken, String why) {
        return Nack.newBuilder().setLeaseToken(leaseToken).setError(why).build();
    }

    /** Whether a handler threw this deliberately. */
    static boolean isDeliberate(Throwable thrown) {
        return thrown instanceof RetryAfter
                || thrown instanceof RateLimited
                || thrown instanceof DeadLetter
                || thrown instanceof Release;
    }

    /** The text of what was thrown, cut to 4 KiB of UTF-8. One without a readable text is still a failure. */
    private static String text(Throwable thrown) {
        try {
            String text = isDeliberate(thrown) ? thrown.getMessage() : thrown.toString();
            return cut(text == null ? thrown.getClass().getSimpleName() : text);
        } catch (Throwable ignored) {
            return thrown.getClass().getName();
        }
    }

    private static String cut(String text) {
        var encoder = StandardCharsets.UTF_8.newEncoder()
                .onMalformedInput(CodingErrorAction.REPLACE)
                .onUnmappableCharacter(CodingErrorAction.REPLACE);
        var bytes = ByteBuffer.allocate(MAX_ERROR_BYTES);
        encoder.encode(CharBuffer.wrap(text), bytes, true); // stops before a character that does not fit
        return StandardCharsets.UTF_8.decode(bytes.flip()).toString();
    }
}
