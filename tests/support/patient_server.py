"""``python -m support.patient_server``: a server that waits for a minute for calls that do not end with its drain."""

from __future__ import annotations

import sys

from duebus_server import app
from duebus_server.__main__ import main

app.STOP_GRACE_S = 60.0

if __name__ == "__main__":
    sys.exit(main())
