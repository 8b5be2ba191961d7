package io.duebus.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class EventBusAdminGrpc {

  private EventBusAdminGrpc() {}

  public static final java.lang.String SERVICE_NAME = "duebus.v1.EventBusAdmin";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<io.duebus.v1.ListTopicsRequest,
      io.duebus.v1.ListTopicsResponse> getListTopicsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListTopics",
      requestType = io.duebus.v1.ListTopicsRequest.class,
      responseType = io.duebus.v1.ListTopicsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.duebus.v1.ListTopicsRequest,
      io.duebus.v1.ListTopicsResponse> getListTopicsMethod() {
    io.grpc.MethodDescriptor<io.duebus.v1.ListTopicsRequest, io.duebus.v1.ListTopicsResponse> getListTopicsMethod;
    if ((getListTopicsMethod = EventBusAdminGrpc.getListTopicsMethod) == null) {
      synchronized (EventBusAdminGrpc.class) {
        if ((getListTopicsMethod = EventBusAdminGrpc.getListTopicsMethod) == null) {
          EventBusAdminGrpc.getListTopicsMethod = getListTopicsMethod =
              io.grpc.MethodDescriptor.<io.duebus.v1.ListTopicsRequest, io.duebus.v1.ListTopicsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListTopics"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.ListTopicsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.ListTopicsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new EventBusAdminMethodDescriptorSupplier("ListTopics"))
              .build();
        }
      }
    }
    return getListTopicsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.duebus.v1.GetTopicRequest,
      io.duebus.v1.GetTopicResponse> getGetTopicMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GetTopic",
      requestType = io.duebus.v1.GetTopicRequest.class,
      responseType = io.duebus.v1.GetTopicResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.duebus.v1.GetTopicRequest,
      io.duebus.v1.GetTopicResponse> getGetTopicMethod() {
    io.grpc.MethodDescriptor<io.duebus.v1.GetTopicRequest, io.duebus.v1.GetTopicResponse> getGetTopicMethod;
    if ((getGetTopicMethod = EventBusAdminGrpc.getGetTopicMethod) == null) {
      synchronized (EventBusAdminGrpc.class) {
        if ((getGetTopicMethod = EventBusAdminGrpc.getGetTopicMethod) == null) {
          EventBusAdminGrpc.getGetTopicMethod = getGetTopicMethod =
              io.grpc.MethodDescriptor.<io.duebus.v1.GetTopicRequest, io.duebus.v1.GetTopicResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GetTopic"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.GetTopicRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.GetTopicResponse.getDefaultInstance()))
              .setSchemaDescriptor(new EventBusAdminMethodDescriptorSupplier("GetTopic"))
              .build();
        }
      }
    }
    return getGetTopicMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.duebus.v1.ConfigureTopicRequest,
      io.duebus.v1.ConfigureTopicResponse> getConfigureTopicMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ConfigureTopic",
      requestType = io.duebus.v1.ConfigureTopicRequest.class,
      responseType = io.duebus.v1.ConfigureTopicResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.duebus.v1.ConfigureTopicRequest,
      io.duebus.v1.ConfigureTopicResponse> getConfigureTopicMethod() {
    io.grpc.MethodDescriptor<io.duebus.v1.ConfigureTopicRequest, io.duebus.v1.ConfigureTopicResponse> getConfigureTopicMethod;
    if ((getConfigureTopicMethod = EventBusAdminGrpc.getConfigureTopicMethod) == null) {
      synchronized (EventBusAdminGrpc.class) {
        if ((getConfigureTopicMethod = EventBusAdminGrpc.getConfigureTopicMethod) == null) {
          EventBusAdminGrpc.getConfigureTopicMethod = getConfigureTopicMethod =
              io.grpc.MethodDescriptor.<io.duebus.v1.ConfigureTopicRequest, io.duebus.v1.ConfigureTopicResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ConfigureTopic"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.ConfigureTopicRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.ConfigureTopicResponse.getDefaultInstance()))
              .setSchemaDescriptor(new EventBusAdminMethodDescriptorSupplier("ConfigureTopic"))
              .build();
        }
      }
    }
    return getConfigureTopicMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.duebus.v1.DeleteTopicRequest,
      io.duebus.v1.DeleteTopicResponse> getDeleteTopicMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "DeleteTopic",
      requestType = io.duebus.v1.DeleteTopicRequest.class,
      responseType = io.duebus.v1.DeleteTopicResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.duebus.v1.DeleteTopicRequest,
      io.duebus.v1.DeleteTopicResponse> getDeleteTopicMethod() {
    io.grpc.MethodDescriptor<io.duebus.v1.DeleteTopicRequest, io.duebus.v1.DeleteTopicResponse> getDeleteTopicMethod;
    if ((getDeleteTopicMethod = EventBusAdminGrpc.getDeleteTopicMethod) == null) {
      synchronized (EventBusAdminGrpc.class) {
        if ((getDeleteTopicMethod = EventBusAdminGrpc.getDeleteTopicMethod) == null) {
          EventBusAdminGrpc.getDeleteTopicMethod = getDeleteTopicMethod =
              io.grpc.MethodDescriptor.<io.duebus.v1.DeleteTopicRequest, io.duebus.v1.DeleteTopicResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "DeleteTopic"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.DeleteTopicRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.DeleteTopicResponse.getDefaultInstance()))
              .setSchemaDescriptor(new EventBusAdminMethodDescriptorSupplier("DeleteTopic"))
              .build();
        }
      }
    }
    return getDeleteTopicMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.duebus.v1.DeleteGroupRequest,
      io.duebus.v1.DeleteGroupResponse> getDeleteGroupMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "DeleteGroup",
      requestType = io.duebus.v1.DeleteGroupRequest.class,
      responseType = io.duebus.v1.DeleteGroupResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.duebus.v1.DeleteGroupRequest,
      io.duebus.v1.DeleteGroupResponse> getDeleteGroupMethod() {
    io.grpc.MethodDescriptor<io.duebus.v1.DeleteGroupRequest, io.duebus.v1.DeleteGroupResponse> getDeleteGroupMethod;
    if ((getDeleteGroupMethod = EventBusAdminGrpc.getDeleteGroupMethod) == null) {
      synchronized (EventBusAdminGrpc.class) {
        if ((getDeleteGroupMethod = EventBusAdminGrpc.getDeleteGroupMethod) == null) {
          EventBusAdminGrpc.getDeleteGroupMethod = getDeleteGroupMethod =
              io.grpc.MethodDescriptor.<io.duebus.v1.DeleteGroupRequest, io.duebus.v1.DeleteGroupResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "DeleteGroup"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.DeleteGroupRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.DeleteGroupResponse.getDefaultInstance()))
              .setSchemaDescriptor(new EventBusAdminMethodDescriptorSupplier("DeleteGroup"))
              .build();
        }
      }
    }
    return getDeleteGroupMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.duebus.v1.PauseGroupRequest,
      io.duebus.v1.PauseGroupResponse> getPauseGroupMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "PauseGroup",
      requestType = io.duebus.v1.PauseGroupRequest.class,
      responseType = io.duebus.v1.PauseGroupResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.duebus.v1.PauseGroupRequest,
      io.duebus.v1.PauseGroupResponse> getPauseGroupMethod() {
    io.grpc.MethodDescriptor<io.duebus.v1.PauseGroupRequest, io.duebus.v1.PauseGroupResponse> getPauseGroupMethod;
    if ((getPauseGroupMethod = EventBusAdminGrpc.getPauseGroupMethod) == null) {
      synchronized (EventBusAdminGrpc.class) {
        if ((getPauseGroupMethod = EventBusAdminGrpc.getPauseGroupMethod) == null) {
          EventBusAdminGrpc.getPauseGroupMethod = getPauseGroupMethod =
              io.grpc.MethodDescriptor.<io.duebus.v1.PauseGroupRequest, io.duebus.v1.PauseGroupResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "PauseGroup"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.PauseGroupRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.PauseGroupResponse.getDefaultInstance()))
              .setSchemaDescriptor(new EventBusAdminMethodDescriptorSupplier("PauseGroup"))
              .build();
        }
      }
    }
    return getPauseGroupMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.duebus.v1.ResumeGroupRequest,
      io.duebus.v1.ResumeGroupResponse> getResumeGroupMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ResumeGroup",
      requestType = io.duebus.v1.ResumeGroupRequest.class,
      responseType = io.duebus.v1.ResumeGroupResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.duebus.v1.ResumeGroupRequest,
      io.duebus.v1.ResumeGroupResponse> getResumeGroupMethod() {
    io.grpc.MethodDescriptor<io.duebus.v1.ResumeGroupRequest, io.duebus.v1.ResumeGroupResponse> getResumeGroupMethod;
    if ((getResumeGroupMethod = EventBusAdminGrpc.getResumeGroupMethod) == null) {
      synchronized (EventBusAdminGrpc.class) {
        if ((getResumeGroupMethod = EventBusAdminGrpc.getResumeGroupMethod) == null) {
          EventBusAdminGrpc.getResumeGroupMethod = getResumeGroupMethod =
              io.grpc.MethodDescriptor.<io.duebus.v1.ResumeGroupRequest, io.duebus.v1.ResumeGroupResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ResumeGroup"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.ResumeGroupRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.ResumeGroupResponse.getDefaultInstance()))
              .setSchemaDescriptor(new EventBusAdminMethodDescriptorSupplier("ResumeGroup"))
              .build();
        }
      }
    }
    return getResumeGroupMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.duebus.v1.ListEventsRequest,
      io.duebus.v1.ListEventsResponse> getListEventsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListEvents",
      requestType = io.duebus.v1.ListEventsRequest.class,
      responseType = io.duebus.v1.ListEventsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.duebus.v1.ListEventsRequest,
      io.duebus.v1.ListEventsResponse> getListEventsMethod() {
    io.grpc.MethodDescriptor<io.duebus.v1.ListEventsRequest, io.duebus.v1.ListEventsResponse> getListEventsMethod;
    if ((getListEventsMethod = EventBusAdminGrpc.getListEventsMethod) == null) {
      synchronized (EventBusAdminGrpc.class) {
        if ((getListEventsMethod = EventBusAdminGrpc.getListEventsMethod) == null) {
          EventBusAdminGrpc.getListEventsMethod = getListEventsMethod =
              io.grpc.MethodDescriptor.<io.duebus.v1.ListEventsRequest, io.duebus.v1.ListEventsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListEvents"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.ListEventsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.ListEventsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new EventBusAdminMethodDescriptorSupplier("ListEvents"))
              .build();
        }
      }
    }
    return getListEventsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.duebus.v1.GetEventRequest,
      io.duebus.v1.GetEventResponse> getGetEventMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GetEvent",
      requestType = io.duebus.v1.GetEventRequest.class,
      responseType = io.duebus.v1.GetEventResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.duebus.v1.GetEventRequest,
      io.duebus.v1.GetEventResponse> getGetEventMethod() {
    io.grpc.MethodDescriptor<io.duebus.v1.GetEventRequest, io.duebus.v1.GetEventResponse> getGetEventMethod;
    if ((getGetEventMethod = EventBusAdminGrpc.getGetEventMethod) == null) {
      synchronized (EventBusAdminGrpc.class) {
        if ((getGetEventMethod = EventBusAdminGrpc.getGetEventMethod) == null) {
          EventBusAdminGrpc.getGetEventMethod = getGetEventMethod =
              io.grpc.MethodDescriptor.<io.duebus.v1.GetEventRequest, io.duebus.v1.GetEventResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GetEvent"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.GetEventRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.GetEventResponse.getDefaultInstance()))
              .setSchemaDescriptor(new EventBusAdminMethodDescriptorSupplier("GetEvent"))
              .build();
        }
      }
    }
    return getGetEventMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.duebus.v1.CancelEventsRequest,
      io.duebus.v1.CancelEventsResponse> getCancelEventsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "CancelEvents",
      requestType = io.duebus.v1.CancelEventsRequest.class,
      responseType = io.duebus.v1.CancelEventsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.duebus.v1.CancelEventsRequest,
      io.duebus.v1.CancelEventsResponse> getCancelEventsMethod() {
    io.grpc.MethodDescriptor<io.duebus.v1.CancelEventsRequest, io.duebus.v1.CancelEventsResponse> getCancelEventsMethod;
    if ((getCancelEventsMethod = EventBusAdminGrpc.getCancelEventsMethod) == null) {
      synchronized (EventBusAdminGrpc.class) {
        if ((getCancelEventsMethod = EventBusAdminGrpc.getCancelEventsMethod) == null) {
          EventBusAdminGrpc.getCancelEventsMethod = getCancelEventsMethod =
              io.grpc.MethodDescriptor.<io.duebus.v1.CancelEventsRequest, io.duebus.v1.CancelEventsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "CancelEvents"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.CancelEventsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.CancelEventsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new EventBusAdminMethodDescriptorSupplier("CancelEvents"))
              .build();
        }
      }
    }
    return getCancelEventsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.duebus.v1.RescheduleEventsRequest,
      io.duebus.v1.RescheduleEventsResponse> getRescheduleEventsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "RescheduleEvents",
      requestType = io.duebus.v1.RescheduleEventsRequest.class,
      responseType = io.duebus.v1.RescheduleEventsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.duebus.v1.RescheduleEventsRequest,
      io.duebus.v1.RescheduleEventsResponse> getRescheduleEventsMethod() {
    io.grpc.MethodDescriptor<io.duebus.v1.RescheduleEventsRequest, io.duebus.v1.RescheduleEventsResponse> getRescheduleEventsMethod;
    if ((getRescheduleEventsMethod = EventBusAdminGrpc.getRescheduleEventsMethod) == null) {
      synchronized (EventBusAdminGrpc.class) {
        if ((getRescheduleEventsMethod = EventBusAdminGrpc.getRescheduleEventsMethod) == null) {
          EventBusAdminGrpc.getRescheduleEventsMethod = getRescheduleEventsMethod =
              io.grpc.MethodDescriptor.<io.duebus.v1.RescheduleEventsRequest, io.duebus.v1.RescheduleEventsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "RescheduleEvents"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.RescheduleEventsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.RescheduleEventsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new EventBusAdminMethodDescriptorSupplier("RescheduleEvents"))
              .build();
        }
      }
    }
    return getRescheduleEventsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.duebus.v1.RedriveEventsRequest,
      io.duebus.v1.RedriveEventsResponse> getRedriveEventsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "RedriveEvents",
      requestType = io.duebus.v1.RedriveEventsRequest.class,
      responseType = io.duebus.v1.RedriveEventsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.duebus.v1.RedriveEventsRequest,
      io.duebus.v1.RedriveEventsResponse> getRedriveEventsMethod() {
    io.grpc.MethodDescriptor<io.duebus.v1.RedriveEventsRequest, io.duebus.v1.RedriveEventsResponse> getRedriveEventsMethod;
    if ((getRedriveEventsMethod = EventBusAdminGrpc.getRedriveEventsMethod) == null) {
      synchronized (EventBusAdminGrpc.class) {
        if ((getRedriveEventsMethod = EventBusAdminGrpc.getRedriveEventsMethod) == null) {
          EventBusAdminGrpc.getRedriveEventsMethod = getRedriveEventsMethod =
              io.grpc.MethodDescriptor.<io.duebus.v1.RedriveEventsRequest, io.duebus.v1.RedriveEventsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "RedriveEvents"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.RedriveEventsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.RedriveEventsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new EventBusAdminMethodDescriptorSupplier("RedriveEvents"))
              .build();
        }
      }
    }
    return getRedriveEventsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.duebus.v1.PurgeEventsRequest,
      io.duebus.v1.PurgeEventsResponse> getPurgeEventsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "PurgeEvents",
      requestType = io.duebus.v1.PurgeEventsRequest.class,
      responseType = io.duebus.v1.PurgeEventsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.duebus.v1.PurgeEventsRequest,
      io.duebus.v1.PurgeEventsResponse> getPurgeEventsMethod() {
    io.grpc.MethodDescriptor<io.duebus.v1.PurgeEventsRequest, io.duebus.v1.PurgeEventsResponse> getPurgeEventsMethod;
    if ((getPurgeEventsMethod = EventBusAdminGrpc.getPurgeEventsMethod) == null) {
      synchronized (EventBusAdminGrpc.class) {
        if ((getPurgeEventsMethod = EventBusAdminGrpc.getPurgeEventsMethod) == null) {
          EventBusAdminGrpc.getPurgeEventsMethod = getPurgeEventsMethod =
              io.grpc.MethodDescriptor.<io.duebus.v1.PurgeEventsRequest, io.duebus.v1.PurgeEventsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "PurgeEvents"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.PurgeEventsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.duebus.v1.PurgeEventsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new EventBusAdminMethodDescriptorSupplier("PurgeEvents"))
              .build();
        }
      }
    }
    return getPurgeEventsMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static EventBusAdminStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<EventBusAdminStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<EventBusAdminStub>() {
        @java.lang.Override
        public EventBusAdminStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new EventBusAdminStub(channel, callOptions);
        }
      };
    return EventBusAdminStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static EventBusAdminBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<EventBusAdminBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<EventBusAdminBlockingV2Stub>() {
        @java.lang.Override
        public EventBusAdminBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new EventBusAdminBlockingV2Stub(channel, callOptions);
        }
      };
    return EventBusAdminBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static EventBusAdminBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<EventBusAdminBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<EventBusAdminBlockingStub>() {
        @java.lang.Override
        public EventBusAdminBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new EventBusAdminBlockingStub(channel, callOptions);
        }
      };
    return EventBusAdminBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static EventBusAdminFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<EventBusAdminFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<EventBusAdminFutureStub>() {
        @java.lang.Override
        public EventBusAdminFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new EventBusAdminFutureStub(channel, callOptions);
        }
      };
    return EventBusAdminFutureStub.newStub(factory, channel);
  }

  /**
   */
  public interface AsyncService {

    /**
     * <pre>
     * The topics of an engine by name, with their groups and counts. One that is damaged has a `problem` instead.
     * </pre>
     */
    default void listTopics(io.duebus.v1.ListTopicsRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.ListTopicsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListTopicsMethod(), responseObserver);
    }

    /**
     * <pre>
     * One topic: its settings, and for each group the counts, subscribers, age and rates.
     * </pre>
     */
    default void getTopic(io.duebus.v1.GetTopicRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.GetTopicResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGetTopicMethod(), responseObserver);
    }

    /**
     * <pre>
     * Changes a topic's settings, or a group's retry policy; creates the topic, but no group, if need be. In force on
     * every replica within a second, for events dispatched from then on, and for each lease, retry and purge that is
     * decided from then on. INVALID_ARGUMENT names a setting that is out of range; then nothing changes.
     * </pre>
     */
    default void configureTopic(io.duebus.v1.ConfigureTopicRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.ConfigureTopicResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getConfigureTopicMethod(), responseObserver);
    }

    /**
     * <pre>
     * Removes a topic, its settings, its groups and all its events, dead ones included. Its subscribers get `closing`;
     * settles of its leases fail with REASON_SETTLED. Dispatching or subscribing to it makes it anew.
     * </pre>
     */
    default void deleteTopic(io.duebus.v1.DeleteTopicRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.DeleteTopicResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getDeleteTopicMethod(), responseObserver);
    }

    /**
     * <pre>
     * Removes a group and its copies of the events. Its subscribers get `closing`; settles of its leases fail with
     * REASON_SETTLED. Subscribing makes it anew, for events dispatched from then on.
     * </pre>
     */
    default void deleteGroup(io.duebus.v1.DeleteGroupRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.DeleteGroupResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getDeleteGroupMethod(), responseObserver);
    }

    /**
     * <pre>
     * Delivers nothing to a group until it is resumed; subscribers stay connected, events go on waiting, leases stay.
     * Pausing a group that is paused is not an error.
     * </pre>
     */
    default void pauseGroup(io.duebus.v1.PauseGroupRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.PauseGroupResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getPauseGroupMethod(), responseObserver);
    }

    /**
     * <pre>
     * Ends a pause; what became due meanwhile is delivered. Resuming a group that is not paused is not an error.
     * </pre>
     */
    default void resumeGroup(io.duebus.v1.ResumeGroupRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.ResumeGroupResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getResumeGroupMethod(), responseObserver);
    }

    /**
     * <pre>
     * The events of a group in one state, a page at a time. INVALID_ARGUMENT when `state` is unspecified or the page
     * token is not one of this request's.
     * </pre>
     */
    default void listEvents(io.duebus.v1.ListEventsRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.ListEventsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListEventsMethod(), responseObserver);
    }

    /**
     * <pre>
     * The whole story of one event: its state in each group that is not done with it, attempts, errors and times.
     * </pre>
     */
    default void getEvent(io.duebus.v1.GetEventRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.GetEventResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGetEventMethod(), responseObserver);
    }

    /**
     * <pre>
     * Removes scheduled or ready events. Copies of them that are leased or dead are left alone and reported.
     * </pre>
     */
    default void cancelEvents(io.duebus.v1.CancelEventsRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.CancelEventsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getCancelEventsMethod(), responseObserver);
    }

    /**
     * <pre>
     * Moves the due time of scheduled or ready events; all or none. Attempts are counted on. ABORTED
     * (CONCURRENT_MODIFICATION) when one is leased or dead, NOT_FOUND when there is no such event. In a topic with several
     * partitions all events are looked at before the first is moved; one that is leased in that very moment fails the call
     * after those in other partitions were moved.
     * </pre>
     */
    default void rescheduleEvents(io.duebus.v1.RescheduleEventsRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.RescheduleEventsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getRescheduleEventsMethod(), responseObserver);
    }

    /**
     * <pre>
     * Makes dead letters ready again, with all their retries; their story so far is kept. What dies after the call began is
     * left alone. `max_queued` does not hold it up. Many are moved in several steps: a call that is broken off has moved
     * some of them, the longest dead first, and can be repeated.
     * </pre>
     */
    default void redriveEvents(io.duebus.v1.RedriveEventsRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.RedriveEventsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getRedriveEventsMethod(), responseObserver);
    }

    /**
     * <pre>
     * Removes dead letters for good. In steps, as RedriveEvents.
     * </pre>
     */
    default void purgeEvents(io.duebus.v1.PurgeEventsRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.PurgeEventsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getPurgeEventsMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service EventBusAdmin.
   */
  public static abstract class EventBusAdminImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return EventBusAdminGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service EventBusAdmin.
   */
  public static final class EventBusAdminStub
      extends io.grpc.stub.AbstractAsyncStub<EventBusAdminStub> {
    private EventBusAdminStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected EventBusAdminStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new EventBusAdminStub(channel, callOptions);
    }

    /**
     * <pre>
     * The topics of an engine by name, with their groups and counts. One that is damaged has a `problem` instead.
     * </pre>
     */
    public void listTopics(io.duebus.v1.ListTopicsRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.ListTopicsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListTopicsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * One topic: its settings, and for each group the counts, subscribers, age and rates.
     * </pre>
     */
    public void getTopic(io.duebus.v1.GetTopicRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.GetTopicResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGetTopicMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Changes a topic's settings, or a group's retry policy; creates the topic, but no group, if need be. In force on
     * every replica within a second, for events dispatched from then on, and for each lease, retry and purge that is
     * decided from then on. INVALID_ARGUMENT names a setting that is out of range; then nothing changes.
     * </pre>
     */
    public void configureTopic(io.duebus.v1.ConfigureTopicRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.ConfigureTopicResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getConfigureTopicMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Removes a topic, its settings, its groups and all its events, dead ones included. Its subscribers get `closing`;
     * settles of its leases fail with REASON_SETTLED. Dispatching or subscribing to it makes it anew.
     * </pre>
     */
    public void deleteTopic(io.duebus.v1.DeleteTopicRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.DeleteTopicResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getDeleteTopicMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Removes a group and its copies of the events. Its subscribers get `closing`; settles of its leases fail with
     * REASON_SETTLED. Subscribing makes it anew, for events dispatched from then on.
     * </pre>
     */
    public void deleteGroup(io.duebus.v1.DeleteGroupRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.DeleteGroupResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getDeleteGroupMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Delivers nothing to a group until it is resumed; subscribers stay connected, events go on waiting, leases stay.
     * Pausing a group that is paused is not an error.
     * </pre>
     */
    public void pauseGroup(io.duebus.v1.PauseGroupRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.PauseGroupResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getPauseGroupMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Ends a pause; what became due meanwhile is delivered. Resuming a group that is not paused is not an error.
     * </pre>
     */
    public void resumeGroup(io.duebus.v1.ResumeGroupRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.ResumeGroupResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getResumeGroupMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * The events of a group in one state, a page at a time. INVALID_ARGUMENT when `state` is unspecified or the page
     * token is not one of this request's.
     * </pre>
     */
    public void listEvents(io.duebus.v1.ListEventsRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.ListEventsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListEventsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * The whole story of one event: its state in each group that is not done with it, attempts, errors and times.
     * </pre>
     */
    public void getEvent(io.duebus.v1.GetEventRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.GetEventResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGetEventMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Removes scheduled or ready events. Copies of them that are leased or dead are left alone and reported.
     * </pre>
     */
    public void cancelEvents(io.duebus.v1.CancelEventsRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.CancelEventsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getCancelEventsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Moves the due time of scheduled or ready events; all or none. Attempts are counted on. ABORTED
     * (CONCURRENT_MODIFICATION) when one is leased or dead, NOT_FOUND when there is no such event. In a topic with several
     * partitions all events are looked at before the first is moved; one that is leased in that very moment fails the call
     * after those in other partitions were moved.
     * </pre>
     */
    public void rescheduleEvents(io.duebus.v1.RescheduleEventsRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.RescheduleEventsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getRescheduleEventsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Makes dead letters ready again, with all their retries; their story so far is kept. What dies after the call began is
     * left alone. `max_queued` does not hold it up. Many are moved in several steps: a call that is broken off has moved
     * some of them, the longest dead first, and can be repeated.
     * </pre>
     */
    public void redriveEvents(io.duebus.v1.RedriveEventsRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.RedriveEventsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getRedriveEventsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Removes dead letters for good. In steps, as RedriveEvents.
     * </pre>
     */
    public void purgeEvents(io.duebus.v1.PurgeEventsRequest request,
        io.grpc.stub.StreamObserver<io.duebus.v1.PurgeEventsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getPurgeEventsMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service EventBusAdmin.
   */
  public static final class EventBusAdminBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<EventBusAdminBlockingV2Stub> {
    private EventBusAdminBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected EventBusAdminBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new EventBusAdminBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * The topics of an engine by name, with their groups and counts. One that is damaged has a `problem` instead.
     * </pre>
     */
    public io.duebus.v1.ListTopicsResponse listTopics(io.duebus.v1.ListTopicsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListTopicsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * One topic: its settings, and for each group the counts, subscribers, age and rates.
     * </pre>
     */
    public io.duebus.v1.GetTopicResponse getTopic(io.duebus.v1.GetTopicRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getGetTopicMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Changes a topic's settings, or a group's retry policy; creates the topic, but no group, if need be. In force on
     * every replica within a second, for events dispatched from then on, and for each lease, retry and purge that is
     * decided from then on. INVALID_ARGUMENT names a setting that is out of range; then nothing changes.
     * </pre>
     */
    public io.duebus.v1.ConfigureTopicResponse configureTopic(io.duebus.v1.ConfigureTopicRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getConfigureTopicMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Removes a topic, its settings, its groups and all its events, dead ones included. Its subscribers get `closing`;
     * settles of its leases fail with REASON_SETTLED. Dispatching or subscribing to it makes it anew.
     * </pre>
     */
    public io.duebus.v1.DeleteTopicResponse deleteTopic(io.duebus.v1.DeleteTopicRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getDeleteTopicMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Removes a group and its copies of the events. Its subscribers get `closing`; settles of its leases fail with
     * REASON_SETTLED. Subscribing makes it anew, for events dispatched from then on.
     * </pre>
     */
    public io.duebus.v1.DeleteGroupResponse deleteGroup(io.duebus.v1.DeleteGroupRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getDeleteGroupMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Delivers nothing to a group until it is resumed; subscribers stay connected, events go on waiting, leases stay.
     * Pausing a group that is paused is not an error.
     * </pre>
     */
    public io.duebus.v1.PauseGroupResponse pauseGroup(io.duebus.v1.PauseGroupRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getPauseGroupMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Ends a pause; what became due meanwhile is delivered. Resuming a group that is not paused is not an error.
     * </pre>
     */
    public io.duebus.v1.ResumeGroupResponse resumeGroup(io.duebus.v1.ResumeGroupRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getResumeGroupMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * The events of a group in one state, a page at a time. INVALID_ARGUMENT when `state` is unspecified or the page
     * token is not one of this request's.
     * </pre>
     */
    public io.duebus.v1.ListEventsResponse listEvents(io.duebus.v1.ListEventsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListEventsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * The whole story of one event: its state in each group that is not done with it, attempts, errors and times.
     * </pre>
     */
    public io.duebus.v1.GetEventResponse getEvent(io.duebus.v1.GetEventRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getGetEventMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Removes scheduled or ready events. Copies of them that are leased or dead are left alone and reported.
     * </pre>
     */
    public io.duebus.v1.CancelEventsResponse cancelEvents(io.duebus.v1.CancelEventsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getCancelEventsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Moves the due time of scheduled or ready events; all or none. Attempts are counted on. ABORTED
     * (CONCURRENT_MODIFICATION) when one is leased or dead, NOT_FOUND when there is no such event. In a topic with several
     * partitions all events are looked at before the first is moved; one that is leased in that very moment fails the call
     * after those in other partitions were moved.
     * </pre>
     */
    public io.duebus.v1.RescheduleEventsResponse rescheduleEvents(io.duebus.v1.RescheduleEventsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getRescheduleEventsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Makes dead letters ready again, with all their retries; their story so far is kept. What dies after the call began is
     * left alone. `max_queued` does not hold it up. Many are moved in several steps: a call that is broken off has moved
     * some of them, the longest dead first, and can be repeated.
     * </pre>
     */
    public io.duebus.v1.RedriveEventsResponse redriveEvents(io.duebus.v1.RedriveEventsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getRedriveEventsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Removes dead letters for good. In steps, as RedriveEvents.
     * </pre>
     */
    public io.duebus.v1.PurgeEventsResponse purgeEvents(io.duebus.v1.PurgeEventsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getPurgeEventsMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service EventBusAdmin.
   */
  public static final class EventBusAdminBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<EventBusAdminBlockingStub> {
    private EventBusAdminBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected EventBusAdminBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new EventBusAdminBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * The topics of an engine by name, with their groups and counts. One that is damaged has a `problem` instead.
     * </pre>
     */
    public io.duebus.v1.ListTopicsResponse listTopics(io.duebus.v1.ListTopicsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListTopicsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * One topic: its settings, and for each group the counts, subscribers, age and rates.
     * </pre>
     */
    public io.duebus.v1.GetTopicResponse getTopic(io.duebus.v1.GetTopicRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGetTopicMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Changes a topic's settings, or a group's retry policy; creates the topic, but no group, if need be. In force on
     * every replica within a second, for events dispatched from then on, and for each lease, retry and purge that is
     * decided from then on. INVALID_ARGUMENT names a setting that is out of range; then nothing changes.
     * </pre>
     */
    public io.duebus.v1.ConfigureTopicResponse configureTopic(io.duebus.v1.ConfigureTopicRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getConfigureTopicMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Removes a topic, its settings, its groups and all its events, dead ones included. Its subscribers get `closing`;
     * settles of its leases fail with REASON_SETTLED. Dispatching or subscribing to it makes it anew.
     * </pre>
     */
    public io.duebus.v1.DeleteTopicResponse deleteTopic(io.duebus.v1.DeleteTopicRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getDeleteTopicMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Removes a group and its copies of the events. Its subscribers get `closing`; settles of its leases fail with
     * REASON_SETTLED. Subscribing makes it anew, for events dispatched from then on.
     * </pre>
     */
    public io.duebus.v1.DeleteGroupResponse deleteGroup(io.duebus.v1.DeleteGroupRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getDeleteGroupMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Delivers nothing to a group until it is resumed; subscribers stay connected, events go on waiting, leases stay.
     * Pausing a group that is paused is not an error.
     * </pre>
     */
    public io.duebus.v1.PauseGroupResponse pauseGroup(io.duebus.v1.PauseGroupRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getPauseGroupMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Ends a pause; what became due meanwhile is delivered. Resuming a group that is not paused is not an error.
     * </pre>
     */
    public io.duebus.v1.ResumeGroupResponse resumeGroup(io.duebus.v1.ResumeGroupRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getResumeGroupMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * The events of a group in one state, a page at a time. INVALID_ARGUMENT when `state` is unspecified or the page
     * token is not one of this request's.
     * </pre>
     */
    public io.duebus.v1.ListEventsResponse listEvents(io.duebus.v1.ListEventsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListEventsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * The whole story of one event: its state in each group that is not done with it, attempts, errors and times.
     * </pre>
     */
    public io.duebus.v1.GetEventResponse getEvent(io.duebus.v1.GetEventRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGetEventMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Removes scheduled or ready events. Copies of them that are leased or dead are left alone and reported.
     * </pre>
     */
    public io.duebus.v1.CancelEventsResponse cancelEvents(io.duebus.v1.CancelEventsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getCancelEventsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Moves the due time of scheduled or ready events; all or none. Attempts are counted on. ABORTED
     * (CONCURRENT_MODIFICATION) when one is leased or dead, NOT_FOUND when there is no such event. In a topic with several
     * partitions all events are looked at before the first is moved; one that is leased in that very moment fails the call
     * after those in other partitions were moved.
     * </pre>
     */
    public io.duebus.v1.RescheduleEventsResponse rescheduleEvents(io.duebus.v1.RescheduleEventsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getRescheduleEventsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Makes dead letters ready again, with all their retries; their story so far is kept. What dies after the call began is
     * left alone. `max_queued` does not hold it up. Many are moved in several steps: a call that is broken off has moved
     * some of them, the longest dead first, and can be repeated.
     * </pre>
     */
    public io.duebus.v1.RedriveEventsResponse redriveEvents(io.duebus.v1.RedriveEventsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getRedriveEventsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Removes dead letters for good. In steps, as RedriveEvents.
     * </pre>
     */
    public io.duebus.v1.PurgeEventsResponse purgeEvents(io.duebus.v1.PurgeEventsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getPurgeEventsMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service EventBusAdmin.
   */
  public static final class EventBusAdminFutureStub
      extends io.grpc.stub.AbstractFutureStub<EventBusAdminFutureStub> {
    private EventBusAdminFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected EventBusAdminFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new EventBusAdminFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * The topics of an engine by name, with their groups and counts. One that is damaged has a `problem` instead.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.duebus.v1.ListTopicsResponse> listTopics(
        io.duebus.v1.ListTopicsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListTopicsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * One topic: its settings, and for each group the counts, subscribers, age and rates.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.duebus.v1.GetTopicResponse> getTopic(
        io.duebus.v1.GetTopicRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGetTopicMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Changes a topic's settings, or a group's retry policy; creates the topic, but no group, if need be. In force on
     * every replica within a second, for events dispatched from then on, and for each lease, retry and purge that is
     * decided from then on. INVALID_ARGUMENT names a setting that is out of range; then nothing changes.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.duebus.v1.ConfigureTopicResponse> configureTopic(
        io.duebus.v1.ConfigureTopicRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getConfigureTopicMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Removes a topic, its settings, its groups and all its events, dead ones included. Its subscribers get `closing`;
     * settles of its leases fail with REASON_SETTLED. Dispatching or subscribing to it makes it anew.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.duebus.v1.DeleteTopicResponse> deleteTopic(
        io.duebus.v1.DeleteTopicRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getDeleteTopicMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Removes a group and its copies of the events. Its subscribers get `closing`; settles of its leases fail with
     * REASON_SETTLED. Subscribing makes it anew, for events dispatched from then on.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.duebus.v1.DeleteGroupResponse> deleteGroup(
        io.duebus.v1.DeleteGroupRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getDeleteGroupMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Delivers nothing to a group until it is resumed; subscribers stay connected, events go on waiting, leases stay.
     * Pausing a group that is paused is not an error.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.duebus.v1.PauseGroupResponse> pauseGroup(
        io.duebus.v1.PauseGroupRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getPauseGroupMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Ends a pause; what became due meanwhile is delivered. Resuming a group that is not paused is not an error.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.duebus.v1.ResumeGroupResponse> resumeGroup(
        io.duebus.v1.ResumeGroupRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getResumeGroupMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * The events of a group in one state, a page at a time. INVALID_ARGUMENT when `state` is unspecified or the page
     * token is not one of this request's.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.duebus.v1.ListEventsResponse> listEvents(
        io.duebus.v1.ListEventsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListEventsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * The whole story of one event: its state in each group that is not done with it, attempts, errors and times.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.duebus.v1.GetEventResponse> getEvent(
        io.duebus.v1.GetEventRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGetEventMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Removes scheduled or ready events. Copies of them that are leased or dead are left alone and reported.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.duebus.v1.CancelEventsResponse> cancelEvents(
        io.duebus.v1.CancelEventsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getCancelEventsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Moves the due time of scheduled or ready events; all or none. Attempts are counted on. ABORTED
     * (CONCURRENT_MODIFICATION) when one is leased or dead, NOT_FOUND when there is no such event. In a topic with several
     * partitions all events are looked at before the first is moved; one that is leased in that very moment fails the call
     * after those in other partitions were moved.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.duebus.v1.RescheduleEventsResponse> rescheduleEvents(
        io.duebus.v1.RescheduleEventsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getRescheduleEventsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Makes dead letters ready again, with all their retries; their story so far is kept. What dies after the call began is
     * left alone. `max_queued` does not hold it up. Many are moved in several steps: a call that is broken off has moved
     * some of them, the longest dead first, and can be repeated.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.duebus.v1.RedriveEventsResponse> redriveEvents(
        io.duebus.v1.RedriveEventsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getRedriveEventsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Removes dead letters for good. In steps, as RedriveEvents.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.duebus.v1.PurgeEventsResponse> purgeEvents(
        io.duebus.v1.PurgeEventsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getPurgeEventsMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_LIST_TOPICS = 0;
  private static final int METHODID_GET_TOPIC = 1;
  private static final int METHODID_CONFIGURE_TOPIC = 2;
  private static final int METHODID_DELETE_TOPIC = 3;
  private static final int METHODID_DELETE_GROUP = 4;
  private static final int METHODID_PAUSE_GROUP = 5;
  private static final int METHODID_RESUME_GROUP = 6;
  private static final int METHODID_LIST_EVENTS = 7;
  private static final int METHODID_GET_EVENT = 8;
  private static final int METHODID_CANCEL_EVENTS = 9;
  private static final int METHODID_RESCHEDULE_EVENTS = 10;
  private static final int METHODID_REDRIVE_EVENTS = 11;
  private static final int METHODID_PURGE_EVENTS = 12;

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
        case METHODID_LIST_TOPICS:
          serviceImpl.listTopics((io.duebus.v1.ListTopicsRequest) request,
              (io.grpc.stub.StreamObserver<io.duebus.v1.ListTopicsResponse>) responseObserver);
          break;
        case METHODID_GET_TOPIC:
          serviceImpl.getTopic((io.duebus.v1.GetTopicRequest) request,
              (io.grpc.stub.StreamObserver<io.duebus.v1.GetTopicResponse>) responseObserver);
          break;
        case METHODID_CONFIGURE_TOPIC:
          serviceImpl.configureTopic((io.duebus.v1.ConfigureTopicRequest) request,
              (io.grpc.stub.StreamObserver<io.duebus.v1.ConfigureTopicResponse>) responseObserver);
          break;
        case METHODID_DELETE_TOPIC:
          serviceImpl.deleteTopic((io.duebus.v1.DeleteTopicRequest) request,
              (io.grpc.stub.StreamObserver<io.duebus.v1.DeleteTopicResponse>) responseObserver);
          break;
        case METHODID_DELETE_GROUP:
          serviceImpl.deleteGroup((io.duebus.v1.DeleteGroupRequest) request,
              (io.grpc.stub.StreamObserver<io.duebus.v1.DeleteGroupResponse>) responseObserver);
          break;
        case METHODID_PAUSE_GROUP:
          serviceImpl.pauseGroup((io.duebus.v1.PauseGroupRequest) request,
              (io.grpc.stub.StreamObserver<io.duebus.v1.PauseGroupResponse>) responseObserver);
          break;
        case METHODID_RESUME_GROUP:
          serviceImpl.resumeGroup((io.duebus.v1.ResumeGroupRequest) request,
              (io.grpc.stub.StreamObserver<io.duebus.v1.ResumeGroupResponse>) responseObserver);
          break;
        case METHODID_LIST_EVENTS:
          serviceImpl.listEvents((io.duebus.v1.ListEventsRequest) request,
              (io.grpc.stub.StreamObserver<io.duebus.v1.ListEventsResponse>) responseObserver);
          break;
        case METHODID_GET_EVENT:
          serviceImpl.getEvent((io.duebus.v1.GetEventRequest) request,
              (io.grpc.stub.StreamObserver<io.duebus.v1.GetEventResponse>) responseObserver);
          break;
        case METHODID_CANCEL_EVENTS:
          serviceImpl.cancelEvents((io.duebus.v1.CancelEventsRequest) request,
              (io.grpc.stub.StreamObserver<io.duebus.v1.CancelEventsResponse>) responseObserver);
          break;
        case METHODID_RESCHEDULE_EVENTS:
          serviceImpl.rescheduleEvents((io.duebus.v1.RescheduleEventsRequest) request,
              (io.grpc.stub.StreamObserver<io.duebus.v1.RescheduleEventsResponse>) responseObserver);
          break;
        case METHODID_REDRIVE_EVENTS:
          serviceImpl.redriveEvents((io.duebus.v1.RedriveEventsRequest) request,
              (io.grpc.stub.StreamObserver<io.duebus.v1.RedriveEventsResponse>) responseObserver);
          break;
        case METHODID_PURGE_EVENTS:
          serviceImpl.purgeEvents((io.duebus.v1.PurgeEventsRequest) request,
              (io.grpc.stub.StreamObserver<io.duebus.v1.PurgeEventsResponse>) responseObserver);
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
          getListTopicsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.duebus.v1.ListTopicsRequest,
              io.duebus.v1.ListTopicsResponse>(
                service, METHODID_LIST_TOPICS)))
        .addMethod(
          getGetTopicMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.duebus.v1.GetTopicRequest,
              io.duebus.v1.GetTopicResponse>(
                service, METHODID_GET_TOPIC)))
        .addMethod(
          getConfigureTopicMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.duebus.v1.ConfigureTopicRequest,
              io.duebus.v1.ConfigureTopicResponse>(
                service, METHODID_CONFIGURE_TOPIC)))
        .addMethod(
          getDeleteTopicMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.duebus.v1.DeleteTopicRequest,
              io.duebus.v1.DeleteTopicResponse>(
                service, METHODID_DELETE_TOPIC)))
        .addMethod(
          getDeleteGroupMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.duebus.v1.DeleteGroupRequest,
              io.duebus.v1.DeleteGroupResponse>(
                service, METHODID_DELETE_GROUP)))
        .addMethod(
          getPauseGroupMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.duebus.v1.PauseGroupRequest,
              io.duebus.v1.PauseGroupResponse>(
                service, METHODID_PAUSE_GROUP)))
        .addMethod(
          getResumeGroupMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.duebus.v1.ResumeGroupRequest,
              io.duebus.v1.ResumeGroupResponse>(
                service, METHODID_RESUME_GROUP)))
        .addMethod(
          getListEventsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.duebus.v1.ListEventsRequest,
              io.duebus.v1.ListEventsResponse>(
                service, METHODID_LIST_EVENTS)))
        .addMethod(
          getGetEventMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.duebus.v1.GetEventRequest,
              io.duebus.v1.GetEventResponse>(
                service, METHODID_GET_EVENT)))
        .addMethod(
          getCancelEventsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.duebus.v1.CancelEventsRequest,
              io.duebus.v1.CancelEventsResponse>(
                service, METHODID_CANCEL_EVENTS)))
        .addMethod(
          getRescheduleEventsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.duebus.v1.RescheduleEventsRequest,
              io.duebus.v1.RescheduleEventsResponse>(
                service, METHODID_RESCHEDULE_EVENTS)))
        .addMethod(
          getRedriveEventsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.duebus.v1.RedriveEventsRequest,
              io.duebus.v1.RedriveEventsResponse>(
                service, METHODID_REDRIVE_EVENTS)))
        .addMethod(
          getPurgeEventsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.duebus.v1.PurgeEventsRequest,
              io.duebus.v1.PurgeEventsResponse>(
                service, METHODID_PURGE_EVENTS)))
        .build();
  }

  private static abstract class EventBusAdminBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    EventBusAdminBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return io.duebus.v1.AdminProto.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("EventBusAdmin");
    }
  }

  private static final class EventBusAdminFileDescriptorSupplier
      extends EventBusAdminBaseDescriptorSupplier {
    EventBusAdminFileDescriptorSupplier() {}
  }

  private static final class EventBusAdminMethodDescriptorSupplier
      extends EventBusAdminBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    EventBusAdminMethodDescriptorSupplier(java.lang.String methodName) {
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
      synchronized (EventBusAdminGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new EventBusAdminFileDescriptorSupplier())
              .addMethod(getListTopicsMethod())
              .addMethod(getGetTopicMethod())
              .addMethod(getConfigureTopicMethod())
              .addMethod(getDeleteTopicMethod())
              .addMethod(getDeleteGroupMethod())
              .addMethod(getPauseGroupMethod())
              .addMethod(getResumeGroupMethod())
              .addMethod(getListEventsMethod())
              .addMethod(getGetEventMethod())
              .addMethod(getCancelEventsMethod())
              .addMethod(getRescheduleEventsMethod())
              .addMethod(getRedriveEventsMethod())
              .addMethod(getPurgeEventsMethod())
              .build();
        }
      }
    }
    return result;
  }
}
