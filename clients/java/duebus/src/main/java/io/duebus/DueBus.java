package io.duebus;

import io.duebus.v1.DispatchRequest;
import io.duebus.v1.Engine;
import io.duebus.v1.EventBusAdminGrpc;
import io.duebus.v1.EventBusGrpc;
import io.duebus.v1.LeaseFailure;
import io.duebus.v1.Nack;
import io.duebus.v1.StopRequest;
import io.duebus.v1.StopResponse;
import io.duebus.v1.StoppedEngine;
import io.grpc.ChannelCredentials;
import io.grpc.ClientInterceptor;
import io.grpc.InsecureChannelCredentials;
import io.grpc.TlsChannelCredentials;
import java.io.IOException;
import java.io.InputStream;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * A client of the bus. It connects on the first call and reconnects automatically. Its methods may be called by many
 * threads at once.
 *
 * <p>A call is retried with a growing backoff while the server is unavailable, until it succeeds or its deadline
 * passes: a dispatch has a request id, so a retry adds nothing, and a lease is settled only once. {@link
 * #stop}, {@link #subscribe}, {@link #isServing}, the calls of {@link #eventBus} and {@link #adminStub}, and those of {@link
 * #admin} whose answer counts what they did are not repeated.
 *
 * <p>Every method that waits throws {@link DueBusException}. Its twin whose name ends in Async returns at once, and its
 * future completes with that exception. Interrupting a thread that waits cancels the call.
 */
public final class DueBus implements AutoCloseable {
    private final Connection connection;
    private final Settles settles;
    private final Dispatcher dispatcher;
    private final ExecutorService completions = Threads.pool("duebus-result");

    private final Interceptors interceptors;

    private DueBus(Connection connection, Interceptors interceptors) {
        this.connection = connection;
        this.interceptors = interceptors;
        this.settles = new Settles(connection);
        this.dispatcher = new Dispatcher(connection);
    }

    /** A client with the defaults: plaintext, no token, a timeout of 30 s. See {@link #builder}. */
    public static DueBus connect(String target) {
        return builder(target).build();
    }

    /**
     * Starts building a client of the server at a target: {@code host:port}, several of them separated by commas, or any
     * other name that gRPC resolves. Several servers are replicas that share one Redis; calls are spread over those that
     * answer.
     */
    public static Builder builder(String target) {
        return new Builder(target);
    }

    /** Stores an event, to be delivered to each group of the topic, now or when it is due. */
    public Dispatched dispatch(String topic, Event event) {
        return dispatch(topic, event, DispatchOptions.none());
    }

    /**
     * Stores an event, to be delivered to each group of the topic, now or when it is due.
     *
     * <p>Calls for one topic that are made while another is running share the next request to the server. One with a
     * request id, or for several engines, has a request of its own.
     *
     * @param topic {@code [A-Za-z0-9][A-Za-z0-9._-]{0,254}}
     * @throws DueBusException INVALID_ARGUMENT, NO_DISPATCHER_SPECIFIED, NO_HANDLER_FOUND, MAX_QUEUED_EVENTS_REACHED,
     *     UNAVAILABLE, DEADLINE_EXCEEDED
     */
    public Dispatched dispatch(String topic, Event event, DispatchOptions options) {
        return Connection.await(dispatch(topic, event, options, Runnable::run));
    }

    /** As {@link #dispatch(String, Event)}, without waiting. */
    public CompletableFuture<Dispatched> dispatchAsync(String topic, Event event) {
        return dispatchAsync(topic, event, DispatchOptions.none());
    }

    /** As {@link #dispatch(String, Event, DispatchOptions)}, without waiting. */
    public CompletableFuture<Dispatched> dispatchAsync(String topic, Event event, DispatchOptions options) {
        // What depends on the future may block. It must not hold up the others of a shared call.
        return dispatch(topic, event, options, completions);
    }

    private CompletableFuture<Dispatched> dispatch(
            String topic, Event event, DispatchOptions options, Executor completions) {
        var given = List.of(Objects.requireNonNull(event, "event"));
        return first(interceptors.dispatch(topic, given, events -> options.mayShare()
                ? dispatcher.dispatch(options.encode(topic, events), options.timeout(), completions)
                : send(options.encode(topic, events), options)));
    }

    /** Cancelling it cancels the dispatch. */
    private static CompletableFuture<Dispatched> first(CompletableFuture<List<Dispatched>> results) {
        var first = new CompletableFuture<Dispatched>();
        results.whenComplete((dispatched, error) -> {
            if (error != null) {
                first.completeExceptionally(error);
            } else if (dispatched.isEmpty()) {
                String message = "an interceptor has returned no result for the event";
                first.completeExceptionally(new DueBusException(Reason.INTERNAL, message));
            } else {
                first.complete(dispatched.get(0));
            }
        });
        first.whenComplete((dispatched, error) -> {
            if (first.isCancelled()) {
                results.cancel(true);
            }
        });
        return first;
    }

    private CompletableFuture<List<Dispatched>> send(DispatchRequest request, DispatchOptions options) {
        return connection.repeat(
                EventBusGrpc.getDispatchMethod(),
                request,
                options.timeout(),
                (response, again) -> Dispatched.read(response, request.getEventsCount()));
    }

    /** Stores 1 to 1000 events, of at most 4 MiB together: all of them or none. */
    public List<Dispatched> dispatchAll(String topic, List<Event> events) {
        return dispatchAll(topic, events, DispatchOptions.none());
    }

    /**
     * Stores 1 to 1000 events, of at most 4 MiB together: all of them or none.
     *
     * @return the outcome for each event, in order
     * @throws DueBusException as in {@link #dispatch(String, Event, DispatchOptions)}
     */
    public List<Dispatched> dispatchAll(String topic, List<Event> events, DispatchOptions options) {
        return Connection.await(dispatchAllAsync(topic, events, options));
    }

    /** As {@link #dispatchAll(String, List)}, without waiting. */
    public CompletableFuture<List<Dispatched>> dispatchAllAsync(String topic, List<Event> events) {
        return dispatchAllAsync(topic, events, DispatchOptions.none());
    }

    /** As {@link #dispatchAll(String, List, DispatchOptions)}, without waiting. */
    public CompletableFuture<List<Dispatched>> dispatchAllAsync(
            String topic, List<Event> events, DispatchOptions options) {
        return interceptors.dispatch(topic, events, given -> send(options.encode(topic, given), options));
    }

    /** Opens one stream of a topic's events in the group "default", and waits until it has started. */
    public EventStream subscribe(String topic) {
        return subscribe(topic, options -> {});
    }

    /**
     * Opens one stream of a topic's events, and waits until it has started. It is not retried.
     *
     * @throws DueBusException INVALID_ARGUMENT, NO_DISPATCHER_SPECIFIED, MAX_STREAMS_REACHED, UNAVAILABLE,
     *     DEADLINE_EXCEEDED
     */
    public EventStream subscribe(String topic, Consumer<SubscribeOptions> set) {
        var options = new SubscribeOptions(topic, connection.timeout());
        set.accept(options);
        return EventStream.open(connection, options);
    }

    /**
     * Removes delivered events from their group: they are done. A {@link Worker} does that automatically: this, {@link
     * #nack} and {@link #extend} are for programs that read an {@link EventStream}.
     *
     * @return the leases that were not acked, and why
     */
    public List<LeaseFailure> ack(Collection<String> leaseTokens) {
        return Connection.await(settles.ack(leaseTokens));
    }

    /** As {@link #ack}, without waiting. */
    public CompletableFuture<List<LeaseFailure>> ackAsync(Collection<String> leaseTokens) {
        return settles.ack(leaseTokens);
    }

    /** Gives delivered events back, each in its own way. Returns the leases that were not given back, and why. */
    public List<LeaseFailure> nack(Collection<Nack> nacks) {
        return Connection.await(settles.nack(nacks));
    }

    /** As {@link #nack}, without waiting. */
    public CompletableFuture<List<LeaseFailure>> nackAsync(Collection<Nack> nacks) {
        return settles.nack(nacks);
    }

    /**
     * Renews leases. Returns the leases that were not renewed, and why.
     *
     * @param lease how long from now they expire, 100 ms to 12 h; null: the topic's setting
     */
    public List<LeaseFailure> extend(Collection<String> leaseTokens, @Nullable Duration lease) {
        return Connection.await(settles.extend(leaseTokens, lease));
    }

    /** As {@link #extend}, without waiting. */
    public CompletableFuture<List<LeaseFailure>> extendAsync(Collection<String> leaseTokens, @Nullable Duration lease) {
        return settles.extend(leaseTokens, lease);
    }

    /**
     * Drains engines and stops them, all if none is named; when none is left, the server process ends. It returns when
     * that is done, however long it takes. It is not retried, because a server that has stopped can't answer.
     *
     * @param drainTimeout how long to wait for leases to be settled, 0 to 1 h; null: the server's setting
     */
    public List<StoppedEngine> stop(@Nullable Duration drainTimeout, Engine... engines) {
        return Connection.await(stopAsync(drainTimeout, engines)).getEnginesList();
    }

    /** As {@link #stop}, without waiting. */
    public CompletableFuture<StopResponse> stopAsync(@Nullable Duration drainTimeout, Engine... engines) {
        var request = StopRequest.newBuilder().addAllEngines(List.of(engines));
        if (drainTimeout != null) {
            request.setDrainTimeout(Times.proto(drainTimeout));
        }
        return connection.unlimited(EventBusGrpc.getStopMethod(), request.build(), Function.identity());
    }

    /**
     * The generated stubs, on the same connection and with the same credentials. They throw gRPC's own exceptions:
     * {@link DueBusException#of} reads them.
     */
    public EventBusGrpc.EventBusStub eventBus() {
        return EventBusGrpc.newStub(connection.calls());
    }

    /** The generated stubs of the admin calls, likewise. */
    public EventBusAdminGrpc.EventBusAdminStub adminStub() {
        return EventBusAdminGrpc.newStub(connection.calls());
    }

    /**
     * The admin calls. They have this client's timeout, except those that take as long as their work takes, which have
     * none.
     */
    public Admin admin() {
        return new Admin(connection, Engine.ENGINE_UNSPECIFIED, null);
    }

    /** Rules that dispatch an event again and again; the calls have this client's timeout. */
    public Schedules schedules() {
        return new Schedules(connection, Engine.ENGINE_UNSPECIFIED, connection.timeout());
    }

    /**
     * Asks the gRPC health service whether the server accepts new work: false while it drains. It is not retried.
     *
     * @param service one of the server's services, such as {@code duebus.v1.EventBus}; empty: the server as a whole
     * @throws DueBusException NOT_FOUND: the server has no such service
     */
    public boolean isServing(String service) {
        return Connection.await(isServingAsync(service));
    }

    /** As {@link #isServing}, without waiting. */
    public CompletableFuture<Boolean> isServingAsync(String service) {
        return Health.isServing(connection, service);
    }

    Connection connection() {
        return connection;
    }

    Interceptors interceptors() {
        return interceptors;
    }

    /**
     * Ends open calls and subscriptions and disconnects. Workers of the client end with CLIENT_CLOSED: close them
     * first. Closing twice is not an error.
     */
    @Override
    public void close() {
        connection.close();
        completions.shutdown();
    }

    /** Builds a client. */
    public static final class Builder {
        private final String target;
        private Duration timeout = Duration.ofSeconds(30);
        private ChannelCredentials credentials = InsecureChannelCredentials.create();
        private ClientInterceptor authorization;
        private final List<Interceptor> interceptors = new ArrayList<>();
        private final List<ClientInterceptor> grpcInterceptors = new ArrayList<>();

        private Builder(String target) {
            this.target = Objects.requireNonNull(target, "target");
        }

        /** How long a call may take, including retries: 30 s by default. */
        public Builder timeout(Duration timeout) {
            this.timeout = Checks.positive("timeout", timeout);
            return this;
        }

        /** Connects with TLS and trusts the authorities that Java trusts. Without it, connections are plaintext. */
        public Builder tls() {
            return credentials(TlsChannelCredentials.create());
        }

        /** Connects with TLS and trusts the authorities of a PEM file. */
        public Builder tls(InputStream authorities) throws IOException {
            return credentials(TlsChannelCredentials.newBuilder().trustManager(authorities).build());
        }

        /** Connects with these credentials: TLS with a client's certificate, for example. */
        public Builder credentials(ChannelCredentials credentials) {
            this.credentials = Objects.requireNonNull(credentials, "credentials");
            return this;
        }

        /**
         * A bearer token, sent with each call; empty: none. Over plaintext, anyone on the network path can read it.
         *
         * @throws DueBusException INVALID_ARGUMENT: it can't be sent
         */
        public Builder token(String token) {
            boolean isGiven = !Objects.requireNonNull(token, "token").isEmpty();
            this.authorization = isGiven ? TokenCredentials.fixed(token) : null;
            return this;
        }

        /**
         * Asks for a bearer token before each call and each stream, on a thread that may block. While the supplier fails
         * or has no token, calls fail with UNAVAILABLE and are retried, and workers reconnect. White space around a token is
         * left out. A token is best kept by the supplier until shortly before it expires.
         */
        public Builder tokenProvider(Supplier<String> tokens) {
            this.authorization = new TokenCredentials(Objects.requireNonNull(tokens, "tokens"));
            return this;
        }

        /** Adds an interceptor, within those that were added before. */
        public Builder intercept(Interceptor interceptor) {
            interceptors.add(Objects.requireNonNull(interceptor, "interceptor"));
            return this;
        }

        /** Adds an interceptor of gRPC's calls and streams, within those that were added before. */
        public Builder intercept(ClientInterceptor interceptor) {
            grpcInterceptors.add(Objects.requireNonNull(interceptor, "interceptor"));
            return this;
        }

        /**
         * Makes the client. It does not connect yet.
         *
         * @throws DueBusException INVALID_ARGUMENT: the target or the credentials can't be used
         */
        public DueBus build() {
            var chain = new Interceptors(interceptors);
            var around = new ArrayList<ClientInterceptor>(grpcInterceptors);
            if (!interceptors.isEmpty()) {
                around.add(chain);
            }
            if (authorization != null) {
                around.add(authorization);
            }
            var calls = Channels.open(target, credentials, around);
            return new DueBus(new Connection(calls, Channels.open(target, credentials, around), timeout), chain);
        }
    }
}
