"""Rings for the tests, in a folder of their own, which must be empty at the end."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from framebuffer import FrameBufferClient, FrameBufferServer, connect

MIB = 1 << 20


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Lets SIGINT interrupt: what a shell runs in the background ignores it, and programs that it starts do, too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def folder() -> Iterator[str]:
    """The folder for all rings of this test process."""
    folder = tempfile.mkdtemp(prefix="framebuffer-tests-", dir="/dev/shm")
    before = os.environ.get("FRAMEBUFFER_DIR")
    os.environ["FRAMEBUFFER_DIR"] = folder
    yield folder
    left = os.listdir(folder)
    shutil.rmtree(folder)
    if before is None:
        del os.environ["FRAMEBUFFER_DIR"]
    else:
        os.environ["FRAMEBUFFER_DIR"] = before
    assert left == [], "rings are left behind"


@pytest.fixture
def server() -> Iterator[FrameBufferServer]:
    """A ring of 1 MiB."""
    with FrameBufferServer(MIB) as server:
        yield server


@pytest.fixture
def client(server: FrameBufferServer) -> Iterator[FrameBufferClient]:
    """A client of that ring."""
    with FrameBufferClient(server.get_key()) as client:
        yield client


def program(name: str) -> str:
    """The path of a program in Rust."""
    return str(pathlib.Path(os.environ["FRAMEBUFFER_BIN"]) / name)


@pytest.fixture
def sidecar(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a sidecar with a ring of 64 MiB."""
    url = f"unix:{tmp_path}/sidecar.sock"
    command = [program("framebuffer-sidecar"), "serve", "--size", "64Mi", "--log-level", "warn"]
    command += ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--socket", f"{tmp_path}/sidecar.sock"]
    with subprocess.Popen(command) as process:
        monkeypatch.setenv("FRAMEBUFFER_URL", url)
        yield url
        process.terminate()
        assert process.wait(20) == 0


@pytest.fixture
def client_of_sidecar(sidecar: str) -> Iterator[FrameBufferClient]:
    """A client of that sidecar's ring."""
    with connect(sidecar) as client:
        yield client
