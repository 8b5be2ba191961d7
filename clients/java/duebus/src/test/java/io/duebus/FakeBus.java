package io.duebus;

import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.protobuf.Message;
import com.google.rpc.ErrorInfo;
import io.duebus.v1.AckRequest;
import io.duebus.v1.AckResponse;
import io.duebus.v1.Closing;
import io.duebus.v1.Deliveries;
import io.duebus.v1.DispatchRequest;
import io.duebus.v1.DispatchResponse;
import io.duebus.v1.EventBusAdminGrpc;
import io.duebus.v1.EventBusGrpc;
import io.duebus.v1.ExtendRequest;
import io.duebus.v1.ExtendResponse;
import io.duebus.v1.LeaseFailure;
import io.duebus.v1.ListKeysRequest;
import io.duebus.v1.ListKeysResponse;
import io.duebus.v1.NackRequest;
import io.duebus.v1.NackResponse;
import io.duebus.v1.PurgeEventsRequest;
import io.duebus.v1.PurgeEventsResponse;
import io.duebus.v1.Started;
import io.duebus.v1.SubscribeRequest;
import io.duebus.v1.SubscribeResponse;
import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;

/** A server whose answers the test sets. Its queues hold the requests. */
final class FakeBus extends EventBusGrpc.EventBusImplBase implements AutoCloseable {
    /** The timeout of each wait for something that must come. */
    static final Duration WAIT_TIMEOUT = Duration.ofSeconds(30);

    final BlockingQueue<DispatchRequest> dispatches = new LinkedBlockingQueue<>();
    final BlockingQueue<AckRequest> acks = new LinkedBlockingQueue<>();
    final BlockingQueue<NackRequest> nacks = new LinkedBlockingQueue<>();
    final BlockingQueue<ExtendRequest> extend = new LinkedBlockingQueue<>();
    final BlockingQueue<Stream> streams;
    final BlockingQueue<ListKeysRequest> keyPages = new LinkedBlockingQueue<>();
    final BlockingQueue<PurgeEventsRequest> purges = new LinkedBlockingQueue<>();
    /** Thrown instead of the answer to the next admin calls; one each. */
    final BlockingQueue<StatusRuntimeException> adminFailures = new LinkedBlockingQueue<>();
    final FakeSchedules schedules = new FakeSchedules();
    final BlockingQueue<String> tokens = new LinkedBlockingQueue<>();

    volatile Function<DispatchRequest, DispatchResponse> onDispatch = FakeBus::stored;
    volatile Function<AckRequest, AckResponse> onAck = request -> AckResponse.getDefaultInstance();
    volatile Function<NackRequest, NackResponse> onNack = request -> NackResponse.getDefaultInstance();
    volatile Function<ExtendRequest, ExtendResponse> onExtend = request -> ExtendResponse.getDefaultInstance();
    volatile Function<SubscribeRequest, Started.Builder> onSubscribe = request -> Started.newBuilder();

    private final Server server;

    FakeBus() throws IOException {
        this(new LinkedBlockingQueue<>());
    }

