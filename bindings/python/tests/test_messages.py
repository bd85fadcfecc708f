"""Programs of the old style as real processes: a server, a writer and a reader, over XML-RPC and JSON."""

import json
import pathlib
import subprocess
import sys

import pytest

from framebuffer.client import FrameBufferClient

PROGRAMS = pathlib.Path(__file__).parent / "programs"


def start(name, *arguments):
    command = [sys.executable, PROGRAMS / name, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def url(program):
    return f"http://127.0.0.1:{int(program.stdout.readline())}"


def test_programs_of_the_old_style_run_unchanged_over_xml_rpc():
    with start("server.py", 1 << 20, "xmlrpc") as server:
        server_url = url(server)
        with start("reader.py", server_url) as reader, start("writer.py", server_url, url(reader)) as writer:
            said, _ = writer.communicate(timeout=30)
            assert reader.wait(30) == 0
        assert server.wait(30) == 0
    assert said.splitlines() == [*(f"100000 times {number}" for number in range(20)), "100000", "timeout"]


def test_messages_of_json_carry_frames_in_both_of_their_forms():
    def ask(**request):
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())

    with start("server.py", 1 << 20, "json") as server:
        with FrameBufferClient(**ask(method="get_key")) as client:
            offset = ask(method="allocate", size=5)["offset"]
            checksum = client.write(offset, b"12345")
            for message in [
                {"offset": offset, "size": 5, "checksum": checksum.hex()},
                {"offset": str(offset), "size": "5", "checksum": checksum.hex()},
            ]:
                assert client.read(**json.loads(json.dumps(message))) == b"12345"
        server.stdin.close()
        assert server.wait(30) == 0


def test_a_program_that_ends_without_stop_removes_its_ring(folder):
    for program in [
        "server = FrameBufferServer(1000); server.start(); keep = [server]; keep.append(keep)",
        "import threading, time; server = FrameBufferServer(1000); server.start()\n"
        "threading.Thread(target=lambda _: time.sleep(60), args=(server,), daemon=True).start(); del server",
        "import sys; FrameBufferServer(1000).start(); sys.exit(3)",
        "server = FrameBufferServer(1000); server.start(); raise SystemError",
    ]:
        code = f"from framebuffer.server import FrameBufferServer\n{program}"
        subprocess.run([sys.executable, "-c", code], timeout=30, stderr=subprocess.DEVNULL, check=False)
        assert list(pathlib.Path(folder).iterdir()) == []


@pytest.mark.parametrize("killed", [True, False])
def test_the_ring_of_a_killed_server_is_replaced_by_the_next(folder, killed):
    code = (
        "import os, signal\nfrom framebuffer.server import FrameBufferServer\n"
        "server = FrameBufferServer('killed', 1000); server.start()"
        + ("; os.kill(os.getpid(), signal.SIGKILL)" if killed else "")
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code], timeout=30, check=False)
    left = [path.name for path in pathlib.Path(folder).iterdir()]
    assert left == (["framebuffer-killed"] if killed else [])
    for name in left:
        (pathlib.Path(folder) / name).unlink()
