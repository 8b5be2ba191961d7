"""How many deliveries of a subscription may be handled at once."""

import asyncio

__all__ = ["Slots"]


class Slots:
    """Counts slots. A slot is abandoned while a call on a thread runs on that nobody waits for any more."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._abandoned = 0
        self._usable = asyncio.Event()
        self._usable.set()
        self.free = count

    @property
    def all_abandoned(self) -> bool:
        """No delivery can be handled until one of the abandoned calls returns."""
        return self._abandoned >= self._count

    async def usable(self) -> None:
        """Waits until not all slots are abandoned."""
        await self._usable.wait()

    def resize(self, count: int) -> None:
        """From now on there are so many; what is being handled is finished."""
        self.free += count - self._count
        self._count = count
        self._note_usable()

    def take(self) -> None:
        """A delivery is handled now."""
        self.free -= 1

    def give_back(self) -> None:
        """Its handling has ended."""
        self.free += 1

    def abandon(self) -> None:
        """Its handling has ended, but a call on a thread runs on."""
        self._abandoned += 1
        self._note_usable()

    def recover(self) -> None:
        """That call has returned."""
        self._abandoned -= 1
        self._note_usable()
        self.give_back()

    def _note_usable(self) -> None:
        if self.all_abandoned:
            self._usable.clear()
        else:
            self._usable.set()
