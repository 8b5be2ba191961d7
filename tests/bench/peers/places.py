"""Where the peers' programs and pinned versions are, and where they are installed."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
PINS = HERE / "pins"
BUILD = Path(__file__).parents[3] / "build" / "peers"
"""Nothing is installed elsewhere, except Debian packages."""
