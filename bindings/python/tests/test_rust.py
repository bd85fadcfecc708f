"""Frames between Python and the programs in Rust: `framebuffer-sidecar`, `frame-writer`, `frame-reader`.

`FRAMEBUFFER_BIN` names the folder that they are in; without it these tests are skipped.
"""

import hashlib
import json
import os
import subprocess
import threading

import pytest
from conftest import program

from framebuffer import FrameBufferTimeout, connect

BIN = os.environ.get("FRAMEBUFFER_BIN")
pytestmark = pytest.mark.skipif(not BIN, reason="FRAMEBUFFER_BIN does not say where the programs are")

WIDTH, HEIGHT, FRAMES = 640, 360, 50
CONTENT_TYPE = f"video/x-raw,format=RGB,width={WIDTH},height={HEIGHT}"
SIZE = WIDTH * HEIGHT * 3


def test_connect_finds_the_sidecar_by_its_url(sidecar):
    for client in [connect(), connect(sidecar, timeout=5)]:
        with client:
            assert client.size == 64 << 20
            assert client.read(client.publish(b"x")) == b"x"
        with client:
            assert client.started


def test_python_receives_what_rust_sends(sidecar):
    with connect() as client, client.subscribe("video", lossless=True) as frames:
        command = [program("frame-writer"), "--generate", f"{WIDTH}x{HEIGHT}:rgb24", "--frames", str(FRAMES)]
        with subprocess.Popen(command) as writer:
            seen = set()
            for number, frame in enumerate(frames):
                if not len(frame):
                    assert number == frame.user == FRAMES
                    break
                with frame:
                    frame.verify()
                    assert frame.user == number
                    assert frame.array().shape == (HEIGHT, WIDTH, 3)
                    assert client.read(frame.frame) == bytes(frame)
                    seen.add(hashlib.md5(frame).digest())
        assert writer.returncode == 0
    assert len(seen) == FRAMES


@pytest.mark.parametrize("way", ["send", "loan"])
def test_rust_receives_what_python_sends(sidecar, tmp_path, way):
    output = tmp_path / "received.raw"
    command = [program("frame-reader"), "--lossless", "--output", str(output)]
    pictures = [bytes([number]) * SIZE for number in range(FRAMES)]
    with connect() as client, subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as reader:
        while "subscribed to channel" not in reader.stderr.readline():
            assert reader.poll() is None
        # What it goes on to say must not fill the pipe.
        threading.Thread(target=reader.stderr.read, daemon=True).start()
        with client.publisher("video", keep=4, content_type=CONTENT_TYPE) as publisher:
            for number, picture in enumerate(pictures):
                if way == "send":
                    publisher.send(picture, user=number, timeout=20)
                else:
                    loan = publisher.loan(SIZE)
                    with memoryview(loan) as memory:
                        memory[:] = picture
                    loan.send(user=number, timeout=20)
            publisher.send(b"", user=FRAMES, timeout=20)
            publisher.flush(20)
        assert reader.wait(20) == 0
    assert output.read_bytes() == b"".join(pictures)


@pytest.mark.parametrize("way", ["publish", "loan", "write"])
def test_every_way_to_write_is_read_by_another_client(sidecar, way):
    with connect() as writer, connect() as reader:
        data = os.urandom(SIZE)
        if way == "publish":
            frame = writer.publish(data)
        elif way == "loan":
            loan = writer.loan(SIZE)
            with memoryview(loan) as memory:
                memory[:] = data
            frame = loan.commit()
        else:
            offset = writer.allocate(SIZE)
            frame = {"offset": offset, "size": SIZE, "checksum": writer.write(offset, data).hex()}
        assert reader.read(frame) == data


def test_a_frame_that_the_ring_has_moved_past_is_a_timeout_on_both_sides(sidecar):
    with connect() as client:
        frame = client.publish(bytes(1 << 20))
        for _ in range(70):
            client.publish(bytes(1 << 20))
        with pytest.raises(FrameBufferTimeout, match="overwritten"):
            client.read(frame)
        command = [program("framebuffer-sidecar"), "stat", "--json"]
        said = subprocess.run(command, capture_output=True, check=True)
        assert json.loads(said.stdout)["timeouts"]["overwritten"] == 1
