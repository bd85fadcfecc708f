"""Forked and spawned processes, killed ones, and Ctrl-C."""

import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

import framebuffer.client
from framebuffer import (
    FrameBufferClient,
    FrameBufferConnectError,
    FrameBufferError,
    FrameBufferTimeout,
    connect,
    read_frame,
)

FORK, SPAWN = multiprocessing.get_context("fork"), multiprocessing.get_context("spawn")
# Python warns of forks in programs with threads; the crate's threads touch memory ahead and hold no lock.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

# In the background of a script these tests, and so the programs that they start, ignore SIGINT.
HEED_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def run(context, target, *arguments):
    """Runs a function in another process and returns what it returns."""
    queue = context.SimpleQueue()
    process = context.Process(target=answer, args=(queue, target, *arguments))
    process.start()
    result = queue.get()
    process.join()
    assert process.exitcode == 0
    if isinstance(result, Exception):
        raise result
    return result


def answer(queue, target, *arguments):
    try:
        queue.put(target(*arguments))
    except Exception as error:
        queue.put(error)


def read_and_publish(client, frame):
    data = client.read(frame)
    return client.publish(data * 2), client.stats()["participants"]


@pytest.mark.parametrize("context", [FORK, SPAWN], ids=["fork", "spawn"])
def test_a_client_works_in_a_child(client, context):
    before = client.stats()["participants"]
    frame, participants = run(context, read_and_publish, client, client.publish(b"ab"))
    assert client.read(frame) == b"abab"
    assert participants == before + 1
    assert client.publish(b"still works").size == 11
    wait_until(lambda: client.stats()["participants"] == before or client.stats()["pins"] == 0)


def test_a_pool_of_forked_workers_shares_a_client(client):
    frames = [client.publish(bytes([number]) * 1000) for number in range(50)]
    with FORK.Pool(4) as pool:
        assert pool.starmap(first_byte, [(client, frame) for frame in frames]) == list(range(50))


def first_byte(client, frame):
    return client.read(frame)[0]


def publish_and_read(client):
    try:
        return client.read(client.publish(b"ab")) == b"ab"
    except FrameBufferTimeout:
        # The parent's thread has filled the ring meanwhile.
        return True


def test_a_client_that_another_thread_is_using_works_in_a_child(client):
    stop = threading.Event()

    def use():
        while not stop.is_set():
            client.read(client.publish(bytes(50_000)))

    thread = threading.Thread(target=use)
    thread.start()
    try:
        for _ in range(20):
            assert run(FORK, publish_and_read, client)
    finally:
        stop.set()
        thread.join()


def test_a_server_that_a_child_inherits_stays_its_parents(folder, server, client):
    def allocate_and_stop():
        offset = server.allocate(1)
        server.stop()
        return offset

    offset = run(FORK, allocate_and_stop)
    assert os.listdir(folder) == [f"framebuffer-{server.get_key()}"]
    assert client.read(offset, 1, client.write(offset, b"x")) == b"x"


def test_a_view_and_a_loan_that_a_child_inherits_stay_its_parents(client):
    view, loan = client.view(client.publish(b"view")), client.loan(4)

    def use():
        assert bytes(view) == b"view"
        view.verify()
        view.release()
        with pytest.raises(FrameBufferError, match="belongs to the parent process"):
            loan.commit()
        return client.stats()["pins"]

    assert run(FORK, use) == 2
    assert client.stats()["pins"] == 2
    memoryview(loan)[:] = b"loan"
    assert client.read(loan.commit()) == b"loan"


def test_read_frame_works_in_a_child_whose_parent_has_used_it(server, client):
    message = {"key": server.get_key(), **client.publish(b"x").to_dict()}
    assert read_frame(message) == b"x"
    assert run(FORK, read_frame, message) == b"x"
    assert run(SPAWN, read_frame, message) == b"x"


def test_read_frame_works_in_a_child_that_is_forked_while_another_thread_opens_a_client(server, client):
    message = {"key": server.get_key(), **client.publish(b"x").to_dict()}
    stop = threading.Event()

    def open_and_read():
        while not stop.is_set():
            framebuffer.client._clients.clear()
            read_frame(message)

    thread = threading.Thread(target=open_and_read)
    thread.start()
    try:
        for _ in range(20):
            assert run(FORK, read_frame, message) == b"x"
    finally:
        stop.set()
        thread.join()


def hold(client, frame, ready):
    views = [client.view(frame), client.view(frame)]
    with client.loan(1000) as loan:
        memoryview(loan)[:] = bytes(1000)
        ready.set()
        signal.pause()
    return views


@pytest.mark.parametrize("context", [FORK, SPAWN], ids=["fork", "spawn"])
def test_what_a_killed_process_held_comes_back(server, client, context):
    frame, ready = client.publish(bytes(500_000)), context.Event()
    process = context.Process(target=hold, args=(client, frame, ready))
    process.start()
    assert ready.wait(20)
    assert server.stats()["pins"] == 3
    process.kill()
    process.join()
    assert server.reap() == 1
    assert server.stats()["pins"] == 0
    client.publish(bytes(client.size))


def test_ctrl_c_ends_the_wait_for_a_sidecar_at_once():
    for listening in [False, True]:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            # Listens, but nobody ever accepts: the request waits for its answer.
            if listening:
                silent.listen()
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            code = f"{HEED_CTRL_C}; import framebuffer; print(flush=True); framebuffer.connect({url!r})"
            command = [sys.executable, "-c", code]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                process.stdout.readline()
                time.sleep(0.3)
                assert process.poll() is None
                started = time.monotonic()
                process.send_signal(signal.SIGINT)
                _, said = process.communicate(timeout=20)
                took = time.monotonic() - started
        assert b"KeyboardInterrupt" in said
        assert took < 1, listening


def test_ctrl_c_ends_a_program_that_moves_frames_all_the_time(folder):
    code = (
        f"{HEED_CTRL_C}\n"
        "from framebuffer import FrameBufferClient, FrameBufferServer\n"
        "with FrameBufferServer(64 << 20) as server, FrameBufferClient(server.get_key()) as client:\n"
        "    print(flush=True)\n"
        "    while True: client.read(client.publish(bytes(8 << 20)))"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert b"KeyboardInterrupt" in said
    assert os.listdir(folder) == []


def test_other_threads_run_while_one_waits_for_a_sidecar():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"

        def wait():
            with contextlib.suppress(FrameBufferConnectError):
                connect(url, timeout=0.5)

        thread = threading.Thread(target=wait)
        thread.start()
        turns = 0
        while thread.is_alive():
            turns += 1
            time.sleep(0.001)
        assert turns > 100


def test_a_sidecar_that_is_not_there_is_an_error_that_says_what_to_check():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(ConnectionError, match="is framebuffer-sidecar running there"):
            connect(url, timeout=0.1)


def test_an_answer_that_is_no_sidecars_is_an_error():
    def serve(listener):
        connection, _ = listener.accept()
        with connection:
            with connection.makefile("rb") as request:
                while request.readline() != b"\r\n":
                    pass
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nhello")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        with pytest.raises(FrameBufferConnectError, match="not as a FrameBuffer sidecar"):
            connect(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=5)
        thread.join()


def test_clients_opened_in_children_leave_no_participants(server):
    def open_and_exit(key):
        with FrameBufferClient(key) as client:
            return client.publish(b"x").size

    for _ in range(5):
        assert run(FORK, open_and_exit, server.get_key()) == 1
    server.reap()
    assert server.stats()["participants"] == 1
