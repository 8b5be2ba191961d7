"""One program for each peer, which produces, paces or works, in the peer's own venv."""
