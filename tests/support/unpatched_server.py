"""``python -m support.unpatched_server``: a server without our patch of grpcio, which a malformed path kills."""

from __future__ import annotations

import sys

from duebus_server.__main__ import main
from duebus_server.wire import grpc_server

del grpc_server._AioServer._make_request_call_future

if __name__ == "__main__":
    sys.exit(main())
