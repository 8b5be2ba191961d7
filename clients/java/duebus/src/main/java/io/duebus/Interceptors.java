package io.duebus;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;

/** The interceptors of a client, in one chain. */
final class Interceptors implements ClientInterceptor {
    private final List<Interceptor> innermostFirst;

    /** @param given the outermost first */
    Interceptors(List<Interceptor> given) {
        innermostFirst = new ArrayList<>(given);
        java.util.Collections.reverse(innermostFirst);
    }

    CompletableFuture<List<Dispatched>> dispatch(String topic, List<Event> events, Interceptor.Dispatching send) {
        var chain = caught(send);
        for (var each : innermostFirst) {
            var next = chain;
            chain = caught(given -> each.dispatch(topic, given, next));
        }
        return chain.dispatch(events);
    }

    /** What it throws is the error of its future. */
    private static Interceptor.Dispatching caught(Interceptor.Dispatching dispatching) {
        return events -> {
            try {
                return Objects.requireNonNull(dispatching.dispatch(events), "an interceptor has returned null");
            } catch (RuntimeException error) {
                return CompletableFuture.failedFuture(DueBusException.of(error));
            }
        };
    }

    Handler around(Handler handler) {
        var chain = handler;
        for (var each : innermostFirst) {
            var next = chain;
            chain = delivery -> each.handle(delivery, next);
        }
        return chain;
    }

    /** Adds the metadata to each call. */
    @Override
    public <Q, R> ClientCall<Q, R> interceptCall(MethodDescriptor<Q, R> method, CallOptions options, Channel next) {
        return new ForwardingClientCall.SimpleForwardingClientCall<>(next.newCall(method, options)) {
            @Override
            public void start(Listener<R> listener, Metadata headers) {
                for (var each : innermostFirst) {
                    each.metadata().forEach((name, value) ->
                            headers.put(Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER), value));
                }
                super.start(listener, headers);
            }
        };
    }
}
