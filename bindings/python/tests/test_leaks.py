"""Everything is given back: pins, participants, file descriptors, memory."""

import gc
import os
import sys
import time

import numpy
import pytest

from framebuffer import FrameBufferClient, FrameBufferServer

ROUNDS = 300


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def use(client, data):
    frame = client.publish(data)
    client.read(frame)
    client.read_into(frame, bytearray(len(data)))
    view = client.view(frame)
    numpy.frombuffer(view, dtype=numpy.uint8)
    with client.view(frame) as view:
        memoryview(view)
        view.verify()
    with client.loan(len(data)) as loan:
        memoryview(loan)[:4] = b"1234"
        loan.commit()
    client.loan(len(data))
    frame.to_dict()
    client.stats()
    for wrong in [lambda: client.read(frame.offset, 1, bytes(8)), lambda: client.publish(5), lambda: client.read(-1)]:
        with pytest.raises((TimeoutError, TypeError)):
            wrong()


def test_frames_views_and_loans_leave_nothing(client):
    data = bytes(100_000)
    use(client, data)
    gc.collect()
    before = resident(), descriptors(), sys.getrefcount(data), sys.getrefcount(client)
    for _ in range(ROUNDS):
        use(client, data)
    gc.collect()
    after = resident(), descriptors(), sys.getrefcount(data), sys.getrefcount(client)
    assert after[1:] == before[1:]
    assert client.stats()["pins"] == 0
    # One frame that is left each time would be 30 MB.
    assert after[0] - before[0] < ROUNDS * len(data) / 3


def test_channels_leave_nothing(client):
    array = numpy.zeros((100, 1000), numpy.uint8)

    def use():
        with client.publisher("camera") as publisher, client.subscribe("camera", start="new") as subscriber:
            publisher.send(array)
            sample = subscriber.next(1)
            assert sample.array().sum() == 0
            assert numpy.from_dlpack(sample).sum() == 0
            sample.__dlpack__()
            loan = publisher.loan(shape=array.shape)
            numpy.from_dlpack(loan)[:] = 1
            loan.send()
            publisher.loan(5)
            assert next(subscriber).array().any()
            subscriber.fileno()
            with pytest.raises(ValueError, match="dtype"):
                publisher.send(array, dtype="none")
        client.channels()

    open_before = descriptors()
    use()
    gc.collect()
    before = resident(), sys.getrefcount(array), sys.getrefcount(client)
    for _ in range(ROUNDS):
        use()
    gc.collect()
    # The threads that wait for frames end soon.
    deadline = time.monotonic() + 30
    while descriptors() > open_before:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    after = resident(), sys.getrefcount(array), sys.getrefcount(client)
    assert after[1:] == before[1:]
    assert client.stats()["pins"] == 0
    assert after[0] - before[0] < ROUNDS * array.nbytes / 3


def test_clients_and_servers_leave_nothing():
    def round_trip():
        with FrameBufferServer(1 << 20) as server, FrameBufferClient(server.get_key()) as client:
            client.read(client.publish(bytes(1 << 20)))

    round_trip()
    gc.collect()
    before = resident(), descriptors()
    for _ in range(50):
        round_trip()
    gc.collect()
    assert descriptors() == before[1]
    assert resident() - before[0] < 25 << 20


def test_a_server_and_a_client_that_are_only_forgotten_give_back_everything(folder):
    server = FrameBufferServer(1 << 20)
    server.start()
    client = FrameBufferClient(server.get_key())
    client.start()
    before = descriptors()
    del server, client
    gc.collect()
    assert os.listdir(folder) == []
    assert descriptors() < before
