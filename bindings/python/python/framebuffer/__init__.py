"""Frames between processes at memory speed, through a ring in shared memory.

One process owns the ring: `framebuffer-sidecar`, or a program with a `FrameBufferServer`. Others open it with a
`FrameBufferClient`, or with `connect()` next to a sidecar. A writer publishes a frame and sends its description, a
`Frame` of four numbers, to the reader over any messaging. The reader copies the bytes or views them in place. If the
ring has moved on meanwhile, it gets a `FrameBufferTimeout`, never wrong bytes.
"""

from framebuffer._native import Frame, Loan, View, __version__, connect
from framebuffer.client import FrameBufferClient, read_frame
from framebuffer.errors import (
    FrameBufferConnectError,
    FrameBufferError,
    FrameBufferExhausted,
    FrameBufferNotFound,
    FrameBufferOtherRing,
    FrameBufferRetired,
    FrameBufferTimeout,
)
from framebuffer.server import FrameBufferServer

__all__ = [
    "Frame",
    "FrameBufferClient",
    "FrameBufferConnectError",
    "FrameBufferError",
    "FrameBufferExhausted",
    "FrameBufferNotFound",
    "FrameBufferOtherRing",
    "FrameBufferRetired",
    "FrameBufferServer",
    "FrameBufferTimeout",
    "Loan",
    "View",
    "__version__",
    "connect",
    "read_frame",
]
