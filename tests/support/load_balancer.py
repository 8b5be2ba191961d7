"""A load balancer for replicas, like a Kubernetes Service: each new connection goes to the next replica."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterable


class LoadBalancer(Proxy):
    """Forwards new connections to the replicas in turn. Open connections are not moved.

    Attributes:
        targets: the replicas that get new connections, each HOST:PORT.
    """

    def __init__(self, targets: Iterable[str]) -> None:
        self.targets = list(targets)
        self._turns = count()
        super().__init__(self.targets[0])

    def replace(self, old: str, new: str) -> None:
        """New connections go to ``new`` in place of ``old``."""
        self.targets[self.targets.index(old)] = new

    def _choose(self) -> tuple[str, int]:
        host, _, port = self.targets[next(self._turns) % len(self.targets)].rpartition(":")
        return host, int(port)
