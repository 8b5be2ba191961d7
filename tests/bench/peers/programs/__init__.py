"""One program a peer, which produces, paces or works, in the venv that the registry made for it."""
