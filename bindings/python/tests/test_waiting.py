"""Waiting for frames: with threads, signals, forks, event loops, and sidecars that restart."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import program

from framebuffer import FrameBufferBacklog, FrameBufferClient, FrameBufferError, connect

LONG = 30.0


def numbers(subscriber):
    """The numbers of all frames that are there."""
    return [sample.number for sample in iter(subscriber.try_next, None)]


def until(condition):
    """Wait for a condition."""
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def in_child(work):
    """Run `work` in a forked child, which ends with it."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(f"in the child: {error!r}", file=sys.stderr)
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_wait_ends_with_a_frame_and_after_its_time(client):
    publisher, subscriber = client.publisher("camera"), client.subscribe("camera")
    assert subscriber.next(0) is None
    assert subscriber.next(0.01) is None
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(subscriber.next, LONG)
        assert not waiting.done()
        publisher.send(b"1")
        assert bytes(waiting.result(LONG)) == b"1"


def test_other_threads_run_while_one_waits(client):
    subscriber, turns, ended = client.subscribe("camera"), 0, False

    def wait():
        nonlocal ended
        subscriber.next(0.2)
        ended = True

    # Only who lets go of the interpreter gives others a turn.
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    thread = threading.Thread(target=wait)
    try:
        thread.start()
        while not ended:
            turns += 1
            time.sleep(0.0001)
    finally:
        sys.setswitchinterval(before)
        thread.join()
    assert turns > 20


class HandlerError(Exception):
    """What a signal handler raises."""


@pytest.fixture
def handler():
    """A handler that raises, for a signal that nothing else uses."""

    def interrupt(*_):
        raise HandlerError

    before = signal.signal(signal.SIGUSR1, interrupt)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("what", ["next", "for", "send", "ready", "flush", "loan", "turn"])
def test_a_signal_ends_every_wait(client, handler, what):
    publisher, subscriber = client.publisher("camera"), client.subscribe("camera")
    slow = client.subscribe("camera", start="new", lossless=True)
    publisher.send(b"1")
    assert numbers(subscriber) == [0]
    occupied = threading.Thread(target=subscriber.next, args=(0.5,))
    if what == "turn":
        occupied.start()
    waits = {
        "next": lambda: subscriber.next(LONG),
        "for": lambda: next(subscriber),
        "send": lambda: publisher.send(b"2", timeout=None),
        "ready": publisher.ready,
        "flush": publisher.flush,
        "loan": lambda: publisher.loan(1).send(timeout=None),
        "turn": lambda: [subscriber.next(0.001) for _ in range(1_000_000)],
    }
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    with pytest.raises(HandlerError):
        waits[what]()
    timer.join()
    if what == "turn":
        occupied.join()
    # Nothing was lost, nothing is stuck.
    assert slow.next(LONG).number == 0
    publisher.send(b"3")
    assert subscriber.next(LONG).number == 1


