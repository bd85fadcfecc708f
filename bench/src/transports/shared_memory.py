"""A worker in Python: the writer or a reader of frames in multiprocessing.shared_memory.

A segment has as many slots as frames may be in flight. The writer copies a frame into a slot and sets a word in the
control page (see control.rs); readers spin on that word, copy the frame into a buffer that they reuse, and acknowledge
it.
The orders are those of orders.rs.
"""

import json
import mmap
import os
import sys
import time
from multiprocessing import resource_tracker, shared_memory

LINE = 16
STAMP, TAKEN, ANNOUNCED = 0, 2 * LINE, 16 * LINE
PATIENCE = 10.0


class Worker:
    def __init__(self, directory, readers, reader):
        self.readers, self.reader = readers, reader
        with open(os.path.join(directory, "control"), "r+b") as file:
            self.words = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")
        run, group = os.path.split(os.path.abspath(directory))
        self.name = f"{os.path.basename(run)}-{group}"
        processors = sorted(os.sched_getaffinity(0))
        if readers + 1 <= len(processors):
            os.sched_setaffinity(0, {processors[0 if reader is None else reader + 1]})
        # Where the processes outnumber the processors, one that spins keeps them from each other.
        self.burst = 1 << 10 if readers + 1 <= len(processors) else 64
        self.number = 0
        self.memory = None

    def wait(self, index, number, what):
        words, burst, turns, deadline = self.words, self.burst, 0, None
        while words[index] < number:
            turns += 1
            if turns < burst:
                continue
            turns = 0
            os.sched_yield()
            deadline = deadline or time.monotonic() + PATIENCE
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {PATIENCE:.0f} s for {what}")

    def wait_until_taken(self, number):
        for reader in range(self.readers):
            self.wait(TAKEN + reader * LINE, number, f"reader {reader} to take frame {number}")

    def prepare(self, order):
        self.close()
        self.size, self.window, self.whole = order["size"], order["window"], order["whole"]
        name, length = f"{self.name}-{self.size}", self.size * self.window
        if self.reader is None:
            self.memory = shared_memory.SharedMemory(name, create=True, size=length)
            self.memory.buf[:length] = bytes(length)
        elif sys.version_info >= (3, 13):
            # The writer owns it; its tracker is the one to remove it.
            self.memory = shared_memory.SharedMemory(name, track=False)
        else:
            self.memory = shared_memory.SharedMemory(name)
            resource_tracker.unregister(self.memory._name, "shared_memory")
        self.buffer = memoryview(bytearray(self.size))
        self.slots = [self.memory.buf[slot * self.size : (slot + 1) * self.size] for slot in range(self.window)]
        return {}

    def close(self):
        if self.memory is not None:
            for slot in self.slots:
                slot.release()
            self.memory.close()
            if self.reader is None:
                self.memory.unlink()
            self.memory = None

    def write(self, order):
        latency, warm, count = order["measure"] == "latency", order["warm"], order["count"]
        words, buffer, now = self.words, self.buffer, time.monotonic_ns
        started = now()
        for turn in range(warm + count):
            if turn == warm:
                self.wait_until_taken(self.number)
                started = now()
            self.number += 1
            mark(buffer, self.number, self.whole)
            if not latency:
                self.wait_until_taken(max(0, self.number - self.window))
            words[STAMP] = now()
            self.slots[self.number % self.window][:] = buffer
            words[ANNOUNCED] = self.number
            if latency:
                self.wait_until_taken(self.number)
        self.wait_until_taken(self.number)
        return {"started": started}

    def read(self, order):
        latency, warm, count = order["measure"] == "latency", order["warm"], order["count"]
        words, buffer, now = self.words, self.buffer, time.monotonic_ns
        latencies, ended = [], 0
        for turn in range(warm + count):
            self.number += 1
            self.wait(ANNOUNCED, self.number, f"frame {self.number}")
            buffer[:] = self.slots[self.number % self.window]
            ended = now()
            if latency and turn >= warm:
                latencies.append(ended - words[STAMP])
            check(buffer, self.number, self.whole)
            words[TAKEN + self.reader * LINE] = self.number
        return {"latencies": latencies, "ended": ended}

    def obey(self, order):
        if order["order"] == "prepare":
            return self.prepare(order)
        return self.write(order) if self.reader is None else self.read(order)


def pattern(length, number):
    period = bytes((index * 31 + number * 7) % 251 for index in range(251))
    return (period * (length // 251 + 1))[:length]


def mark(buffer, number, whole):
    if whole:
        buffer[:] = pattern(len(buffer), number)
    buffer[:8] = buffer[-8:] = number.to_bytes(8, "little")


def check(buffer, number, whole):
    ends = number.to_bytes(8, "little")
    if buffer[:8] != ends or buffer[-8:] != ends:
        raise ValueError(f"frame {number} does not begin and end with its number")
    if whole and buffer[8:-8] != pattern(len(buffer), number)[8:-8]:
        raise ValueError(f"frame {number} is wrong")


def main():
    reader = int(sys.argv[3]) if len(sys.argv) > 3 else None
    worker = Worker(sys.argv[1], int(sys.argv[2]), reader)
    print("{}", flush=True)
    try:
        for line in sys.stdin:
            try:
                answer = worker.obey(json.loads(line))
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), flush=True)
    finally:
        worker.close()


main()
