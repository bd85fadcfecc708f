"""Frames between Python and the programs in Rust: `framebuffer-sidecar`, `frame-writer`, `frame-reader`.

`FRAMEBUFFER_BIN` names the folder that they are in; without it these tests are skipped.
"""

import hashlib
import json
import os
import socket
import subprocess
import time

import pytest
from conftest import program

from framebuffer import FrameBufferTimeout, connect

BIN = os.environ.get("FRAMEBUFFER_BIN")
pytestmark = pytest.mark.skipif(not BIN, reason="FRAMEBUFFER_BIN does not say where the programs are")

WIDTH, HEIGHT, FRAMES = 640, 360, 50
RATE = {"num": 25, "den": 1}
SIZE = WIDTH * HEIGHT * 3


def lines(connection):
    with connection.makefile("r") as file:
        for line in file:
            yield json.loads(line)


def test_connect_finds_the_sidecar_by_its_url(sidecar):
    for client in [connect(), connect(sidecar, timeout=5)]:
        with client:
            assert client.size == 64 << 20
            assert client.read(client.publish(b"x")) == b"x"
        with client:
            assert client.started


def test_python_reads_what_rust_writes(sidecar, tmp_path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{tmp_path}/frames.sock")
    listener.listen()
    command = [program("frame-writer"), "--generate", f"{WIDTH}x{HEIGHT}:rgb24", "--frames", str(FRAMES)]
    command += ["--window", "8", "--to", f"unix:{tmp_path}/frames.sock", "--once"]
    with listener, connect() as client, subprocess.Popen(command) as writer:
        connection, _ = listener.accept()
        with connection:
            stream = lines(connection)
            header = next(stream)
            assert header["framebuffer_video"] == 1
            seen = set()
            for line in stream:
                if "end" in line:
                    assert line["end"] == FRAMES
                    break
                data = client.read(line)
                with client.view(line) as view:
                    view.verify()
                    assert bytes(view) == data
                assert len(data) == SIZE
                seen.add(hashlib.md5(data).digest())
                connection.sendall(json.dumps({"sequence": line["sequence"]}).encode() + b"\n")
        assert writer.wait(20) == 0
    assert len(seen) == FRAMES


@pytest.mark.parametrize("way", ["publish", "loan", "write"])
def test_rust_reads_what_python_writes(sidecar, tmp_path, way):
    address, output = f"{tmp_path}/frames.sock", tmp_path / "received.raw"
    command = [program("frame-reader"), "--listen", f"unix:{address}", "--output", str(output)]
    pictures = [bytes([number]) * SIZE for number in range(FRAMES)]
    with connect() as client, subprocess.Popen(command) as reader, socket.socket(socket.AF_UNIX) as connection:
        deadline = time.monotonic() + 20
        while not os.path.exists(address):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        connection.connect(address)
        acknowledged = lines(connection)

        def say(**line):
            connection.sendall(json.dumps(line).encode() + b"\n")

        say(framebuffer_video=1, container="raw", pixels="rgb24", width=WIDTH, height=HEIGHT, rate=RATE, window=4)
        for number, picture in enumerate(pictures):
            if way == "publish":
                frame = client.publish(picture)
            elif way == "loan":
                loan = client.loan(SIZE)
                with memoryview(loan) as memory:
                    memory[:] = picture
                frame = loan.commit()
            else:
                offset = client.allocate(SIZE)
                frame = {"offset": offset, "size": SIZE, "checksum": client.write(offset, picture).hex()}
            fields = frame if isinstance(frame, dict) else frame.to_dict()
            say(**fields, sequence=number, sent_ns=time.clock_gettime_ns(time.CLOCK_MONOTONIC))
            assert next(acknowledged) == {"sequence": number}
        say(end=FRAMES)
        assert reader.wait(20) == 0
    assert output.read_bytes() == b"".join(pictures)


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
