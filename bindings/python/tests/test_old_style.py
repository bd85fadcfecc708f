"""Programs written for the previous library run unchanged."""

import array
import os

import numpy
import pytest

from framebuffer.client import FrameBufferClient, FrameBufferTimeout, read_frame
from framebuffer.server import FrameBufferServer


def test_a_frame_goes_through_a_ring():
    key, size = "old-style", 1 << 20
    with FrameBufferServer(key, size) as server:
        key = server.get_key()
        data = b"a frame"
        offset = server.allocate(len(data))
        with FrameBufferClient(key) as client:
            checksum = client.write(offset, data)
            assert client.read(offset, len(data), checksum) == data
        assert key == "old-style"
        assert isinstance(offset, int)
        assert isinstance(checksum, bytes)
        assert len(checksum) == 8


def test_a_server_without_a_key_makes_its_own():
    with FrameBufferServer(1000) as one, FrameBufferServer(size=1000) as other:
        assert one.get_key() != other.get_key()
        with FrameBufferClient(one.get_key()) as client:
            assert client.size == 1000


def test_start_and_stop_do_what_a_with_block_does(folder):
    server = FrameBufferServer(key="started", size=1000)
    assert os.listdir(folder) == []
    server.start()
    server.start()
    client = FrameBufferClient()
    client.set_key(server.get_key())
    client.start()
    client.start()
    offset = server.allocate(1)
    checksum = client.write(offset=offset, data=b"x")
    assert client.read(offset=offset, size=1, checksum=checksum) == b"x"
    client.stop()
    client.stop()
    server.stop()
    server.stop()
    assert os.listdir(folder) == []


def test_a_stopped_client_and_server_can_be_started_again():
    server = FrameBufferServer(1000)
    for _ in range(2):
        with server, FrameBufferClient(server.get_key()) as client:
            assert client.read(client.publish(b"again")) == b"again"


def test_a_timeout_is_a_timeout_error_that_says_why(server, client):
    data = bytes(300_000)
    offset = server.allocate(len(data))
    checksum = client.write(offset, data)
    for _ in range(4):
        client.write(server.allocate(len(data)), data)
    with pytest.raises(FrameBufferTimeout, match="overwritten") as raised:
        client.read(offset, len(data), checksum)
    assert isinstance(raised.value, TimeoutError)
    assert raised.value.offset == offset
    assert raised.value.reason == "overwritten"
    with pytest.raises(FrameBufferTimeout) as raised:
        client.read(server.allocate(10), 10, checksum)
    assert raised.value.reason == "not_written"


def test_another_checksum_or_size_than_what_is_there_is_a_timeout(server, client):
    offset = server.allocate(10)
    checksum = client.write(offset, b"0123456789")
    for size, promised in [(10, bytes(8)), (9, checksum)]:
        with pytest.raises(FrameBufferTimeout) as raised:
            client.read(offset, size, promised)
        assert raised.value.reason == "mismatch"


@pytest.mark.parametrize(
    "data",
    [
        b"12345678",
        bytearray(b"12345678"),
        memoryview(b"0123456789")[1:9],
        numpy.frombuffer(b"12345678", dtype=numpy.uint16).reshape(2, 2),
        array.array("d", [0.5]),
    ],
    ids=lambda data: type(data).__name__,
)
def test_write_takes_anything_with_a_contiguous_buffer(server, client, data):
    offset = server.allocate(8)
    checksum = client.write(offset, data)
    assert client.read(offset, 8, checksum) == bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        numpy.zeros((4, 4), dtype=numpy.uint8)[:, :2],
        numpy.zeros((4, 4), dtype=numpy.uint8).T[:3],
        numpy.asfortranarray(numpy.zeros((4, 4))),
        memoryview(b"0123456789")[::2],
    ],
    ids=["columns", "transposed", "fortran", "memoryview"],
)
def test_a_buffer_that_is_not_contiguous_is_refused_clearly(server, client, data):
    with pytest.raises(BufferError, match="not C-contiguous"):
        client.write(server.allocate(128), data)
    with pytest.raises(BufferError, match="not C-contiguous"):
        client.publish(data)


def test_offset_size_and_checksum_may_be_what_messages_make_of_them(server, client):
    offset = server.allocate("5")
    checksum = client.write(str(offset), b"12345")
    for form in [checksum, checksum.hex(), checksum.hex().upper(), bytearray(checksum), memoryview(checksum)]:
        assert client.read(str(offset), "5", form) == b"12345"
    assert client.read(numpy.uint64(offset), numpy.int32(5), checksum) == b"12345"


def test_read_frame_takes_a_message(server, client):
    offset = server.allocate(5)
    checksum = client.write(offset, b"12345")
    message = {"key": server.get_key(), "offset": offset, "size": 5, "checksum": checksum, "topic": "left"}
    assert read_frame(message) == b"12345"
    message.update(offset=str(offset), checksum=checksum.hex())
    assert read_frame(message) == b"12345"
