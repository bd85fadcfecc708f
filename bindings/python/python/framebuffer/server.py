"""`FrameBufferServer`: the owner of a ring."""

import atexit
import weakref

from framebuffer import _native

__all__ = ["FrameBufferServer"]


class FrameBufferServer(_native.FrameBufferServer):
    """Owns a ring: takes its memory, hands out its key, allocates frames, and removes it when stopped.

    `FrameBufferServer(size)` makes a key of its own, `FrameBufferServer(key, size)` takes yours. It starts with
    `start()` or a `with` block, and stops with `stop()`, the block, or the end of the program. A program that is killed
    leaves its ring, which the next server with the same key replaces.

    Args:
        key: The ring's name, and the right to open it: 1 to 200 characters out of `A-Z a-z 0-9 . _ -`.
        size: How many bytes of frames the ring keeps, and the size of the largest, in bytes.
        dir: The folder for the ring's file, a tmpfs. Default: `FRAMEBUFFER_DIR`, or `/dev/shm`.
        mode: Permission bits of that file: who may open the ring. Default: the server's own user.
        keep: Whether the ring outlives the server: the next one with the same key and size adopts it.

    All methods may be called from many threads at once. A child made by `fork` may allocate; the ring stays its
    parent's.
    """

    def start(self) -> None:
        """Creates the ring, or adopts it. Does nothing if it is started.

        Raises:
            FrameBufferError: If the key has a live server, or there is too little memory.
        """
        super().start()
        _started.add(self)


# Not left to the garbage collector: what is still referred to at the end of the interpreter is not collected.
_started: "weakref.WeakSet[FrameBufferServer]" = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    for server in list(_started):
        server.stop()
