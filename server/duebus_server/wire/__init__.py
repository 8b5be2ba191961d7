"""The only package that knows gRPC and protobuf: it decodes, calls a use case, and encodes."""
