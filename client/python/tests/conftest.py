"""Rings for the tests, in a folder of their own, which must be empty at the end."""

import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest

from framebuffer import FrameBufferClient, FrameBufferServer

MIB = 1 << 20


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