    /** Two servers can have one queue of streams. */
    FakeBus(BlockingQueue<Stream> streams) throws IOException {
        this.streams = streams;
        server = Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create())
                .addService(this)
                .addService(schedules)
                .addService(new Admin())
                .intercept(new TokenReader())
                .build()
                .start();
    }

    String address() {
        return "127.0.0.1:" + server.getPort();
    }

    @Override
    public void close() {
        server.shutdownNow();
    }

    static <T> T next(BlockingQueue<T> queue) throws InterruptedException {
        T next = queue.poll(WAIT_TIMEOUT.toMillis(), TimeUnit.MILLISECONDS);
        if (next == null) {
            throw new AssertionError("nothing came within " + WAIT_TIMEOUT);
        }
        return next;
    }

    static DispatchResponse stored(DispatchRequest request) {
        var response = DispatchResponse.newBuilder();
        request.getEventsList().forEach(each -> response.addEventIds(each.getId().isEmpty() ? "new" : each.getId()));
        return response.build();
    }

    /** The error of the server with these details. */
    static StatusRuntimeException error(Status.Code code, Reason reason, Message... details) {
        var status = com.google.rpc.Status.newBuilder().setCode(code.value()).setMessage("as the test wants it");
        var info = ErrorInfo.newBuilder().setDomain("duebus").setReason(reason.name()).putMetadata("topic", "t");
        status.addDetails(Any.pack(info.build()));
        Arrays.stream(details).map(Any::pack).forEach(status::addDetails);
        return StatusProto.toStatusRuntimeException(status.build());
    }

    @Override
    public void dispatch(DispatchRequest request, StreamObserver<DispatchResponse> answer) {
        dispatches.add(request);
        answer(request, onDispatch, answer);
    }

    @Override
    public void ack(AckRequest request, StreamObserver<AckResponse> answer) {
        acks.add(request);
        answer(request, onAck, answer);
    }

    @Override
    public void nack(NackRequest request, StreamObserver<NackResponse> answer) {
        nacks.add(request);
        answer(request, onNack, answer);
    }

    @Override
    public void extend(ExtendRequest request, StreamObserver<ExtendResponse> answer) {
        extend.add(request);
        answer(request, onExtend, answer);
    }

    static <Q, R> void answer(Q request, Function<Q, R> how, StreamObserver<R> answer) {
        try {
            answer.onNext(how.apply(request));
            answer.onCompleted();
        } catch (RuntimeException error) {
            answer.onError(error);
        }
    }

    @Override
    public void subscribe(SubscribeRequest request, StreamObserver<SubscribeResponse> observer) {
        var stream = new Stream(request, (ServerCallStreamObserver<SubscribeResponse>) observer);
        try {
            var started = onSubscribe.apply(request);
            stream.send(SubscribeResponse.newBuilder()
                    .setStarted(started.setLease(request.getLease())
                            .setDisconnectGrace(com.google.protobuf.Duration.newBuilder().setSeconds(1)))
                    .build());
            streams.add(stream);
        } catch (RuntimeException error) {
            observer.onError(error);
        }
    }

    /** An open stream of a worker. */
    static final class Stream {
        final SubscribeRequest request;
        final CountDownLatch gone = new CountDownLatch(1);
        private final ServerCallStreamObserver<SubscribeResponse> observer;

        Stream(SubscribeRequest request, ServerCallStreamObserver<SubscribeResponse> observer) {
            this.request = request;
            this.observer = observer;
            observer.setOnCancelHandler(gone::countDown);
        }

        synchronized void send(SubscribeResponse frame) {
            observer.onNext(frame);
        }

        /** Delivers events whose lease tokens are "lease of" and their ids, and keys "key of" and them. */
        void deliver(String... eventIds) {
            deliverUntil(Instant.now().plusSeconds(30), eventIds);
        }

        /** Delivers events whose leases run out at that moment, by the engine's clock. */
        void deliverUntil(Instant expires, String... eventIds) {
            var deliveries = Deliveries.newBuilder();
            for (String id : eventIds) {
                deliveries.addDeliveriesBuilder()
                        .setTopic(request.getTopic())
                        .setGroup("default")
                        .setAttempt(1)
                        .setLeaseToken("lease of " + id)
                        .setLeaseExpiresAt(Times.proto(expires))
                        .setEvent(io.duebus.v1.Event.newBuilder()
                                .setId(id)
                                .setData(ByteString.copyFromUtf8(id))
                                .setKey("key of " + id));
            }
            send(SubscribeResponse.newBuilder().setDeliveries(deliveries).build());
        }

        /** Sends the frame that closes the stream, and ends it. */
        void close(Closing.Builder closing) {
            send(SubscribeResponse.newBuilder().setClosing(closing).build());
            observer.onCompleted();
        }

        void breakOff() {
            observer.onError(Status.UNAVAILABLE.withDescription("broken off").asRuntimeException());
        }
    }

    /** An answer that comes when the test says so. */
    static <Q, R> Function<Q, R> once(CompletableFuture<Void> allowed, R response) {
        return request -> {
            allowed.join();
            return response;
        };
    }

    /** Two pages of keys, and no dead letters. */
    private final class Admin extends EventBusAdminGrpc.EventBusAdminImplBase {
        @Override
        public void listKeys(ListKeysRequest request, StreamObserver<ListKeysResponse> answer) {
            keyPages.add(request);
            boolean first = request.getPageToken().isEmpty();
            var page = ListKeysResponse.newBuilder().setNextPageToken(first ? "2" : "");
            page.addKeysBuilder().setKey(first ? "a" : "b");
            answer(request, page.build(), answer);
        }

        @Override
        public void purgeEvents(PurgeEventsRequest request, StreamObserver<PurgeEventsResponse> answer) {
            purges.add(request);
            answer(request, PurgeEventsResponse.getDefaultInstance(), answer);
        }

        private <Q, R> void answer(Q request, R response, StreamObserver<R> answer) {
            var failure = adminFailures.poll();
            FakeBus.answer(
                    request,
                    each -> {
                        if (failure != null) {
                            throw failure;
                        }
                        return response;
                    },
                    answer);
        }
    }

    private final class TokenReader implements ServerInterceptor {
        private static final Metadata.Key<String> KEY =
                Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

        @Override
        public <Q, R> ServerCall.Listener<Q> interceptCall(
                ServerCall<Q, R> call, Metadata headers, ServerCallHandler<Q, R> next) {
            tokens.add(String.valueOf(headers.get(KEY)));
            return next.startCall(call, headers);
        }
    }

    static LeaseFailure failure(String leaseToken, LeaseFailure.Reason reason) {
        return LeaseFailure.newBuilder().setLeaseToken(leaseToken).setReason(reason).build();
    }

    static List<String> tokensOf(String... eventIds) {
        return Arrays.stream(eventIds).map(id -> "lease of " + id).toList();
    }
}
