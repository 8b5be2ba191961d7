package io.duebus;

import io.grpc.CallCredentials;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.stub.MetadataUtils;
import java.util.concurrent.Executor;
import java.util.function.Supplier;

/** A bearer token that is asked for anew before each call and each stream. */
final class TokenCredentials extends CallCredentials implements ClientInterceptor {
    private static final Metadata.Key<String> AUTHORIZATION =
            Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

    private final Supplier<String> tokens;

    TokenCredentials(Supplier<String> tokens) {
        this.tokens = tokens;
    }

    /** Sends a token that stays the same. */
    static ClientInterceptor fixed(String token) {
        return MetadataUtils.newAttachHeadersInterceptor(headers(token));
    }

    @Override
    public <Q, R> ClientCall<Q, R> interceptCall(MethodDescriptor<Q, R> method, CallOptions options, Channel next) {
        return next.newCall(method, options.withCallCredentials(this));
    }

    /** The executor may block. */
    @Override
    public void applyRequestMetadata(RequestInfo call, Executor executor, MetadataApplier applier) {
        executor.execute(() -> {
            Metadata headers;
            try {
                String token = tokens.get();
                if (token == null || token.isBlank()) { // for example a file that is being written
                    applier.fail(Status.UNAVAILABLE.withDescription("no token: it is empty"));
                    return;
                }
                headers = headers(token);
            } catch (DueBusException unusable) {
                applier.fail(Status.UNAUTHENTICATED.withDescription(unusable.getMessage()));
                return;
            } catch (Throwable error) { // a token service that is away is no reason to give up
                applier.fail(Status.UNAVAILABLE.withDescription("no token: " + error.getMessage()).withCause(error));
                return;
            }
            applier.apply(headers);
        });
    }

    private static Metadata headers(String given) {
        String token = given.strip();
        if (token.isEmpty() || !token.chars().allMatch(each -> each > ' ' && each < 127)) {
            throw DueBusException.invalid("token", "must be printable ASCII without spaces");
        }
        var headers = new Metadata();
        headers.put(AUTHORIZATION, "Bearer " + token);
        return headers;
    }
}
