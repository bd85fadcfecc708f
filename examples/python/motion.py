"""Measures motion in front of a camera: one process captures, one computes, and a ring connects them.

    python motion.py                  # a made-up picture
    python motion.py 0                # camera number 0
    python motion.py clip.mp4         # a file

The first process has OpenCV write each picture straight into the ring and sends it over a channel; the second is woken
and computes on the picture in place. With FRAMEBUFFER_URL set, both use the ring of the sidecar there; otherwise this
program owns one.
"""

import argparse
import contextlib
import multiprocessing
import os
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess

import cv2
import numpy
from numpy.typing import NDArray

from framebuffer import FrameBufferBacklog, FrameBufferClient, FrameBufferServer, SendingLoan, connect

Picture = NDArray[numpy.uint8]

RING = 256 << 20
# How many pictures the process that computes may be behind, before the other waits for it.
KEEP = 8


def main() -> None:
    """Starts the other process and captures."""
    arguments = parse()
    # The other process is a new interpreter, not a fork: OpenCV has threads.
    context = multiprocessing.get_context("spawn")
    with open_ring() as ring:
        # A client is pickled as its key: the other process opens the same ring.
        consumer = context.Process(target=consume, args=(ring,), daemon=True)
        consumer.start()
        with contextlib.suppress(KeyboardInterrupt):
            produce(ring, arguments, consumer)
        consumer.join()


def parse() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", nargs="?", help="number of a camera, or a video file; default: a made-up picture")
    parser.add_argument("--frames", type=int, default=600, help="stop after this many, 0: never (default: %(default)s)")
    parser.add_argument("--size", default="1280x720", help="size of the made-up picture (default: %(default)s)")
    return parser.parse_args()


@contextlib.contextmanager
def open_ring() -> Iterator[FrameBufferClient]:
    """Opens the ring of the sidecar, or one of our own."""
    if os.environ.get("FRAMEBUFFER_URL"):
        with connect() as ring:
            yield ring
    else:
        with FrameBufferServer(RING) as server, FrameBufferClient(server.get_key()) as ring:
            yield ring


def produce(ring: FrameBufferClient, arguments: argparse.Namespace, consumer: BaseProcess) -> None:
    """Captures picture after picture into the ring and sends it."""
    source = MadeUp(arguments.size) if arguments.source is None else Captured(arguments.source)
    with ring.publisher("camera", keep=KEEP) as camera:
        while not any(channel["lossless"] for channel in ring.channels()):
            check_alive(consumer)
            time.sleep(0.01)
        number = 0
        while number < arguments.frames or not arguments.frames:
            # The array is gone once the picture is read: a frame that is sent must not change.
            loan = camera.loan(shape=(source.height, source.width, 3))
            if not source.read(loan.array()):
                break
            send(loan, consumer)
            number += 1
        # An empty frame is the end. Ctrl-C ends both.
        send(camera.loan(0), consumer)
        camera.flush(timeout=10)


def send(loan: SendingLoan, consumer: BaseProcess) -> None:
    """Sends a picture, once the other process is not too far behind."""
    while True:
        check_alive(consumer)
        try:
            loan.send(time=time.time_ns(), timeout=1)
            return
        except FrameBufferBacklog:
            pass


def check_alive(consumer: BaseProcess) -> None:
    """Ends this program if the other process has."""
    if not consumer.is_alive():
        raise SystemExit("the process that computes has died")


def consume(ring: FrameBufferClient) -> None:
    """Computes the change from each picture to the next, and prints it once a second."""
    before: Picture | None = None
    seen = 0
    energy = 0.0
    started = last = time.monotonic()
    with ring.subscribe("camera", start="new", lossless=True) as camera, contextlib.suppress(KeyboardInterrupt):
        for frame in camera:
            if frame.nbytes == 0:
                break
            grey = cv2.cvtColor(frame.array(), cv2.COLOR_BGR2GRAY)
            energy = 0.0 if before is None else float(cv2.absdiff(grey, before).mean())
            before = grey.astype(numpy.uint8, copy=False)
            seen += 1
            if seen == 1 or time.monotonic() - last > 1:
                last = time.monotonic()
                print(f"{seen} frames, motion {energy:.2f}", flush=True)
    rate = seen / (time.monotonic() - started)
    print(f"{seen} frames, {rate:.1f} frames per second, {camera.lost} lost, motion {energy:.2f}", flush=True)


class Captured:
    """A camera or a video file."""

    def __init__(self, source: str) -> None:
        self.capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
        if not self.capture.isOpened():
            raise SystemExit(f"failed to open {source}: is it the number of a camera, or a video file?")
        self.width = int(self.capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self.capture.get(cv2.CAP_PROP_FRAME_HEIGHT))

    def read(self, picture: Picture) -> bool:
        """Captures the next picture into `picture`; `False` at the end."""
        there, captured = self.capture.read(picture)
        if there and not numpy.shares_memory(captured, picture):
            # Its size differs from the announced one.
            numpy.copyto(picture, cv2.resize(captured, (self.width, self.height)))
        return there


class MadeUp:
    """A square that moves over a grey background."""

    def __init__(self, size: str) -> None:
        self.width, self.height = (int(side) for side in size.split("x"))
        self.number = 0

    def read(self, picture: Picture) -> bool:
        """Draws the next picture."""
        side = self.height // 4
        x = self.number * 5 % (self.width - side)
        picture[:] = 96
        cv2.rectangle(picture, (x, side), (x + side, 2 * side), (32, 160, 240), cv2.FILLED)
        self.number += 1
        return True


if __name__ == "__main__":
    main()
