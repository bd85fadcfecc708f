"""Whatever `file.write` takes is a frame, and nothing else is."""

import array
import ctypes
import mmap
import multiprocessing
import os
import subprocess
import sys
import tempfile

import numpy
import pytest

from framebuffer import FrameBufferServer

FIELDS = numpy.dtype([("O", "u1"), ("value", "<f4")])


@pytest.mark.parametrize(
    "lender",
    [
        (ctypes.c_uint8 * 8)(*range(8)),
        ctypes.c_double(1.5),
        multiprocessing.RawArray("B", range(8)),
        numpy.array(1.5),
        numpy.zeros((0, 3)),
        numpy.array(["2026-11-26"], dtype="datetime64[s]"),
        numpy.array([1, 2], dtype="timedelta64[ms]"),
        numpy.array([True, False]),
        numpy.array(["ab", "c"]),
        numpy.array([(1, 2.5), (3, 4.5)], dtype=FIELDS),
        array.array("d", [0.5]),
        mmap.mmap(-1, 8),
        memoryview(bytearray(b"12345678")),
    ],
    ids=lambda lender: f"{type(lender).__name__}-{getattr(lender, 'dtype', '')}",
)
def test_whatever_file_write_takes_is_published_and_read_into(client, tmp_path, lender):
    with open(tmp_path / "file", "wb") as file:
        file.write(lender)
    written = (tmp_path / "file").read_bytes()
    frame = client.publish(lender)
    assert client.read(frame) == written
    ones = client.publish(b"\1" * len(written))
    client.read_into(ones, lender)
    assert client.read(client.publish(lender)) == b"\1" * len(written)


@pytest.mark.parametrize("scalar", [numpy.float64(1.5), numpy.uint8(7), numpy.datetime64("2026-11-26")], ids=repr)
def test_a_scalar_of_numpy_is_published_but_not_read_into(client, scalar):
    frame = client.publish(scalar)
    assert client.read(frame) == scalar.tobytes()
    with pytest.raises(BufferError, match="read-only"):
        client.read_into(frame, scalar)


@pytest.mark.parametrize(
    "references",
    [
        numpy.array([bytes(5), None], dtype=object),
        numpy.array(None, dtype=object),
        numpy.array([(1, None)], dtype=[("number", "i4"), ("reference", "O")]),
        numpy.array([(0, None)], dtype=[("time", "datetime64[s]"), ("reference", "O")]),
        (ctypes.py_object * 1)(None),
    ],
    ids=["array", "scalar", "field", "field-beside-time", "ctypes"],
)
def test_references_to_objects_are_refused_in_both_directions(client, references):
    frame = client.publish(bytes(16))
    for call in [lambda: client.publish(references), lambda: client.read_into(frame, references)]:
        with pytest.raises(TypeError, match="are Python objects"):
            call()


@pytest.mark.parametrize("mode", [666, 600, 644, 0o1777, 1 << 20])
def test_a_mode_that_is_more_than_permission_bits_is_refused(mode):
    with pytest.raises(ValueError, match="mode must be permission bits from 0 to 0o777") as refused:
        FrameBufferServer(4096, mode=mode)
    assert (f"did you mean 0o{mode}?" in str(refused.value)) == (mode in (666, 600, 644))


FAILED_START = """
import os, resource, sys
import framebuffer

mapped = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (mapped + (64 << 20), -1))
try:
    framebuffer.FrameBufferServer(256 << 20).start()
except framebuffer.FrameBufferError as error:
    print(error)
    print(os.listdir(os.environ["FRAMEBUFFER_DIR"]))
"""


def test_a_start_that_fails_leaves_nothing_behind():
    with tempfile.TemporaryDirectory(prefix="framebuffer-tests-", dir="/dev/shm") as folder:
        environment = {**os.environ, "FRAMEBUFFER_DIR": folder}
        start = [sys.executable, "-c", FAILED_START]
        said = subprocess.run(start, env=environment, capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1:] == ["[]"], said


SUBINTERPRETER = """
import _xxsubinterpreters as interpreters
import framebuffer

try:
    interpreters.run_string(interpreters.create(), "import framebuffer")
except interpreters.RunFailedError as error:
    print(error)
"""


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="its module of interpreters has another name")
def test_a_sub_interpreter_is_refused():
    said = subprocess.run([sys.executable, "-c", SUBINTERPRETER], capture_output=True, text=True, check=True)
    assert "ImportError" in said.stdout, said.stdout + said.stderr
