"""The only place that knows gRPC and protobuf: decode, call a use case, encode."""
