package io.duebus;

import io.grpc.ChannelCredentials;
import io.grpc.ClientInterceptor;
import io.grpc.Grpc;
import io.grpc.ManagedChannel;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** Opens channels with options that suit the bus. */
final class Channels {
    private static final int MAX_RECEIVED_BYTES = 16 << 20;

    private Channels() {}

    /** @param interceptors of gRPC, the outermost first */
    static ManagedChannel open(String target, ChannelCredentials credentials, List<ClientInterceptor> interceptors) {
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
            // Of gRPC's own order the first is the innermost.
            for (int i = interceptors.size() - 1; i >= 0; i--) {
                builder.intercept(interceptors.get(i));
            }
            return builder.build();
        } catch (IllegalArgumentException error) {
            throw DueBusException.invalid("target", String.valueOf(error.getMessage()));
        }
    }
}
