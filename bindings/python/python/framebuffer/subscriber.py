"""`async for` over the frames of a channel."""

import asyncio
import os

from framebuffer._native import Sample, Subscriber

__all__ = ["Frames"]

# So many frames are received in a row, if they are there, before other tasks run.
_IN_A_ROW = 16


class Frames:
    """The frames of a channel, from `async for frame in subscriber`. It ends once the subscriber is closed."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber
        self._event: int | None = None
        self._in_a_row = 0

    def __aiter__(self) -> "Frames":
        return self

    async def __anext__(self) -> Sample:
        while True:
            try:
                sample = self._subscriber.try_next()
            except ValueError:
                if self._subscriber.closed:
                    raise StopAsyncIteration from None
                raise
            if sample is None:
                self._in_a_row = 0
                await self._wait()
                continue
            self._in_a_row += 1
            if self._in_a_row == _IN_A_ROW:
                self._in_a_row = 0
                await asyncio.sleep(0)
            return sample

    async def _wait(self) -> None:
        if self._event is None:
            # One of its own: an event loop has one callback for each descriptor.
            self._event = os.dup(self._subscriber.fileno())
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[None] = loop.create_future()

        def resume() -> None:
            if not readable.done():
                readable.set_result(None)

        loop.add_reader(self._event, resume)
        try:
            await readable
        finally:
            loop.remove_reader(self._event)

    def __del__(self) -> None:
        if self._event is not None:
            os.close(self._event)
