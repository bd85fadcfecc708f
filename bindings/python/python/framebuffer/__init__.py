"""Frames between processes at memory speed, through a ring in shared memory.

One process owns the ring: `framebuffer-sidecar`, or a program with a `FrameBufferServer`. Others open it with a
`FrameBufferClient`, or with `connect()` next to a sidecar. A writer publishes a frame and sends its description, a
`Frame` of four numbers, to the reader over any messaging. The reader copies the bytes or views them in place. If the
ring has moved on meanwhile, it gets a `FrameBufferTimeout`, never wrong bytes.

Or let the ring tell readers where the frames lie: `ring.publisher("camera").send(array)` sends over a named channel,
and every `ring.subscribe("camera")`, in whatever process, is woken and receives all frames in order, with their type
and shape. What is lost is counted.
"""

from framebuffer._native import (
    Frame,
    Loan,
    Publisher,
    Sample,
    SendingLoan,
    Sent,
    Subscriber,
    View,
    __version__,
    connect,
)
from framebuffer.client import FrameBufferClient, read_frame
from framebuffer.errors import (
    FrameBufferBacklog,
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
    "FrameBufferBacklog",
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
    "Publisher",
    "Sample",
    "SendingLoan",
    "Sent",
    "Subscriber",
    "View",
    "__version__",
    "connect",
    "read_frame",
]
