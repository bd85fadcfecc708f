"""Measures motion in front of a camera: one process captures, one computes, and a ring connects them.

    python motion.py                  # a made-up picture
    python motion.py 0                # camera number 0
    python motion.py clip.mp4         # a file

The first process has OpenCV write each picture straight into the ring and sends its description, a few dozen bytes, to
the second, which computes on the picture in place. With FRAMEBUFFER_URL set, both use the ring of the sidecar there;
otherwise this program owns one.
"""

import argparse
import contextlib
import multiprocessing
import os
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Semaphore

import cv2
import numpy
from numpy.typing import NDArray

from framebuffer import FrameBufferClient, FrameBufferServer, FrameBufferTimeout, connect

Picture = NDArray[numpy.uint8]

RING = 256 << 20
# How many pictures may be in flight. The ring never waits for a reader: a program that may lose none has to count.
WINDOW = 8


def main() -> None:
    """Starts the other process and captures."""
    arguments = parse()
    # The other process is a new interpreter, not a fork: OpenCV has threads.
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    window = context.Semaphore(WINDOW)
    with open_ring() as client:
        # A client is pickled as its key: the other process opens the same ring.
        consumer = context.Process(target=consume, args=(client, receiver, window), daemon=True)
        consumer.start()
        receiver.close()
        with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
            for message in produce(client, arguments):
                # Do not wait for ever: the other process may have died.
                while not window.acquire(timeout=1):
                    if not consumer.is_alive():
                        raise SystemExit("the process that computes has died")
                sender.send(message)
        sender.close()
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
        with connect() as client:
            yield client
    else:
        with FrameBufferServer(RING) as server, FrameBufferClient(server.get_key()) as client:
            yield client


def produce(client: FrameBufferClient, arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Captures picture after picture into the ring and yields the description of each."""
    source = MadeUp(arguments.size) if arguments.source is None else Captured(arguments.source)
    number = 0
    while number < arguments.frames or not arguments.frames:
        with client.loan(source.height * source.width * 3) as loan:
            picture: Picture = numpy.frombuffer(memoryview(loan), dtype=numpy.uint8)
            picture = picture.reshape(source.height, source.width, 3)
            if not source.read(picture):
                return
            # A committed frame is immutable: drop the array that could still write to it.
            del picture
            frame = loan.commit()
        yield {**frame.to_dict(), "shape": (source.height, source.width, 3)}
        number += 1


def consume(client: FrameBufferClient, receiver: Connection, window: Semaphore) -> None:
    """Computes the change from each picture to the next, and prints it once a second."""
    before: Picture | None = None
    seen = lost = 0
    energy = 0.0
    started = last = time.monotonic()
    with contextlib.suppress(KeyboardInterrupt, EOFError):
        while True:
            message = receiver.recv()
            try:
                with client.view(message) as view:
                    picture = numpy.frombuffer(memoryview(view), dtype=numpy.uint8).reshape(message["shape"])
                    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
                    del picture
            except FrameBufferTimeout:
                lost += 1
                continue
            finally:
                window.release()
            energy = 0.0 if before is None else float(cv2.absdiff(grey, before).mean())
            before = grey.astype(numpy.uint8, copy=False)
            seen += 1
            if seen == 1 or time.monotonic() - last > 1:
                last = time.monotonic()
                print(f"{seen} frames, motion {energy:.2f}", flush=True)
    rate = seen / (time.monotonic() - started)
    print(f"{seen} frames, {rate:.1f} frames per second, {lost} lost, motion {energy:.2f}", flush=True)


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
