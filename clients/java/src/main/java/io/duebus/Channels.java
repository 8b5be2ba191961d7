package io.duebus;

import io.grpc.ChannelCredentials;
import io.grpc.ClientInterceptor;
import io.grpc.Grpc;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.stub.MetadataUtils;
import java.util.concurrent.TimeUnit;

/** Opens channels with options that suit the bus. */
final class Channels {
    private static final int MAX_RECEIVED_BYTES = 16 << 20;

    private static final Metadata.Key<String> AUTHORIZATION =
            Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

    private Channels() {}

    /** The token may be null. */
    static ManagedChannel open(String target, ChannelCredentials credentials, String token) {
        String resolvable = ServerList.target(target);
        try {
            // The client retries itself: it keeps the request id and knows which errors a retry can cure. A
            // connection that died silently is noticed within 40 s, even while nothing is called. With several servers,
            // all are connected and calls are spread over them: a stream whose server drains moves to another.
            var builder = Grpc.newChannelBuilder(resolvable, credentials)
                    .userAgent("duebus-java")
                    .disableRetry()
                    .defaultLoadBalancingPolicy("round_robin")
                    .maxInboundMessageSize(MAX_RECEIVED_BYTES)
                    .keepAliveTime(25, TimeUnit.SECONDS)
                    .keepAliveTimeout(10, TimeUnit.SECONDS)
                    .keepAliveWithoutCalls(true);
            return (token == null ? builder : builder.intercept(bearer(token))).build();
        } catch (IllegalArgumentException error) {
            throw DueBusException.invalid("target", String.valueOf(error.getMessage()));
        }
    }

    private static ClientInterceptor bearer(String token) {
        if (token.isEmpty() || !token.chars().allMatch(each -> each > ' ' && each < 127)) {
            throw DueBusException.invalid("token", "must be printable ASCII without spaces");
        }
        var headers = new Metadata();
        headers.put(AUTHORIZATION, "Bearer " + token);
        return MetadataUtils.newAttachHeadersInterceptor(headers);
    }
}
