"""Frames: their descriptions, and reading and writing them."""

import ast
import copy
import json
import pickle
from pathlib import Path

import numpy
import pytest
import xxhash

import framebuffer.client
from framebuffer import Frame, FrameBufferClient, FrameBufferExhausted, FrameBufferServer, read_frame

SIZES = [*range(0, 2100), 4095, 4096, 4097, 16383, 16384, 16385, 65537, 1 << 20, 6_220_801]


def test_the_checksum_is_that_of_xxhash():
    data = numpy.random.default_rng(1).integers(0, 256, SIZES[-1], dtype=numpy.uint8).tobytes()
    with FrameBufferServer(16 << 20) as server, FrameBufferClient(server.get_key()) as client:
        for size in SIZES:
            part = memoryview(data)[:size]
            expected = xxhash.xxh3_64_digest(part)
            frame = client.publish(part)
            assert frame.checksum == expected, size
            assert client.write(server.allocate(size), part) == expected, size
            assert client.read(frame) == part, size


def test_what_is_published_is_read_in_all_ways(client):
    data = bytes(range(256)) * 100
    frame = client.publish(data)
    assert client.read(frame) == data
    assert client.read(frame.to_dict()) == data
    assert client.read(frame.offset, frame.size, frame.checksum) == data
    buffer = bytearray(len(data))
    client.read_into(frame, buffer)
    assert buffer == data
    with client.view(frame) as view:
        assert bytes(view) == data


def test_a_frame_has_the_json_of_the_crate(client):
    frame = client.publish(b"abc")
    fields = f'{{"offset": 64, "size": 3, "checksum": "78af5f94892f3950", "ring": "{client.ring_id}"}}'
    assert json.dumps(frame.to_dict()) == fields
    assert Frame.from_dict(json.loads(json.dumps(frame.to_dict()))) == frame
    assert Frame.from_dict({**frame.to_dict(), "topic": "ignored"}) == frame
    assert Frame.from_dict({"offset": "64", "size": "3", "checksum": frame.checksum, "ring": frame.ring}) == frame


def test_frames_are_values():
    frame = Frame(64, 3, "78af5f94892f3950")
    same = Frame(offset="64", size=3, checksum=bytes.fromhex("78af5f94892f3950"))
    assert frame == same
    assert hash(frame) == hash(same)
    assert len({frame, same, Frame(128, 3, frame.checksum)}) == 2
    for other in [Frame(65, 3, frame.checksum), Frame(64, 4, frame.checksum), Frame(64, 3, bytes(8)), None, (64, 3)]:
        assert frame != other
    assert repr(frame) == "Frame(offset=64, size=3, checksum='78af5f94892f3950')"
    assert eval(repr(frame)) == frame
    assert copy.copy(frame) == copy.deepcopy(frame) == frame
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(frame, protocol)) == frame
    with pytest.raises(AttributeError):
        frame.offset = 5  # type: ignore[misc]


def test_offsets_are_of_64_bits():
    largest = (1 << 64) - 1
    frame = Frame(largest, largest, bytes(8))
    assert (frame.offset, frame.size) == (largest, largest)
    assert Frame.from_dict(json.loads(json.dumps(frame.to_dict()))) == frame


def test_a_full_ring_is_an_error_of_its_own(client):
    views = [client.view(client.publish(bytes(350_000))) for _ in range(3)]
    with pytest.raises(FrameBufferExhausted, match="no room for a frame of 350000 bytes"):
        client.publish(bytes(350_000))
    views[0].release()
    client.publish(bytes(350_000))


def test_statistics_count_what_happened(server, client):
    client.read(client.publish(b"12345"))
    stats = client.stats()
    assert stats == {**server.stats(), "created": stats["created"]}
    assert stats["size"] == 1 << 20
    assert stats["participants"] == 2
    counters = stats["counters"]
    assert (counters["frames_written"], counters["bytes_read"], counters["views"]) == (1, 5, 0)


def test_statistics_have_the_keys_that_type_checkers_see(client):
    stub = ast.parse(Path(framebuffer.__file__).with_name("_native.pyi").read_text())
    fields = {
        node.name: [field.target.id for field in node.body if isinstance(field, ast.AnnAssign)]
        for node in stub.body
        if isinstance(node, ast.ClassDef)
    }
    stats = client.stats()
    assert list(stats) == fields["_Stats"]
    assert list(stats["counters"]) == fields["_Counters"]


def test_read_frame_survives_a_ring_that_was_replaced():
    for content in [b"first", b"second", b"third"]:
        with FrameBufferServer("replaced", 1000) as server, FrameBufferClient(server.get_key()) as client:
            # So that the offset was not allocated in the ring before.
            for _ in range(len(content)):
                frame = client.publish(content)
            assert read_frame({"key": "replaced", **frame.to_dict()}) == content
    with pytest.raises(FileNotFoundError):
        read_frame({"key": "replaced", "offset": 1 << 30, "size": 5, "checksum": frame.checksum})


def test_read_frame_keeps_one_client_for_a_key_and_none_of_rings_that_are_gone():
    for _ in range(20):
        with FrameBufferServer(1000) as server, FrameBufferClient(server.get_key()) as client:
            message = {"key": server.get_key(), **client.publish(b"x").to_dict()}
            for _ in range(3):
                read_frame(message)
            assert client.stats()["participants"] == 3
    assert len(framebuffer.client._clients) == 1


def test_read_frame_passes_on_what_is_wrong_with_a_message(server, client):
    message = {"key": server.get_key(), **client.publish(b"x").to_dict()}
    for changed in [{"offset": -1}, {"checksum": ""}, {"ring": "x"}, {"key": "a/b"}, {"key": "a\0b"}]:
        with pytest.raises(ValueError):
            read_frame({**message, **changed})
    with pytest.raises(TimeoutError):
        read_frame({**message, "checksum": bytes(8)})


def test_a_client_can_be_pickled(server, client):
    frame = client.publish(b"x")
    with pickle.loads(pickle.dumps(client)) as other:
        assert other.started
        assert other.read(frame) == b"x"
    client.stop()
    assert not pickle.loads(pickle.dumps(client)).started
    assert pickle.loads(pickle.dumps(FrameBufferClient())).get_key() is None


def test_programs_may_derive_classes(server):
    class Counting(FrameBufferClient):
        published = 0

        def publish(self, data):
            self.published += 1
            return super().publish(data)

    with Counting(server.get_key()) as client:
        assert client.read(client.publish(b"x")) == b"x"
        assert client.published == 1
