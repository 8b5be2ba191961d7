"""The data and rules of the bus. Standard library only; nothing here knows gRPC, Redis or a socket."""
