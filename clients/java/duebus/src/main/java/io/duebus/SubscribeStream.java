package io.duebus;

import io.duebus.v1.EventBusGrpc;
import io.duebus.v1.SubscribeRequest;
import io.duebus.v1.SubscribeResponse;
import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.StreamObserver;
import java.util.concurrent.BlockingQueue;

/** One stream, whose frames arrive in a queue, then its end. The server's window bounds the queue. */
final class SubscribeStream {
    /**
     * An item of the queue: a frame, or the end of the stream with or without an error.
     *
     * @param from null: it only wakes the reader
     */
    record Arrival(SubscribeStream from, SubscribeResponse frame, DueBusException error) {
        static final Arrival WAKE = new Arrival(null, null, null);
    }

    private final ClientCall<SubscribeRequest, SubscribeResponse> call;

    private SubscribeStream(ClientCall<SubscribeRequest, SubscribeResponse> call) {
        this.call = call;
    }

    static SubscribeStream open(Connection connection, SubscribeRequest request, BlockingQueue<Arrival> arrivals) {
        var call = connection.streams().newCall(EventBusGrpc.getSubscribeMethod(), CallOptions.DEFAULT);
        var stream = new SubscribeStream(call);
        ClientCalls.asyncServerStreamingCall(call, request, new StreamObserver<>() {
            @Override
            public void onNext(SubscribeResponse frame) {
                arrivals.add(new Arrival(stream, frame, null));
            }

            @Override
            public void onError(Throwable error) {
                arrivals.add(new Arrival(stream, null, connection.typed(error)));
            }

            @Override
            public void onCompleted() {
                arrivals.add(new Arrival(stream, null, null));
            }
        });
        return stream;
    }

    void cancel() {
        call.cancel("the subscriber closes the stream", null);
    }
}