def test_ctrl_c_ends_a_loop_at_once(server):
    code = f"""
import framebuffer
with framebuffer.FrameBufferClient({server.get_key()!r}) as ring:
    print("open", flush=True)
    for frame in ring.subscribe("camera"):
        pass
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"open\n"
        process.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in process.stderr.read()
        assert process.wait(LONG) == -signal.SIGINT


def test_a_handler_may_use_what_it_has_interrupted(client):
    publisher, subscriber = client.publisher("camera", keep=0), client.subscribe("camera")
    handled = []

    def handle(*_):
        publisher.send(b"1")
        handled.append(subscriber.try_next())

    before = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
        while len(handled) < 50:
            publisher.send(b"2")
            subscriber.next(0.001)
            subscriber.next(0.001)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    numbers(subscriber)
    assert subscriber.received + subscriber.lost == subscriber.next_number == publisher.send(b"3").number


def test_threads_that_share_a_subscriber_receive_each_frame_once(client):
    publisher, subscriber = client.publisher("jobs"), client.subscribe("jobs", start="oldest")

    def work():
        return [sample.number for sample in subscriber]

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(work) for _ in range(4)]
        for _ in range(500):
            publisher.send(b"job")
        until(lambda: subscriber.received == 500)
        # Ends the loops of all, in whatever state they are.
        subscriber.close()
        assert sorted(number for worker in workers for number in worker.result(LONG)) == list(range(500))


def test_threads_that_share_a_publisher_send_every_frame_whole(client):
    publisher, subscriber = client.publisher("camera"), client.subscribe("camera", start="oldest")

    def work(thread):
        return [publisher.send(bytes([thread]) * 20_000).number for _ in range(50)]

    with ThreadPoolExecutor(4) as pool:
        sent = list(pool.map(work, range(4)))
    assert sorted(number for numbers in sent for number in numbers) == list(range(200))
    for sample in iter(subscriber.try_next, None):
        [thread] = set(bytes(sample))
        assert sample.number in sent[thread]


def test_closing_waits_for_a_thread_that_sends_and_wakes_one_that_waits(client):
    publisher, subscriber = client.publisher("camera"), client.subscribe("camera")
    slow = client.subscribe("camera", lossless=True)
    publisher.send(b"1")
    with ThreadPoolExecutor(2) as pool:
        sending = pool.submit(publisher.send, b"2", timeout=None)
        waiting = pool.submit(list, subscriber)
        until(lambda: subscriber.received == 1)
        publisher.close()
        subscriber.close()
        with pytest.raises(ValueError, match="the publisher is closed"):
            sending.result(LONG)
        assert [sample.number for sample in waiting.result(LONG)] == [0]
    assert numbers(slow) == [0]


def test_parent_and_child_both_go_on_after_a_fork(client):
    publisher, subscriber = client.publisher("camera"), client.subscribe("camera")
    publisher.send(b"parent")
    assert bytes(subscriber.next(LONG)) == b"parent"

    def child():
        publisher.send(b"child")
        assert bytes(subscriber.next(LONG)) == b"child"
        assert (subscriber.received, subscriber.lost) == (2, 0)

    in_child(child)
    assert bytes(subscriber.next(LONG)) == b"child"
    publisher.send(b"parent again")
    assert bytes(subscriber.next(LONG)) == b"parent again"


def test_a_child_does_not_wait_for_a_thread_of_its_parent(client):
    publisher, subscriber = client.publisher("camera"), client.subscribe("camera")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(subscriber.next, LONG)
        until(lambda: client.channels()[0]["subscribers"] == 1)

        def child():
            # Taken by the thread, or between two waits of it: never stuck.
            try:
                subscriber.next(0.01)
            except FrameBufferError as error:
                assert "in use by another thread when this process was forked" in str(error)
            other = client.subscribe("camera", start="new")
            publisher.send(b"child")
            assert bytes(other.next(LONG)) == b"child"

        for _ in range(5):
            in_child(child)
            assert bytes(waiting.result(LONG)) == b"child"
            waiting = pool.submit(subscriber.next, LONG)
        publisher.send(b"end")
        waiting.result(LONG)


def test_async_for_lets_other_tasks_run(client):
    publisher, subscriber = client.publisher("camera"), client.subscribe("camera", start="oldest")

    async def receive(received):
        async for sample in subscriber:
            received.append(sample.number)

    async def main():
        received, turns = [], 0
        tasks = [asyncio.create_task(receive(received)) for _ in range(2)]
        for _ in range(100):
            publisher.send(b"1")
            await asyncio.sleep(0)
        while len(received) < 100:
            await asyncio.sleep(0.001)
        # Frames that are all there already leave turns to others.
        for _ in range(200):
            publisher.send(b"1")
        while len(received) < 300:
            turns += 1
            await asyncio.sleep(0)
        assert turns > 5
        assert sorted(received) == list(range(300))
        tasks[0].cancel()
        await asyncio.gather(tasks[0], return_exceptions=True)
        publisher.send(b"2")
        while len(received) < 301:
            await asyncio.sleep(0.001)
        # Ends the loop of the other.
        subscriber.close()
        await asyncio.wait_for(tasks[1], LONG)

    descriptors = len(os.listdir("/proc/self/fd"))
    asyncio.run(main())
    until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)


def test_async_for_ends_with_an_error_of_the_ring(server, client):
    subscriber = client.subscribe("camera")

    async def main():
        waiting = asyncio.create_task(anext(aiter(subscriber)))
        await asyncio.sleep(0.01)
        server.stop()
        with pytest.raises(FrameBufferError):
            await asyncio.wait_for(waiting, LONG)

    asyncio.run(main())


@pytest.mark.parametrize("keep", [True, False])
def test_a_subscriber_goes_on_when_the_sidecar_restarts(tmp_path, keep):
    command = [program("framebuffer-sidecar"), "serve", "--size", "4Mi", "--log-level", "warn"]
    command += ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--socket", f"{tmp_path}/sidecar.sock"]
    command += ["--key", "restarted", "--keep"] if keep else []
    sidecar = subprocess.Popen(command)
    try:
        with connect(f"unix:{tmp_path}/sidecar.sock") as ring:
            publisher, subscriber = ring.publisher("camera"), ring.subscribe("camera", start="oldest")
            for _ in range(3):
                publisher.send(b"old")
            assert subscriber.next(LONG).number == 0
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(ring.subscribe("camera", start="new").next, LONG)
                sidecar.terminate()
                assert sidecar.wait(LONG) == 0
                sidecar = subprocess.Popen(command)
                while not waiting.done():
                    with contextlib.suppress(FrameBufferError):
                        publisher.send(b"new")
                    # Not so many that the old ones are lost: a channel remembers 1,024.
                    time.sleep(0.01)
                assert bytes(waiting.result()) == b"new"
            if keep:
                assert bytes(subscriber.next(LONG)) == bytes(subscriber.next(LONG)) == b"old"
                assert bytes(subscriber.next(LONG)) == b"new"
                assert (subscriber.received, subscriber.lost) == (4, 0)
            else:
                sample = subscriber.next(LONG)
                assert bytes(sample) == b"new"
                # Two of the old ring.
                assert (subscriber.received, subscriber.lost) == (2, 2 + sample.number)
            # The sidecar is there: it heeds signals.
            connect(f"unix:{tmp_path}/sidecar.sock").stop()
    finally:
        sidecar.terminate()
        assert sidecar.wait(LONG) == 0
    for path in os.scandir(os.environ["FRAMEBUFFER_DIR"]):
        if path.name == "framebuffer-restarted":
            os.unlink(path)


def test_a_killed_lossless_subscriber_holds_nobody_up(server, client):
    code = f"""
import framebuffer
with framebuffer.FrameBufferClient({server.get_key()!r}) as ring:
    subscriber = ring.subscribe("log", lossless=True)
    print("there", flush=True)
    input()
"""
    publisher = client.publisher("log")
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"there\n"
        publisher.send(b"1")
        with pytest.raises(FrameBufferBacklog):
            publisher.send(b"2")
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(publisher.send, b"2", timeout=None)
            process.kill()
            process.wait(LONG)
            assert sending.result(LONG).number == 1


def test_a_client_that_is_no_more_leaves_its_subscriber_working(server):
    def subscribe():
        client = FrameBufferClient(server.get_key())
        client.start()
        return client.publisher("camera"), client.subscribe("camera")

    publisher, subscriber = subscribe()
    publisher.send(b"1")
    assert bytes(subscriber.next(LONG)) == b"1"
