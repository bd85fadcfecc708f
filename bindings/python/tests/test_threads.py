"""Many threads on one client, and other threads that run while bytes are copied."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest

from framebuffer import FrameBufferClient, FrameBufferServer, FrameBufferTimeout, read_frame

LARGE = 64 << 20


@pytest.fixture(scope="module")
def large():
    """A client of a ring for large frames, whose memory was touched before."""
    with FrameBufferServer(2 * LARGE) as server, FrameBufferClient(server.get_key()) as client:
        for _ in range(3):
            client.publish(bytes(LARGE))
        yield client


@pytest.fixture
def turns_are_given():
    """A thread gets its turn when another lets go of the interpreter, never by the clock."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    yield
    sys.setswitchinterval(before)


class Bystander(threading.Thread):
    """Naps all the time, and counts the naps that end while an operation is under way."""

    def __init__(self):
        super().__init__()
        self.under_way = False
        self.ended = False
        self.turns = 0

    def run(self):
        """Nap until the end, counting."""
        while not self.ended:
            self.turns += self.under_way
            time.sleep(0.0001)

    def turns_during(self, work):
        """How often this thread had its turn from the beginning of `work` to its end."""
        self.turns = 0
        self.under_way = True
        work()
        self.under_way = False
        return self.turns


def prepared(client, operation):
    """An operation on a large frame, ready to be called."""
    data = bytearray(LARGE)
    if operation == "publish":
        return lambda: client.publish(data)
    if operation == "write":
        offset = client.allocate(LARGE)
        return lambda: client.write(offset, data)
    if operation == "commit":
        return client.loan(LARGE).commit
    frame = client.publish(data)
    if operation == "read":
        return lambda: client.read(frame)
    if operation == "read_into":
        return lambda: client.read_into(frame, data)
    return client.view(frame).verify


@pytest.mark.parametrize("operation", ["publish", "write", "read", "read_into", "verify", "commit"])
def test_another_thread_goes_on_while_bytes_move(large, operation, turns_are_given):
    bystander = Bystander()
    bystander.start()
    most = 0
    deadline = time.monotonic() + 20
    # Who keeps the interpreter gives no turn ever, who lets go of it for an instant one; a busy machine may at times.
    while most < 3 and time.monotonic() < deadline:
        most = max(most, bystander.turns_during(prepared(large, operation)))
    bystander.ended = True
    bystander.join()
    assert most >= 3


def test_one_client_serves_many_threads(server, client):
    def work(number):
        data = bytes([number]) * (1000 + 20_000 * (number % 3))
        seen = 0
        for _ in range(100):
            frame = client.publish(data)
            try:
                assert client.read(frame) == data
                assert read_frame({"key": server.get_key(), **frame.to_dict()}) == data
                with client.view(frame) as view:
                    assert bytes(view) == data
                seen += 1
            except FrameBufferTimeout:
                pass
        return seen

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) > 0
    assert client.stats()["pins"] == 0


def test_start_and_stop_in_many_threads_leave_one_client(server):
    client = FrameBufferClient(server.get_key())
    before = server.stats()["participants"]

    def work(_):
        for _ in range(50):
            client.start()
            client.stop()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    client.start()
    assert server.stats()["participants"] == before + 1
    client.stop()
    assert server.stats()["participants"] == before


def test_a_source_is_held_in_place_while_it_is_copied(large):
    client = large
    data = bytearray(LARGE)
    refused = 0
    stop = threading.Event()

    def grow():
        nonlocal refused
        while not stop.is_set():
            try:
                data.append(0)
                data.pop()
            except BufferError:
                refused += 1

    thread = threading.Thread(target=grow)
    thread.start()
    deadline = time.monotonic() + 30
    while not refused and time.monotonic() < deadline:
        client.publish(data)
    stop.set()
    thread.join()
    assert refused > 0
    data.append(0)


def test_a_frame_is_what_was_copied_whoever_writes_to_the_source_meanwhile(large):
    client = large
    data = numpy.zeros(LARGE, dtype=numpy.uint8)
    stop = threading.Event()

    def scribble():
        number = 0
        while not stop.is_set():
            number += 1
            data[:] = number % 256

    thread = threading.Thread(target=scribble)
    thread.start()
    try:
        for _ in range(10):
            with client.view(client.publish(data)) as view:
                view.verify()
    finally:
        stop.set()
        thread.join()


def test_a_view_that_is_released_while_it_is_verified_ends_afterwards(large):
    client = large
    frame = client.publish(bytes(LARGE))
    with ThreadPoolExecutor(1) as pool:
        for _ in range(5):
            view = client.view(frame)
            verified = pool.submit(view.verify)
            view.release()
            try:
                verified.result()
            except ValueError as error:
                assert "released" in str(error)
    assert client.stats()["pins"] == 0
