"""The example `examples/python/motion.py`, as a program."""

import os
import pathlib
import re
import signal
import subprocess
import sys

import numpy
import pytest

EXAMPLES = pathlib.Path(__file__).parents[3] / "examples/python"
EXAMPLE = EXAMPLES / "motion.py"
cv2 = pytest.importorskip("cv2")


def run(*arguments, **environment):
    command = [sys.executable, EXAMPLE, *arguments]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    said = re.fullmatch(
        r"(\d+) frames, ([\d.]+) frames per second, (\d+) lost, motion ([\d.]+)", done.stdout.splitlines()[-1]
    )
    assert said, done.stdout
    return int(said[1]), float(said[2]), int(said[3]), float(said[4])


def test_it_runs_without_a_camera_and_without_a_sidecar(folder):
    seen, rate, lost, motion = run("--frames", "40", "--size", "320x240", FRAMEBUFFER_URL="")
    assert (seen, lost) == (40, 0)
    assert rate > 0
    assert motion > 0.1
    assert os.listdir(folder) == []


def test_it_reads_a_file(tmp_path):
    clip = str(tmp_path / "clip.avi")
    writer = cv2.VideoWriter(clip, cv2.VideoWriter_fourcc(*"MJPG"), 25, (160, 120))
    assert writer.isOpened()
    for number in range(30):
        writer.write(numpy.full((120, 160, 3), 8 * number, dtype=numpy.uint8))
    writer.release()
    seen, _, lost, motion = run(clip, FRAMEBUFFER_URL="")
    assert (seen, lost) == (30, 0)
    assert 6 < motion < 10


def test_it_says_when_there_is_no_such_source():
    command = [sys.executable, EXAMPLE, "/no/such/file.mp4"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "failed to open /no/such/file.mp4" in done.stderr


@pytest.mark.skipif("FRAMEBUFFER_BIN" not in os.environ, reason="FRAMEBUFFER_BIN does not say where the sidecar is")
def test_it_uses_the_ring_of_a_sidecar(sidecar, client_of_sidecar):
    assert run("--frames", "40", "--size", "320x240", FRAMEBUFFER_URL=sidecar)[0] == 40
    [camera] = client_of_sidecar.channels()
    # The last one is empty, and the end.
    assert (camera["name"], camera["frames"], camera["lost"]) == ("camera", 41, 0)


@pytest.mark.skipif("FRAMEBUFFER_BIN" not in os.environ, reason="FRAMEBUFFER_BIN does not say where the sidecar is")
def test_the_short_ones_send_and_receive_until_ctrl_c(sidecar):
    def start(name):
        command = [sys.executable, "-u", EXAMPLES / name]
        environment = {**os.environ, "FRAMEBUFFER_URL": sidecar}
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    with start("subscriber.py") as subscriber, start("publisher.py") as publisher:
        try:
            assert publisher.stdout.readline() == "sent 0\n"
            said = subscriber.stdout.readline()
            assert re.fullmatch(r"\d+: \(480, 640, 3\), mean 96\.\d, -?[\d.]+ ms old, 0 lost\n", said), said
        finally:
            for process in (subscriber, publisher):
                process.send_signal(signal.SIGINT)
        assert (subscriber.wait(20), publisher.wait(20)) == (0, 0)
