"""Signal handlers and `__del__` that use the objects whose use they have interrupted: nothing waits for itself."""

import gc
import io
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping

import numpy
import pytest

import framebuffer.client
from framebuffer import read_frame

TURNS = 500


def interrupted(work, handler):
    """Runs `work` until `handler` has interrupted it `TURNS` times, at different places."""
    done = 0

    def handle(*_):
        nonlocal done
        done += 1
        handler()

    before = signal.signal(signal.SIGALRM, handle)
    try:
        for turn in range(TURNS):
            seen = done
            signal.setitimer(signal.ITIMER_REAL, 1e-6 * (5 + turn % 40))
            while done == seen:
                work()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert done == TURNS


def test_read_frame_works_in_a_signal_handler_that_interrupts_it(server, client):
    message = {"key": server.get_key(), **client.publish(b"last frame").to_dict()}

    def read():
        assert read_frame(message) == b"last frame"

    def open_and_read():
        framebuffer.client._clients.clear()
        read()

    interrupted(read, read)
    # The handler comes while a client is being opened, too.
    interrupted(open_and_read, read)
    interrupted(read, open_and_read)


@pytest.mark.parametrize("operation", ["publish", "view", "loan", "read", "start", "channel"])
def test_every_operation_works_in_a_signal_handler_that_interrupts_it(client, operation):
    frame = client.publish(bytes(20_000))
    view = client.view(frame)

    def publish():
        client.publish(bytes(20_000))

    def look():
        with client.view(frame) as other, memoryview(other), memoryview(view):
            view.verify()

    def write():
        with client.loan(100) as loan:
            memoryview(loan)[:] = bytes(100)
            loan.commit()

    def restart():
        client.stop()
        client.start()

    publisher, subscriber = client.publisher("camera"), client.subscribe("camera")

    def over_a_channel():
        publisher.send(numpy.zeros(100))
        publisher.loan(shape=(3,)).send()
        for sample in [subscriber.next(0), subscriber.latest()]:
            if sample is not None:
                sample.array()
        client.subscribe("camera").close()

    work = {"publish": publish, "view": look, "loan": write, "read": lambda: client.read(frame), "start": restart}
    work["channel"] = over_a_channel
    interrupted(work[operation], work[operation])


class Reads:
    """Reads a frame when it is collected."""

    def __init__(self, read):
        self.read = read
        # Only the garbage collector can delete it.
        self.itself = self

    def __del__(self):
        self.read()


class Padding:
    """An object that counts for the collector; lists and tuples may be used again without being counted."""


@pytest.fixture
def eager_collector():
    """A few new objects that the collector tracks start a collection, also in the middle of `read_frame`."""
    before = gc.get_threshold()
    gc.set_threshold(3, 2)
    yield
    gc.set_threshold(*before)


def test_a_del_may_read_while_a_client_is_opened_for_read_frame(server, client, eager_collector):
    message = {"key": server.get_key(), **client.publish(b"x").to_dict()}
    read = []

    def read_it():
        read.append(read_frame(message))

    for turn in range(TURNS):
        framebuffer.client._clients.clear()
        Reads(read_it)
        # So that the collection comes at another place each time.
        padding = [Padding() for _ in range(turn % 41)]
        read_it()
        del padding
    gc.collect()
    assert read == [b"x"] * (2 * TURNS)


def test_a_garbage_collection_may_use_the_view_whose_buffer_is_refused(client):
    """The exception of the refusal is made by Python, which may collect garbage for it."""
    view, loan = client.view(client.publish(b"x")), client.loan(1)
    looked = set()

    def look(*_):
        looked.add((view.released, loan.released))

    before = gc.get_threshold()
    gc.callbacks.append(look)
    try:
        for turn in range(TURNS):
            gc.set_threshold(1 + turn % 5)
            with pytest.raises(TypeError, match="read-write"):
                io.BytesIO(b"y").readinto(view)
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(look)
    assert looked == {(False, False)}
    view.release()
    loan.release()


def test_a_mapping_that_reads_another_frame_is_read(server, client):
    frame = client.publish(b"outer")
    message = {"key": server.get_key(), **client.publish(b"inner").to_dict()}

    class Nested(Mapping):
        def __init__(self):
            self.fields = {**frame.to_dict(), "key": server.get_key()}

        def __getitem__(self, name):
            assert read_frame(message) == b"inner"
            return self.fields[name]

        def __iter__(self):
            return iter(self.fields)

        def __len__(self):
            return len(self.fields)

    assert client.read(Nested()) == read_frame(Nested()) == b"outer"


def test_threads_that_open_the_same_ring_at_once_end_with_one_client(server, client):
    message = {"key": server.get_key(), **client.publish(b"x").to_dict()}
    start = threading.Barrier(8)
    read = []

    def read_it():
        start.wait()
        read.append(read_frame(message))

    for _ in range(20):
        framebuffer.client._clients.clear()
        threads = [threading.Thread(target=read_it) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert read == [b"x"] * 160
    assert len(framebuffer.client._clients) == 1
    gc.collect()
    # The server, the client, and that of read_frame.
    assert client.stats()["participants"] == 3


def test_a_server_that_is_started_while_the_program_ends_is_stopped_too(folder):
    code = """
import atexit
late = []
# Registered first, so it runs last.
atexit.register(lambda: print([server.started for server in late]))
import framebuffer
class Late(framebuffer.FrameBufferServer):
    def stop(self):
        super().stop()
        if len(late) < 3:
            late.append(framebuffer.FrameBufferServer(1000))
            late[-1].start()
servers = [Late(1000) for _ in range(3)]
for server in servers:
    server.start()
"""
    run = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("[False, False, False]\n", "")


def test_the_first_errors_of_a_program_may_be_raised_in_a_del_that_interrupts_one(folder):
    """PyO3 looks an exception up when it is first raised, with a cell locked."""
    code = """
import builtins, framebuffer
client = framebuffer.FrameBufferClient("nobody-has-this-key")
real = builtins.__import__
depth = 0
def importing(*arguments, **named):
    # As a garbage collection or a signal would, in the middle of an import.
    global depth
    if depth == 0:
        depth += 1
        raises()
        depth -= 1
    return real(*arguments, **named)
def raises():
    for call in [client.start, lambda: client.size, lambda: client.read({})]:
        try:
            call()
        except (framebuffer.FrameBufferError, ValueError):
            pass
        else:
            raise SystemExit("no error")
builtins.__import__ = importing
raises()
"""
    subprocess.run([sys.executable, "-c", code], timeout=30, check=True)
