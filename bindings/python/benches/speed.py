"""How long frames take in Python, in turns with the Rust crate, and with `multiprocessing.shared_memory`.

    cargo build --profile fast -p framebuffer-python --example python-bench-peer
    python bindings/python/benches/speed.py target/fast/examples/python-bench-peer

Prints medians in microseconds. The rounds of all that is compared take turns, so that what disturbs the machine
disturbs all of it. `shared_memory` with a checksum is what one would write without this library: a copy into the
segment and `xxhash.xxh3_64_digest` of it.
"""

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import shared_memory

import numpy
import xxhash

from framebuffer import FrameBufferClient, FrameBufferServer

RING = 512 << 20
SIZES = {
    "4 KiB": 4 << 10,
    "64 KiB": 64 << 10,
    "1 MiB": 1 << 20,
    "6.2 MB, 1080p RGB": 6_220_800,
    "24.9 MB, 4K RGB": 24_883_200,
}
OPERATIONS = ["publish", "read", "read_into", "view", "send", "receive"]
ROUNDS = 25


class Peer:
    """The program in Rust."""

    def __init__(self, program: str, key: str) -> None:
        environment = {**os.environ, "FRAMEBUFFER_KEY": key}
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def measure(self, operation: str, size: int, count: int) -> list[int]:
        """Repeats it `count` times, and returns the time of each in nanoseconds."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{operation} {size} {count}\n")
        self.process.stdin.flush()
        return [int(word) for word in self.process.stdout.readline().split()]

    def stop(self) -> None:
        """Ends the program."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def timed(work: Callable[[], object]) -> int:
    """How long it takes, in nanoseconds."""
    start = time.perf_counter_ns()
    work()
    return time.perf_counter_ns() - start


def ours(client: FrameBufferClient, operation: str, data: bytes, buffer: bytearray, count: int) -> list[int]:
    """The operation in Python."""
    times = []
    if operation in {"send", "receive"}:
        array = numpy.frombuffer(data, numpy.uint8)
        with client.publisher("python") as publisher, client.subscribe("python", start="new") as subscriber:
            for _ in range(count):
                sent = timed(lambda: publisher.send(array))
                received = timed(lambda: next(subscriber).array())
                times.append(sent if operation == "send" else received)
        return times
    for _ in range(count):
        if operation == "publish":
            times.append(timed(lambda: client.publish(data)))
            continue
        frame = client.publish(data)
        if operation == "read":
            times.append(timed(lambda: client.read(frame)))
        elif operation == "read_into":
            times.append(timed(lambda: client.read_into(frame, buffer)))
        else:
            times.append(timed(lambda: client.view(frame).release()))
    return times


def theirs(memory: memoryview, operation: str, data: bytes, buffer: bytearray, count: int) -> list[int]:
    """The nearest with `shared_memory`: slots one after the other, the checksum by xxhash."""
    times = []
    size = len(data)
    for number in range(count):
        start = number * size % (len(memory) - size)
        slot = memory[start : start + size]

        def publish(slot: memoryview = slot) -> bytes:
            slot[:] = data
            return xxhash.xxh3_64_digest(slot)

        def read(slot: memoryview = slot) -> bytes:
            copy = bytes(slot)
            xxhash.xxh3_64_digest(copy)
            return copy

        def read_into(slot: memoryview = slot) -> None:
            buffer[:] = slot
            xxhash.xxh3_64_digest(buffer)

        # In place, only the checksum is left to do: our view compares it without computing it.
        works = {
            "publish": publish,
            "read": read,
            "read_into": read_into,
            "view": lambda slot=slot: slot[:],
            # Nobody is told of the frame.
            "send": publish,
            "receive": lambda slot=slot: numpy.frombuffer(slot, numpy.uint8),
        }
        slot[:] = data
        times.append(timed(works[operation]))
    return times


def main() -> None:
    """Measures and prints everything."""
    print(f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} processors, ring 512 MiB")
    print(f"{'':34}{'Python':>12}{'Rust':>12}{'Python/Rust':>13}{'shared_memory':>15}{'Python/sh. m.':>15}")
    segment = shared_memory.SharedMemory(create=True, size=RING)
    try:
        assert segment.buf is not None
        with FrameBufferServer(RING) as server, FrameBufferClient(server.get_key()) as client:
            peer = Peer(sys.argv[1], server.get_key())
            for name, size in SIZES.items():
                compare(client, peer, segment.buf, name, size)
            peer.stop()
    finally:
        segment.close()
        segment.unlink()


def compare(client: FrameBufferClient, peer: Peer, memory: memoryview, name: str, size: int) -> None:
    """One size."""
    data, buffer = os.urandom(size), bytearray(size)
    count = max(3, min(100, (24 << 20) // size))
    # Touch all pages of both rings once.
    memory[:] = bytes(len(memory))
    laps = len(memory) // size
    peer.measure("publish", size, laps)
    ours(client, "publish", data, buffer, laps)
    for operation in OPERATIONS:
        python, rust, shared = [], [], []
        for _ in range(ROUNDS):
            python += ours(client, operation, data, buffer, count)
            rust += peer.measure(operation, size, count)
            shared += theirs(memory, operation, data, buffer, count)
        medians = [statistics.median(times) / 1000 for times in (python, rust, shared)]
        ratios = medians[0] / medians[1], medians[0] / medians[2]
        print(
            f"{name:20}{operation:14}{medians[0]:10.2f}us{medians[1]:10.2f}us{ratios[0]:12.2f}x{medians[2]:13.2f}us"
            f"{ratios[1]:14.2f}x",
            flush=True,
        )


main()
