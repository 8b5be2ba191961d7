package io.duebus.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class EventBusGrpc {

  private EventBusGrpc() {}

  public static final java.lang.String SERVICE_NAME = "duebus.v1.EventBus";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<io.duebus.v1.DispatchRequest,
      io.duebus.v1.DispatchResponse> getDispatchMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Dispatch",
      requestType = io.duebus.v1.DispatchRequest.class,
      responseType = io.duebus.v1.DispatchResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.duebus.v1.DispatchRequest,
      io.duebus.v1.DispatchResponse> getDispatchMethod() {
    io.grpc.MethodDescriptor<io.duebus.v1.DispatchRequest, io.duebus.v1.DispatchResponse> getDispatchMethod;
    if ((getDispatchMethod = EventBusGrpc.getDispatchMethod) == null) {
      synchronized (EventBusGrpc.class) {
        if ((getDispatchMethod = EventBusGrpc.getDispatchMethod) == null) {
          EventBusGrpc.getDispatchMethod = getDispatchMethod =
              io.grpc.MethodDescriptor.<io.duebus.v1.DispatchRequest, io.duebus.v1.DispatchResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Dispatch"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.DispatchRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.DispatchResponse.getDefaultInstance()))
              .setSchemaDescriptor(new EventBusMethodDescriptorSupplier("Dispatch"))
              .build();
        }
      }
    }
    return getDispatchMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.duebus.v1.SubscribeRequest,
      io.duebus.v1.SubscribeResponse> getSubscribeMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Subscribe",
      requestType = io.duebus.v1.SubscribeRequest.class,
      responseType = io.duebus.v1.SubscribeResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<io.duebus.v1.SubscribeRequest,
      io.duebus.v1.SubscribeResponse> getSubscribeMethod() {
    io.grpc.MethodDescriptor<io.duebus.v1.SubscribeRequest, io.duebus.v1.SubscribeResponse> getSubscribeMethod;
    if ((getSubscribeMethod = EventBusGrpc.getSubscribeMethod) == null) {
      synchronized (EventBusGrpc.class) {
        if ((getSubscribeMethod = EventBusGrpc.getSubscribeMethod) == null) {
          EventBusGrpc.getSubscribeMethod = getSubscribeMethod =
              io.grpc.MethodDescriptor.<io.duebus.v1.SubscribeRequest, io.duebus.v1.SubscribeResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Subscribe"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.SubscribeRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.SubscribeResponse.getDefaultInstance()))
              .setSchemaDescriptor(new EventBusMethodDescriptorSupplier("Subscribe"))
              .build();
        }
      }
    }
    return getSubscribeMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.duebus.v1.AckRequest,
      io.duebus.v1.AckResponse> getAckMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Ack",
      requestType = io.duebus.v1.AckRequest.class,
      responseType = io.duebus.v1.AckResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.duebus.v1.AckRequest,
      io.duebus.v1.AckResponse> getAckMethod() {
    io.grpc.MethodDescriptor<io.duebus.v1.AckRequest, io.duebus.v1.AckResponse> getAckMethod;
    if ((getAckMethod = EventBusGrpc.getAckMethod) == null) {
      synchronized (EventBusGrpc.class) {
        if ((getAckMethod = EventBusGrpc.getAckMethod) == null) {
          EventBusGrpc.getAckMethod = getAckMethod =
              io.grpc.MethodDescriptor.<io.duebus.v1.AckRequest, io.duebus.v1.AckResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Ack"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.AckRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.AckResponse.getDefaultInstance()))
              .setSchemaDescriptor(new EventBusMethodDescriptorSupplier("Ack"))
              .build();
        }
      }
    }
    return getAckMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.duebus.v1.NackRequest,
      io.duebus.v1.NackResponse> getNackMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Nack",
      requestType = io.duebus.v1.NackRequest.class,
      responseType = io.duebus.v1.NackResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.duebus.v1.NackRequest,
      io.duebus.v1.NackResponse> getNackMethod() {
    io.grpc.MethodDescriptor<io.duebus.v1.NackRequest, io.duebus.v1.NackResponse> getNackMethod;
    if ((getNackMethod = EventBusGrpc.getNackMethod) == null) {
      synchronized (EventBusGrpc.class) {
        if ((getNackMethod = EventBusGrpc.getNackMethod) == null) {
          EventBusGrpc.getNackMethod = getNackMethod =
              io.grpc.MethodDescriptor.<io.duebus.v1.NackRequest, io.duebus.v1.NackResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Nack"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.NackRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.NackResponse.getDefaultInstance()))
              .setSchemaDescriptor(new EventBusMethodDescriptorSupplier("Nack"))
              .build();
        }
      }
    }
    return getNackMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.duebus.v1.ExtendRequest,
      io.duebus.v1.ExtendResponse> getExtendMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Extend",
      requestType = io.duebus.v1.ExtendRequest.class,
      responseType = io.duebus.v1.ExtendResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.duebus.v1.ExtendRequest,
      io.duebus.v1.ExtendResponse> getExtendMethod() {
    io.grpc.MethodDescriptor<io.duebus.v1.ExtendRequest, io.duebus.v1.ExtendResponse> getExtendMethod;
    if ((getExtendMethod = EventBusGrpc.getExtendMethod) == null) {
      synchronized (EventBusGrpc.class) {
        if ((getExtendMethod = EventBusGrpc.getExtendMethod) == null) {
          EventBusGrpc.getExtendMethod = getExtendMethod =
              io.grpc.MethodDescriptor.<io.duebus.v1.ExtendRequest, io.duebus.v1.ExtendResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Extend"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.ExtendRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.ExtendResponse.getDefaultInstance()))
              .setSchemaDescriptor(new EventBusMethodDescriptorSupplier("Extend"))
              .build();
        }
      }
    }
    return getExtendMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.duebus.v1.StopRequest,
      io.duebus.v1.StopResponse> getStopMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Stop",
      requestType = io.duebus.v1.StopRequest.class,
      responseType = io.duebus.v1.StopResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.duebus.v1.StopRequest,
      io.duebus.v1.StopResponse> getStopMethod() {
    io.grpc.MethodDescriptor<io.duebus.v1.StopRequest, io.duebus.v1.StopResponse> getStopMethod;
    if ((getStopMethod = EventBusGrpc.getStopMethod) == null) {
      synchronized (EventBusGrpc.class) {
        if ((getStopMethod = EventBusGrpc.getStopMethod) == null) {
          EventBusGrpc.getStopMethod = getStopMethod =
              io.grpc.MethodDescriptor.<io.duebus.v1.StopRequest, io.duebus.v1.StopResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Stop"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.StopRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.StopResponse.getDefaultInstance()))
              .setSchemaDescriptor(new EventBusMethodDescriptorSupplier("Stop"))
              .build();
        }
      }
    }
    return getStopMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static EventBusStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<EventBusStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<EventBusStub>() {
        @java.lang.Override
        public EventBusStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new EventBusStub(channel, callOptions);
        }
      };
    return EventBusStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static EventBusBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<EventBusBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<EventBusBlockingV2Stub>() {
        @java.lang.Override
        public EventBusBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new EventBusBlockingV2Stub(channel, callOptions);
        }
      };
    return EventBusBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static EventBusBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<EventBusBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<EventBusBlockingStub>() {
        @java.lang.Override
        public EventBusBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new EventBusBlockingStub(channel, callOptions);
        }
      };
    return EventBusBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static EventBusFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<EventBusFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<EventBusFutureStub>() {
        @java.lang.Override
        public EventBusFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new EventBusFutureStub(channel, callOptions);
        }
      };
    return EventBusFutureStub.newStub(factory, channel);
  }

  /**
   */
  public interface AsyncService {

    /**
     * <pre>
     * Stores 1 to 1000 events under one topic, all of them or none.
     * When the call has answered OK on the redis engine, each event is delivered to every group of the topic until it is
     * acked, dead or cancelled, whatever process dies; on the local engine the same holds for as long as the server
     * process lives. A topic without a group keeps its events for the first group that subscribes.
     * Repeating a call with the same `request_id` within the topic's dedupe window (10 minutes by default) returns the
     * first answer and adds nothing, so a call that failed with UNAVAILABLE or DEADLINE_EXCEEDED can be repeated safely.
     * A repetition has as many events, with the same ids or without one; all else of them is not compared. A `request_id`
     * that was used for other events is INVALID_ARGUMENT, and nothing is stored.
     * Errors: INVALID_ARGUMENT (NO_TOPIC_SPECIFIED, NO_EVENT_SPECIFIED, INVALID_ARGUMENT), FAILED_PRECONDITION
     * (NO_DISPATCHER_SPECIFIED, NO_HANDLER_FOUND), RESOURCE_EXHAUSTED (MAX_QUEUED_EVENTS_REACHED),
     * UNAVAILABLE (DISPATCHER_NOT_WORKING). In every one of them nothing was stored, but for a PartialDispatch.
     * </pre>
     */
    default void dispatch(io.duebus.v1.DispatchRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.DispatchResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getDispatchMethod(), responseObserver);
    }

    /**
     * <pre>
     * Delivers the topic's due events to the caller, in batches, for as long as the stream stays open.
     * The first frame is always `started`: when it has come, the group exists and nothing dispatched afterwards is
     * missed. Each delivery is a lease: settle it with Ack or Nack, on any replica, before `lease_expires_at`, or extend
     * it. No more than `max_in_flight` events and `max_in_flight_bytes` are leased to the stream at once. When the
     * stream breaks, its leases run out after `disconnect_grace`.
     * Errors: INVALID_ARGUMENT, FAILED_PRECONDITION (NO_DISPATCHER_SPECIFIED), UNAVAILABLE (DISPATCHER_NOT_WORKING).
     * </pre>
     */
    default void subscribe(io.duebus.v1.SubscribeRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.SubscribeResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getSubscribeMethod(), responseObserver);
    }

    /**
     * <pre>
     * Removes delivered events from their group: they are done.
     * Tokens that can't be settled are reported in `failures` and change nothing; the others are carried out. Acking
     * twice is harmless: the second time is reported as REASON_SETTLED.
     * Errors: INVALID_ARGUMENT when there is no token or there are more than 10,000.
     * </pre>
     */
    default void ack(io.duebus.v1.AckRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.AckResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getAckMethod(), responseObserver);
    }

    /**
     * <pre>
     * Gives delivered events back: to be retried after a backoff or a delay, to the dead letters, or unhandled.
     * Failures are reported one by one, as in Ack.
     * Errors: INVALID_ARGUMENT when there is no nack, there are more than 10,000, or a field of one is out of range; then
     * none is carried out.
     * </pre>
     */
    default void nack(io.duebus.v1.NackRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.NackResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getNackMethod(), responseObserver);
    }

    /**
     * <pre>
     * Renews leases: they expire `lease` from now. Failures are reported one by one, as in Ack.
     * Errors: INVALID_ARGUMENT when there is no token, there are more than 10,000, or `lease` is out of range.
     * </pre>
     */
    default void extend(io.duebus.v1.ExtendRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.ExtendResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getExtendMethod(), responseObserver);
    }

    /**
     * <pre>
     * Drains engines and stops them; when none is left, the server process ends with status 0.
     * At once: health turns to NOT_SERVING, Dispatch and Subscribe answer UNAVAILABLE, open streams get `closing` and
     * end. Settles are still accepted until all leases are settled or `drain_timeout` has passed; the leases that remain
     * are then given back without counting an attempt. Answers when that is done.
     * Errors: INVALID_ARGUMENT, FAILED_PRECONDITION (NO_DISPATCHER_SPECIFIED).
     * </pre>
     */
    default void stop(io.duebus.v1.StopRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.StopResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getStopMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service EventBus.
   */
  public static abstract class EventBusImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return EventBusGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service EventBus.
   */
  public static final class EventBusStub
      extends io.grpc.stub.AbstractAsyncStub<EventBusStub> {
    private EventBusStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected EventBusStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new EventBusStub(channel, callOptions);
    }

    /**
     * <pre>
     * Stores 1 to 1000 events under one topic, all of them or none.
     * When the call has answered OK on the redis engine, each event is delivered to every group of the topic until it is
     * acked, dead or cancelled, whatever process dies; on the local engine the same holds for as long as the server
     * process lives. A topic without a group keeps its events for the first group that subscribes.
     * Repeating a call with the same `request_id` within the topic's dedupe window (10 minutes by default) returns the
     * first answer and adds nothing, so a call that failed with UNAVAILABLE or DEADLINE_EXCEEDED can be repeated safely.
     * A repetition has as many events, with the same ids or without one; all else of them is not compared. A `request_id`
     * that was used for other events is INVALID_ARGUMENT, and nothing is stored.
     * Errors: INVALID_ARGUMENT (NO_TOPIC_SPECIFIED, NO_EVENT_SPECIFIED, INVALID_ARGUMENT), FAILED_PRECONDITION
     * (NO_DISPATCHER_SPECIFIED, NO_HANDLER_FOUND), RESOURCE_EXHAUSTED (MAX_QUEUED_EVENTS_REACHED),
     * UNAVAILABLE (DISPATCHER_NOT_WORKING). In every one of them nothing was stored, but for a PartialDispatch.
     * </pre>
     */
    public void dispatch(io.duebus.v1.DispatchRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.DispatchResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getDispatchMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Delivers the topic's due events to the caller, in batches, for as long as the stream stays open.
     * The first frame is always `started`: when it has come, the group exists and nothing dispatched afterwards is
     * missed. Each delivery is a lease: settle it with Ack or Nack, on any replica, before `lease_expires_at`, or extend
     * it. No more than `max_in_flight` events and `max_in_flight_bytes` are leased to the stream at once. When the
     * stream breaks, its leases run out after `disconnect_grace`.
     * Errors: INVALID_ARGUMENT, FAILED_PRECONDITION (NO_DISPATCHER_SPECIFIED), UNAVAILABLE (DISPATCHER_NOT_WORKING).
     * </pre>
     */
    public void subscribe(io.duebus.v1.SubscribeRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.SubscribeResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getSubscribeMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Removes delivered events from their group: they are done.
     * Tokens that can't be settled are reported in `failures` and change nothing; the others are carried out. Acking
     * twice is harmless: the second time is reported as REASON_SETTLED.
     * Errors: INVALID_ARGUMENT when there is no token or there are more than 10,000.
     * </pre>
     */
    public void ack(io.duebus.v1.AckRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.AckResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getAckMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Gives delivered events back: to be retried after a backoff or a delay, to the dead letters, or unhandled.
     * Failures are reported one by one, as in Ack.
     * Errors: INVALID_ARGUMENT when there is no nack, there are more than 10,000, or a field of one is out of range; then
     * none is carried out.
     * </pre>
     */
    public void nack(io.duebus.v1.NackRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.NackResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getNackMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Renews leases: they expire `lease` from now. Failures are reported one by one, as in Ack.
     * Errors: INVALID_ARGUMENT when there is no token, there are more than 10,000, or `lease` is out of range.
     * </pre>
     */
    public void extend(io.duebus.v1.ExtendRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.ExtendResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getExtendMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Drains engines and stops them; when none is left, the server process ends with status 0.
     * At once: health turns to NOT_SERVING, Dispatch and Subscribe answer UNAVAILABLE, open streams get `closing` and
     * end. Settles are still accepted until all leases are settled or `drain_timeout` has passed; the leases that remain
     * are then given back without counting an attempt. Answers when that is done.
     * Errors: INVALID_ARGUMENT, FAILED_PRECONDITION (NO_DISPATCHER_SPECIFIED).
     * </pre>
     */
    public void stop(io.duebus.v1.StopRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.StopResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getStopMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service EventBus.
   */
  public static final class EventBusBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<EventBusBlockingV2Stub> {
    private EventBusBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected EventBusBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new EventBusBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * Stores 1 to 1000 events under one topic, all of them or none.
     * When the call has answered OK on the redis engine, each event is delivered to every group of the topic until it is
     * acked, dead or cancelled, whatever process dies; on the local engine the same holds for as long as the server
     * process lives. A topic without a group keeps its events for the first group that subscribes.
     * Repeating a call with the same `request_id` within the topic's dedupe window (10 minutes by default) returns the
     * first answer and adds nothing, so a call that failed with UNAVAILABLE or DEADLINE_EXCEEDED can be repeated safely.
     * A repetition has as many events, with the same ids or without one; all else of them is not compared. A `request_id`
     * that was used for other events is INVALID_ARGUMENT, and nothing is stored.
     * Errors: INVALID_ARGUMENT (NO_TOPIC_SPECIFIED, NO_EVENT_SPECIFIED, INVALID_ARGUMENT), FAILED_PRECONDITION
     * (NO_DISPATCHER_SPECIFIED, NO_HANDLER_FOUND), RESOURCE_EXHAUSTED (MAX_QUEUED_EVENTS_REACHED),
     * UNAVAILABLE (DISPATCHER_NOT_WORKING). In every one of them nothing was stored, but for a PartialDispatch.
     * </pre>
     */
    public io.duebus.v1.DispatchResponse dispatch(io.duebus.v1.DispatchRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getDispatchMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Delivers the topic's due events to the caller, in batches, for as long as the stream stays open.
     * The first frame is always `started`: when it has come, the group exists and nothing dispatched afterwards is
     * missed. Each delivery is a lease: settle it with Ack or Nack, on any replica, before `lease_expires_at`, or extend
     * it. No more than `max_in_flight` events and `max_in_flight_bytes` are leased to the stream at once. When the
     * stream breaks, its leases run out after `disconnect_grace`.
     * Errors: INVALID_ARGUMENT, FAILED_PRECONDITION (NO_DISPATCHER_SPECIFIED), UNAVAILABLE (DISPATCHER_NOT_WORKING).
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, io.duebus.v1.SubscribeResponse>
        subscribe(io.duebus.v1.SubscribeRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getSubscribeMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Removes delivered events from their group: they are done.
     * Tokens that can't be settled are reported in `failures` and change nothing; the others are carried out. Acking
     * twice is harmless: the second time is reported as REASON_SETTLED.
     * Errors: INVALID_ARGUMENT when there is no token or there are more than 10,000.
     * </pre>
     */
    public io.duebus.v1.AckResponse ack(io.duebus.v1.AckRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getAckMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Gives delivered events back: to be retried after a backoff or a delay, to the dead letters, or unhandled.
     * Failures are reported one by one, as in Ack.
     * Errors: INVALID_ARGUMENT when there is no nack, there are more than 10,000, or a field of one is out of range; then
     * none is carried out.
     * </pre>
     */
    public io.duebus.v1.NackResponse nack(io.duebus.v1.NackRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getNackMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Renews leases: they expire `lease` from now. Failures are reported one by one, as in Ack.
     * Errors: INVALID_ARGUMENT when there is no token, there are more than 10,000, or `lease` is out of range.
     * </pre>
     */
    public io.duebus.v1.ExtendResponse extend(io.duebus.v1.ExtendRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getExtendMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Drains engines and stops them; when none is left, the server process ends with status 0.
     * At once: health turns to NOT_SERVING, Dispatch and Subscribe answer UNAVAILABLE, open streams get `closing` and
     * end. Settles are still accepted until all leases are settled or `drain_timeout` has passed; the leases that remain
     * are then given back without counting an attempt. Answers when that is done.
     * Errors: INVALID_ARGUMENT, FAILED_PRECONDITION (NO_DISPATCHER_SPECIFIED).
     * </pre>
     */
    public io.duebus.v1.StopResponse stop(io.duebus.v1.StopRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getStopMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service EventBus.
   */
  public static final class EventBusBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<EventBusBlockingStub> {
    private EventBusBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected EventBusBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new EventBusBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * Stores 1 to 1000 events under one topic, all of them or none.
     * When the call has answered OK on the redis engine, each event is delivered to every group of the topic until it is
     * acked, dead or cancelled, whatever process dies; on the local engine the same holds for as long as the server
     * process lives. A topic without a group keeps its events for the first group that subscribes.
     * Repeating a call with the same `request_id` within the topic's dedupe window (10 minutes by default) returns the
     * first answer and adds nothing, so a call that failed with UNAVAILABLE or DEADLINE_EXCEEDED can be repeated safely.
     * A repetition has as many events, with the same ids or without one; all else of them is not compared. A `request_id`
     * that was used for other events is INVALID_ARGUMENT, and nothing is stored.
     * Errors: INVALID_ARGUMENT (NO_TOPIC_SPECIFIED, NO_EVENT_SPECIFIED, INVALID_ARGUMENT), FAILED_PRECONDITION
     * (NO_DISPATCHER_SPECIFIED, NO_HANDLER_FOUND), RESOURCE_EXHAUSTED (MAX_QUEUED_EVENTS_REACHED),
     * UNAVAILABLE (DISPATCHER_NOT_WORKING). In every one of them nothing was stored, but for a PartialDispatch.
     * </pre>
     */
    public io.duebus.v1.DispatchResponse dispatch(io.duebus.v1.DispatchRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getDispatchMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Delivers the topic's due events to the caller, in batches, for as long as the stream stays open.
     * The first frame is always `started`: when it has come, the group exists and nothing dispatched afterwards is
     * missed. Each delivery is a lease: settle it with Ack or Nack, on any replica, before `lease_expires_at`, or extend
     * it. No more than `max_in_flight` events and `max_in_flight_bytes` are leased to the stream at once. When the
     * stream breaks, its leases run out after `disconnect_grace`.
     * Errors: INVALID_ARGUMENT, FAILED_PRECONDITION (NO_DISPATCHER_SPECIFIED), UNAVAILABLE (DISPATCHER_NOT_WORKING).
     * </pre>
     */
    public java.util.Iterator<io.duebus.v1.SubscribeResponse> subscribe(
        io.duebus.v1.SubscribeRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getSubscribeMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Removes delivered events from their group: they are done.
     * Tokens that can't be settled are reported in `failures` and change nothing; the others are carried out. Acking
     * twice is harmless: the second time is reported as REASON_SETTLED.
     * Errors: INVALID_ARGUMENT when there is no token or there are more than 10,000.
     * </pre>
     */
    public io.duebus.v1.AckResponse ack(io.duebus.v1.AckRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getAckMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Gives delivered events back: to be retried after a backoff or a delay, to the dead letters, or unhandled.
     * Failures are reported one by one, as in Ack.
     * Errors: INVALID_ARGUMENT when there is no nack, there are more than 10,000, or a field of one is out of range; then
     * none is carried out.
     * </pre>
     */
    public io.duebus.v1.NackResponse nack(io.duebus.v1.NackRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getNackMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Renews leases: they expire `lease` from now. Failures are reported one by one, as in Ack.
     * Errors: INVALID_ARGUMENT when there is no token, there are more than 10,000, or `lease` is out of range.
     * </pre>
     */
    public io.duebus.v1.ExtendResponse extend(io.duebus.v1.ExtendRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getExtendMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Drains engines and stops them; when none is left, the server process ends with status 0.
     * At once: health turns to NOT_SERVING, Dispatch and Subscribe answer UNAVAILABLE, open streams get `closing` and
     * end. Settles are still accepted until all leases are settled or `drain_timeout` has passed; the leases that remain
     * are then given back without counting an attempt. Answers when that is done.
     * Errors: INVALID_ARGUMENT, FAILED_PRECONDITION (NO_DISPATCHER_SPECIFIED).
     * </pre>
     */
    public io.duebus.v1.StopResponse stop(io.duebus.v1.StopRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getStopMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service EventBus.
   */
  public static final class EventBusFutureStub
      extends io.grpc.stub.AbstractFutureStub<EventBusFutureStub> {
    private EventBusFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected EventBusFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new EventBusFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * Stores 1 to 1000 events under one topic, all of them or none.
     * When the call has answered OK on the redis engine, each event is delivered to every group of the topic until it is
     * acked, dead or cancelled, whatever process dies; on the local engine the same holds for as long as the server
     * process lives. A topic without a group keeps its events for the first group that subscribes.
     * Repeating a call with the same `request_id` within the topic's dedupe window (10 minutes by default) returns the
     * first answer and adds nothing, so a call that failed with UNAVAILABLE or DEADLINE_EXCEEDED can be repeated safely.
     * A repetition has as many events, with the same ids or without one; all else of them is not compared. A `request_id`
     * that was used for other events is INVALID_ARGUMENT, and nothing is stored.
     * Errors: INVALID_ARGUMENT (NO_TOPIC_SPECIFIED, NO_EVENT_SPECIFIED, INVALID_ARGUMENT), FAILED_PRECONDITION
     * (NO_DISPATCHER_SPECIFIED, NO_HANDLER_FOUND), RESOURCE_EXHAUSTED (MAX_QUEUED_EVENTS_REACHED),
     * UNAVAILABLE (DISPATCHER_NOT_WORKING). In every one of them nothing was stored, but for a PartialDispatch.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.duebus.v1.DispatchResponse> dispatch(
        io.duebus.v1.DispatchRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getDispatchMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Removes delivered events from their group: they are done.
     * Tokens that can't be settled are reported in `failures` and change nothing; the others are carried out. Acking
     * twice is harmless: the second time is reported as REASON_SETTLED.
     * Errors: INVALID_ARGUMENT when there is no token or there are more than 10,000.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.duebus.v1.AckResponse> ack(
        io.duebus.v1.AckRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getAckMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Gives delivered events back: to be retried after a backoff or a delay, to the dead letters, or unhandled.
     * Failures are reported one by one, as in Ack.
     * Errors: INVALID_ARGUMENT when there is no nack, there are more than 10,000, or a field of one is out of range; then
     * none is carried out.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.duebus.v1.NackResponse> nack(
        io.duebus.v1.NackRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getNackMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Renews leases: they expire `lease` from now. Failures are reported one by one, as in Ack.
     * Errors: INVALID_ARGUMENT when there is no token, there are more than 10,000, or `lease` is out of range.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.duebus.v1.ExtendResponse> extend(
        io.duebus.v1.ExtendRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getExtendMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Drains engines and stops them; when none is left, the server process ends with status 0.
     * At once: health turns to NOT_SERVING, Dispatch and Subscribe answer UNAVAILABLE, open streams get `closing` and
     * end. Settles are still accepted until all leases are settled or `drain_timeout` has passed; the leases that remain
     * are then given back without counting an attempt. Answers when that is done.
     * Errors: INVALID_ARGUMENT, FAILED_PRECONDITION (NO_DISPATCHER_SPECIFIED).
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.duebus.v1.StopResponse> stop(
        io.duebus.v1.StopRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getStopMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_DISPATCH = 0;
  private static final int METHODID_SUBSCRIBE = 1;
  private static final int METHODID_ACK = 2;
  private static final int METHODID_NACK = 3;
  private static final int METHODID_EXTEND = 4;
  private static final int METHODID_STOP = 5;

  private static final class MethodHandlers<Req, Resp> implements
      io.grpc.stub.ServerCalls.UnaryMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ServerStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ClientStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.BidiStreamingMethod<Req, Resp> {
    private final AsyncService serviceImpl;
    private final int methodId;

    MethodHandlers(AsyncService serviceImpl, int methodId) {
      this.serviceImpl = serviceImpl;
      this.methodId = methodId;
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public void invoke(Req request, io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        case METHODID_DISPATCH:
          serviceImpl.dispatch((io.duebus.v1.DispatchRequest) request,
              (io.grpc.stub.StreamObserver<io.duebus.v1.DispatchResponse>) responseObserver);
          break;
        case METHODID_SUBSCRIBE:
          serviceImpl.subscribe((io.duebus.v1.SubscribeRequest) request,
              (io.grpc.stub.StreamObserver<io.duebus.v1.SubscribeResponse>) responseObserver);
          break;
        case METHODID_ACK:
          serviceImpl.ack((io.duebus.v1.AckRequest) request,
              (io.grpc.stub.StreamObserver<io.duebus.v1.AckResponse>) responseObserver);
          break;
        case METHODID_NACK:
          serviceImpl.nack((io.duebus.v1.NackRequest) request,
              (io.grpc.stub.StreamObserver<io.duebus.v1.NackResponse>) responseObserver);
          break;
        case METHODID_EXTEND:
          serviceImpl.extend((io.duebus.v1.ExtendRequest) request,
              (io.grpc.stub.StreamObserver<io.duebus.v1.ExtendResponse>) responseObserver);
          break;
        case METHODID_STOP:
          serviceImpl.stop((io.duebus.v1.StopRequest) request,
              (io.grpc.stub.StreamObserver<io.duebus.v1.StopResponse>) responseObserver);
          break;
        default:
          throw new AssertionError();
      }
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public io.grpc.stub.StreamObserver<Req> invoke(
        io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        default:
          throw new AssertionError();
      }
    }
  }

  public static final io.grpc.ServerServiceDefinition bindService(AsyncService service) {
    return io.grpc.ServerServiceDefinition.builder(getServiceDescriptor())
        .addMethod(
          getDispatchMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.duebus.v1.DispatchRequest,
              io.duebus.v1.DispatchResponse>(
                service, METHODID_DISPATCH)))
        .addMethod(
          getSubscribeMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              io.duebus.v1.SubscribeRequest,
              io.duebus.v1.SubscribeResponse>(
                service, METHODID_SUBSCRIBE)))
        .addMethod(
          getAckMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.duebus.v1.AckRequest,
              io.duebus.v1.AckResponse>(
                service, METHODID_ACK)))
        .addMethod(
          getNackMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.duebus.v1.NackRequest,
              io.duebus.v1.NackResponse>(
                service, METHODID_NACK)))
        .addMethod(
          getExtendMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.duebus.v1.ExtendRequest,
              io.duebus.v1.ExtendResponse>(
                service, METHODID_EXTEND)))
        .addMethod(
          getStopMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.duebus.v1.StopRequest,
              io.duebus.v1.StopResponse>(
                service, METHODID_STOP)))
        .build();
  }

  private static abstract class EventBusBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    EventBusBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return io.duebus.v1.EventBusProto.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("EventBus");
    }
  }

  private static final class EventBusFileDescriptorSupplier
      extends EventBusBaseDescriptorSupplier {
    EventBusFileDescriptorSupplier() {}
  }

  private static final class EventBusMethodDescriptorSupplier
      extends EventBusBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    EventBusMethodDescriptorSupplier(java.lang.String methodName) {
      this.methodName = methodName;
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.MethodDescriptor getMethodDescriptor() {
      return getServiceDescriptor().findMethodByName(methodName);
    }
  }

  private static volatile io.grpc.ServiceDescriptor serviceDescriptor;

  public static io.grpc.ServiceDescriptor getServiceDescriptor() {
    io.grpc.ServiceDescriptor result = serviceDescriptor;
    if (result == null) {
      synchronized (EventBusGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new EventBusFileDescriptorSupplier())
              .addMethod(getDispatchMethod())
              .addMethod(getSubscribeMethod())
              .addMethod(getAckMethod())
              .addMethod(getNackMethod())
              .addMethod(getExtendMethod())
              .addMethod(getStopMethod())
              .build();
        }
      }
    }
    return result;
  }
}
