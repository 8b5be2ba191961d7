"""How many deliveries of a subscription may be handled at once."""

import asyncio

__all__ = ["Slots"]


class Slots:
    """Counts slots. A slot is abandoned while its call still runs on a thread and nobody waits for it anymore."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._abandoned = 0
        self._usable = asyncio.Event()
        self._usable.set()
        self.free = count

    @property
    def all_abandoned(self) -> bool:
        """Whether no delivery can be handled until an abandoned call returns."""
        return self._abandoned >= self._count

    async def usable(self) -> None:
        """Waits until a slot is not abandoned."""
        await self._usable.wait()

    def resize(self, count: int) -> None:
        """Sets the number of slots; deliveries in progress are finished."""
        self.free += count - self._count
        self._count = count
        self._note_usable()

    def take(self) -> None:
        """Takes a slot for a delivery."""
        self.free -= 1

    def give_back(self) -> None:
        """Frees the slot of a handled delivery."""
        self.free += 1

    def abandon(self) -> None:
        """Marks the slot of a handled delivery whose call still runs on a thread."""
        self._abandoned += 1
        self._note_usable()

    def recover(self) -> None:
        """Frees the slot of an abandoned call that has returned."""
        self._abandoned -= 1
        self._note_usable()
        self.give_back()

    def _note_usable(self) -> None:
        if self.all_abandoned:
            self._usable.clear()
        else:
            self._usable.set()
