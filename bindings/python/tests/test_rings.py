"""Rings that take the place of others: what was said about frames of the old one, and the errors that tell."""

import json
import os
import pickle
import subprocess
import sys

import pytest

from framebuffer import (
    Frame,
    FrameBufferClient,
    FrameBufferError,
    FrameBufferExhausted,
    FrameBufferOtherRing,
    FrameBufferRetired,
    FrameBufferServer,
    read_frame,
)

DATA = b"x" * 1000


def replaced(size=1 << 20):
    """A frame of a ring, and another ring with the same key."""
    with FrameBufferServer("again", 1 << 20) as server, FrameBufferClient("again") as client:
        frame = client.publish(DATA)
        assert frame.ring == client.ring_id == server.ring_id
    return frame, FrameBufferServer("again", size)


def reads(client, frame):
    """Every way to read a frame."""
    return [
        lambda: client.read(frame),
        lambda: client.read(frame.to_dict()),
        lambda: client.read(**frame.to_dict()),
        lambda: client.read_into(frame, bytearray(frame.size)),
        lambda: client.view(frame),
        lambda: read_frame({"key": client.get_key(), **frame.to_dict()}),
    ]


@pytest.mark.parametrize("size", [1 << 20, 100])
@pytest.mark.parametrize("published", [b"", b"y" * 50, DATA])
def test_a_frame_of_the_ring_before_is_an_error_of_its_own_whatever_lies_at_its_offset(size, published):
    old, server = replaced(size)
    with server, FrameBufferClient("again") as client:
        if published and len(published) <= size:
            assert client.publish(published).offset == old.offset
        rings = f"of ring {old.ring}, not of ring {client.ring_id}"
        for call in reads(client, old):
            with pytest.raises(FrameBufferOtherRing, match=rings) as raised:
                call()
            assert isinstance(raised.value, FrameBufferError)
            assert not isinstance(raised.value, ValueError)


@pytest.mark.parametrize("size", [1 << 20, 100])
def test_a_frame_that_names_no_ring_is_a_framebuffer_error_if_this_ring_never_had_it(size):
    old, server = replaced(size)
    old = Frame(old.offset, old.size, old.checksum)
    with server, FrameBufferClient("again") as client:
        for call in reads(client, old):
            with pytest.raises(FrameBufferError, match="replaced") as raised:
                call()
            assert not isinstance(raised.value, ValueError)
        if size >= len(DATA):
            with pytest.raises(FrameBufferError, match="replaced"):
                client.write(old.offset, DATA)
            client.publish(DATA)
            # The same bytes at the same offset: nothing tells the one from the other.
            assert client.read(old) == DATA


def test_read_frame_goes_over_to_the_ring_that_a_message_names():
    for content in [b"first", b"secnd", b"third"]:
        with FrameBufferServer("named", 1000), FrameBufferClient("named") as client:
            assert read_frame({"key": "named", **client.publish(content).to_dict()}) == content


def test_descriptions_of_before_work_and_name_no_ring():
    old = {"offset": 64, "size": 3, "checksum": "78af5f94892f3950"}
    for fields in [old, {**old, "ring": None}]:
        frame = Frame.from_dict(fields)
        assert frame.ring is None
        assert frame.to_dict() == old
        assert repr(frame) == "Frame(offset=64, size=3, checksum='78af5f94892f3950')"
    # What the version before pickled.
    before = b"cframebuffer\nFrame\n(I64\nI3\nC\x08" + frame.checksum + b"tR."
    assert pickle.loads(before) == frame


def test_a_frame_with_a_ring_is_another_value_in_every_form():
    plain = Frame(64, 3, "78af5f94892f3950")
    frame = Frame(64, 3, "78af5f94892f3950", ring="00000000000000AB")
    assert frame.ring == "00000000000000ab"
    assert frame != plain
    assert len({frame, plain, Frame(64, 3, frame.checksum, "00000000000000ab")}) == 2
    assert repr(frame) == "Frame(offset=64, size=3, checksum='78af5f94892f3950', ring='00000000000000ab')"
    assert eval(repr(frame)) == frame
    assert Frame.from_dict(json.loads(json.dumps(frame.to_dict()))) == Frame(**frame.to_dict()) == frame
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(frame, protocol)) == frame


@pytest.mark.parametrize("ring", ["", "ab", "0" * 16, "0" * 17, "g" * 16, "x" * 1000])
def test_a_ring_that_is_no_identity_is_a_value_error_that_shows_it(ring):
    with pytest.raises(ValueError, match="16 hexadecimal digits") as raised:
        Frame(64, 3, bytes(8), ring)
    assert repr(ring[:40])[1:-1] in str(raised.value)
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize("ring", [5, b"00000000000000ab", ["x"]])
def test_a_ring_of_another_type_is_a_type_error(ring):
    with pytest.raises(TypeError, match="a str of 16 hexadecimal digits, not"):
        Frame(64, 3, bytes(8), ring)


def test_a_ring_that_was_given_up_is_an_error_of_its_own(folder, server, client):
    frame = client.publish(b"x")
    with client.view(frame) as view:
        retired_word = 80
        with open(f"{folder}/framebuffer-{server.get_key()}", "r+b") as file:
            file.seek(retired_word)
            file.write((1).to_bytes(8, "little"))
        for call in [*reads(client, frame)[:-1], lambda: client.publish(b"x"), lambda: client.allocate(1)]:
            with pytest.raises(FrameBufferRetired, match="open it anew"):
                call()
        assert bytes(view) == b"x"


def test_an_exhausted_ring_says_what_would_fit(client):
    views = [client.view(client.publish(bytes(300_000))) for _ in range(3)]
    with pytest.raises(FrameBufferExhausted) as raised:
        client.publish(bytes(600_000))
    error = pickle.loads(pickle.dumps(raised.value))
    assert (error.size, str(error)) == (600_000, str(raised.value))
    client.publish(bytes(error.largest_free))
    assert len(views) == 3


def test_too_many_views_of_one_client_are_an_exhausted_ring():
    # In a process of its own, as it takes nearly all slots.
    code = """
import framebuffer
with framebuffer.FrameBufferServer(1 << 20) as server, framebuffer.FrameBufferClient(server.get_key()) as client:
    frame = client.publish(b"x")
    views = []
    try:
        while len(views) < 1 << 15:
            views.append(client.view(frame))
    except framebuffer.FrameBufferExhausted as error:
        assert "release views" in str(error), error
        print(error.size, error.largest_free)
    views.clear()
    client.view(frame)
"""
    run = subprocess.run([sys.executable, "-c", code], env={**os.environ}, timeout=60, capture_output=True, check=True)
    assert run.stdout == b"None None\n"
