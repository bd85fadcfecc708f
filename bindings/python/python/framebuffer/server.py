"""`FrameBufferServer`: the owner of a ring."""

import atexit
import weakref

from framebuffer import _native

__all__ = ["FrameBufferServer"]


class FrameBufferServer(_native.FrameBufferServer):
    """Owns a ring: creates it, hands out its key, allocates frames, and removes the ring at the end.

    `FrameBufferServer(size)` makes a random key, `FrameBufferServer(key, size)` takes yours. `start()` or a `with`
    block starts the server; `stop()`, the end of the block or the end of the program stops it. A killed program leaves
    its ring; the next server with the same key replaces it.

    Args:
        key: The ring's name and the secret that opens it: 1 to 200 characters of `A-Z a-z 0-9 . _ -`.
        size: Bytes of frames that the ring keeps, and the size of the largest frame.
        dir: The folder of the ring's file, on a tmpfs. Default: `FRAMEBUFFER_DIR`, or `/dev/shm`.
        mode: Permission bits of that file, `0o666` say: who may open the ring. Default: only the server's user.
        keep: Whether the ring outlives the server: the next server with the same key and size adopts it.

    Any number of threads may call the methods at once. A forked child may allocate; the ring still belongs to the
    parent.
    """

    def start(self) -> None:
        """Creates or adopts the ring. Does nothing if the server is started.

        Raises:
            FrameBufferError: If another live server has the key, or memory is short.
        """
        super().start()
        _started.add(self)


# Not left to the garbage collector: objects that are still referenced when the interpreter ends are not collected.
_started: "weakref.WeakSet[FrameBufferServer]" = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    # Not a loop over the set: a signal handler or a `__del__` may start another server meanwhile.
    while _started:
        try:
            server = _started.pop()
        except KeyError:
            return
        server.stop()
