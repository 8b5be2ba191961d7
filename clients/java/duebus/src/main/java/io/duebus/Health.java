package io.duebus;

import com.google.protobuf.Int32Value;
import com.google.protobuf.StringValue;
import io.grpc.MethodDescriptor;
import io.grpc.protobuf.ProtoUtils;
import java.util.concurrent.CompletableFuture;

/** The call of the gRPC health service. */
final class Health {
    private static final int SERVING = 1;

    /** HealthCheckRequest and HealthCheckResponse have one field each, and the wire format of these messages. */
    private static final MethodDescriptor<StringValue, Int32Value> CHECK =
            MethodDescriptor.<StringValue, Int32Value>newBuilder()
                    .setType(MethodDescriptor.MethodType.UNARY)
                    .setFullMethodName("grpc.health.v1.Health/Check")
                    .setRequestMarshaller(ProtoUtils.marshaller(StringValue.getDefaultInstance()))
                    .setResponseMarshaller(ProtoUtils.marshaller(Int32Value.getDefaultInstance()))
                    .build();

    private Health() {}

    static CompletableFuture<Boolean> isServing(Connection connection, String service) {
        var request = StringValue.of(Checks.text("service", service));
        return connection.once(CHECK, request, connection.timeout(), response -> response.getValue() == SERVING);
    }
}
