"""Channels: what is sent is received in order or counted, with what was said of it."""

import gc
import os
import select
import time

import numpy
import pytest

from framebuffer import (
    FrameBufferBacklog,
    FrameBufferClient,
    FrameBufferError,
    FrameBufferExhausted,
    FrameBufferRetired,
    FrameBufferTimeout,
)

LONG = 30.0


def pins(client):
    return client.stats()["pins"]


@pytest.fixture
def reader(server):
    """Another client of the ring."""
    with FrameBufferClient(server.get_key()) as client:
        yield client


def received(subscriber):
    """The numbers of all frames that are there."""
    return [sample.number for sample in iter(subscriber.try_next, None)]


def test_what_is_sent_is_received_in_order_with_what_was_said_of_it(client, reader):
    publisher, subscribers = client.publisher("camera/left"), [reader.subscribe("camera/left") for _ in range(2)]
    image = numpy.arange(60, dtype=numpy.uint16).reshape(5, 4, 3)
    for number in range(50):
        sent = publisher.send(image + number, time=number + 1, fourcc="TEST", user=2**64 - 1)
        assert (sent.number, sent.frame.size) == (number, 120)
    for subscriber in subscribers:
        for number, sample in zip(range(50), subscriber, strict=False):
            assert (sample.number, sample.time, sample.fourcc, sample.user) == (number, number + 1, "TEST", 2**64 - 1)
            assert (sample.dtype, sample.shape, sample.row_stride, sample.nbytes) == ("uint16", (5, 4, 3), 0, 120)
            assert numpy.array_equal(sample.array(), image + number)
            assert client.read(sample.frame) == bytes(sample) == (image + number).tobytes()
            sample.verify()
        assert subscriber.try_next() is None
        assert (subscriber.received, subscriber.lost, subscriber.skipped, subscriber.next_number) == (50, 0, 0, 50)
        assert (subscriber.channel, publisher.channel) == ("camera/left", "camera/left")


def test_bytes_arrive_as_they_are_and_with_the_time_of_sending(client):
    publisher, subscriber = client.publisher("log"), client.subscribe("log")
    for data in [b"line", bytearray(b"line"), memoryview(b"line")]:
        publisher.send(data)
        sample = subscriber.next(LONG)
        assert bytes(sample) == b"line" and sample.array().tobytes() == b"line"
        assert (sample.shape, sample.dtype, sample.fourcc, sample.user) == (None, None, None, 0)
        assert sample.time == sample.committed > 1_700_000_000 * 10**9
        assert sample.is_hashed
    publisher.send(b"")
    assert bytes(subscriber.next(LONG)) == b""


def test_a_sample_is_a_read_only_buffer_that_holds_its_frame(client, reader):
    publisher, subscriber = client.publisher("camera", keep=0), reader.subscribe("camera")
    publisher.send(bytes([7]) * 300_000)
    sample = subscriber.next(LONG)
    array = sample.array()
    memory = memoryview(sample)
    assert (memory.format, memory.shape, memory.readonly, len(sample)) == ("B", (300_000,), True, 300_000)
    assert array.ctypes.data % 64 == 0
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    for _ in range(20):
        publisher.send(bytes(300_000))
    assert set(array) == {7}
    with pytest.raises(BufferError, match="2 memoryviews or arrays of the sample are still in use"):
        sample.release()
    memory.release()
    # The array holds the frame alone.
    del sample
    gc.collect()
    assert pins(reader) == 1 and set(array) == {7}
    del array
    gc.collect()
    assert pins(reader) == 0


def test_a_released_sample_is_an_error_and_no_crash(client):
    publisher, subscriber = client.publisher("camera", keep=0), client.subscribe("camera")
    publisher.send(numpy.zeros(4))
    sample = subscriber.next(LONG)
    sample.release()
    sample.release()
    for call in [lambda: memoryview(sample), lambda: bytes(sample), lambda: numpy.from_dlpack(sample)]:
        with pytest.raises(BufferError, match="the sample is released"):
            call()
    for call in [sample.verify, sample.array, sample.__enter__]:
        with pytest.raises(ValueError, match="the sample is released"):
            call()
    assert (sample.released, sample.shape, sample.nbytes, pins(client)) == (True, (4,), 32, 0)
    publisher.send(numpy.zeros(4))
    with subscriber.next(LONG) as sample:
        array = sample.array()
    assert sample.released and pins(client) == 1
    del array
    assert pins(client) == 0


def test_a_loan_is_filled_in_place_and_sent(client, reader):
    publisher, subscriber = client.publisher("camera"), reader.subscribe("camera")
    loan = publisher.loan(shape=(4, 5), dtype=numpy.float32)
    array = loan.array()
    array[:] = 3
    with pytest.raises(BufferError, match="1 memoryviews or arrays of the loan"):
        loan.send()
    assert subscriber.try_next() is None
    del array
    # A loan keeps the publisher from nothing.
    assert publisher.send(b"between").number == 0
    assert loan.send(time=5, user=6).number == 1
    assert loan.released
    with pytest.raises(ValueError, match="the loan has ended"):
        loan.send()
    assert bytes(subscriber.next(LONG)) == b"between"
    sample = subscriber.next(LONG)
    assert (sample.time, sample.user, sample.array().tolist()) == (5, 6, [[3.0] * 5] * 4)
    shortened = publisher.loan(100)
    memoryview(shortened)[:4] = b"text"
    shortened.truncate(4)
    shortened.send(hashed=False)
    sample = subscriber.next(LONG)
    assert bytes(sample) == b"text" and not sample.is_hashed
    sample.release()
    with publisher.loan(10):
        pass
    publisher.loan(10)
    gc.collect()
    assert received(subscriber) == []
    # The frame that is kept.
    assert pins(client) == 1


def test_a_loan_outlives_its_publisher_but_is_not_sent_then(client):
    publisher = client.publisher("camera")
    loan = publisher.loan(10)
    publisher.close()
    memoryview(loan)[:] = bytes(10)
    with pytest.raises(ValueError, match="the publisher is closed"):
        loan.send()
    with pytest.raises(ValueError, match="the publisher is closed"):
        publisher.loan(10)
    loan.release()
    assert pins(client) == 0


def test_a_subscriber_begins_where_it_is_asked_to(client):
    publisher = client.publisher("camera")
    for number in range(5):
        publisher.send(bytes([number]))
    starts = [{}, {"start": "latest"}, {"start": "new"}, {"start": "oldest"}, {"after": 2}, {"after": 99}]
    subscribers = [client.subscribe("camera", **start) for start in starts]
    publisher.send(bytes([5]))
    numbers = [received(subscriber) for subscriber in subscribers]
    assert numbers == [[4, 5], [4, 5], [5], [0, 1, 2, 3, 4, 5], [3, 4, 5], [0, 1, 2, 3, 4, 5]]


def test_what_is_kept_is_there_for_whoever_comes_late(client, reader):
    with client.publisher("map", keep=3) as publisher:
        for number in range(10):
            publisher.send(bytes([number]) * 1000)
        for _ in range(100):
            reader.publish(bytes(100_000))
        late = reader.subscribe("map", start="oldest")
        assert [bytes(sample)[0] for sample in iter(late.try_next, None)] == [7, 8, 9]
    assert publisher.closed and pins(client) == 0


def test_received_lost_and_skipped_are_all_that_was_sent(client):
    publisher, subscriber = client.publisher("camera"), client.subscribe("camera")
    for _ in range(30):
        publisher.send(bytes(100_000))
    before = received(subscriber)
    assert before[-1] == 29
    for _ in range(5):
        publisher.send(b"x")
    assert subscriber.latest().number == 34
    assert subscriber.latest() is None
    assert (subscriber.received, subscriber.skipped) == (len(before) + 1, 4)
    assert subscriber.lost == 30 - len(before)
    assert subscriber.received + subscriber.lost + subscriber.skipped == subscriber.next_number == 35


def test_a_lossless_subscriber_loses_nothing_and_holds_its_publisher_up(client, reader):
    publisher, subscriber = client.publisher("log", keep=2), reader.subscribe("log", lossless=True)
    publisher.send(b"0")
    publisher.send(b"1")
    for send in [lambda: publisher.send(b"2"), lambda: publisher.send(b"2", timeout=0.01), publisher.loan(1).send]:
        with pytest.raises(FrameBufferBacklog, match=r"log.*frame 0") as error:
            send()
        assert (error.value.channel, error.value.number, error.value.unread) == ("log", 2, 0)
        assert isinstance(error.value, TimeoutError)
    [channel] = client.channels()
    slow = {"participant": error.value.participant, "process": os.getpid(), "next_number": 0, "unread": 2}
    assert channel["lossless"] == [slow]
    with pytest.raises(FrameBufferBacklog):
        publisher.ready(0)
    with pytest.raises(FrameBufferBacklog):
        publisher.flush(0.01)
    # A loan that was refused goes on.
    loan = publisher.loan(1)
    with pytest.raises(FrameBufferBacklog):
        loan.send(timeout=0.01)
    assert bytes(subscriber.next(LONG)) == b"0"
    publisher.ready(LONG)
    memoryview(loan)[:] = b"2"
    loan.send()
    assert [bytes(sample) for sample in iter(subscriber.try_next, None)] == [b"1", b"2"]
    publisher.flush(LONG)
    subscriber.close()
    publisher.send(b"3")
    publisher.send(b"4")
    publisher.send(b"5")


def test_what_is_asked_wrongly_is_refused_with_value_and_limit(client):
    publisher = client.publisher("camera", content_type="video/x-raw")
    name = "x" * 64
    wrong = [
        (lambda: client.publisher(""), "1 to 63"),
        (lambda: client.subscribe(name), f"{name}.*64 bytes; 63"),
        (lambda: client.publisher("a b"), "a b.* ' '"),
        (lambda: client.publisher("x", keep=33), "32.*33"),
        (lambda: client.publisher("x", content_type="x" * 256), "256.*255"),
        (lambda: client.subscribe("x", start="first"), "latest.*oldest.*first"),
        (lambda: client.subscribe("x", start="new", after=3), "start or after"),
        (lambda: client.subscribe("x", spin=-1), "spin.*-1"),
        (lambda: client.subscribe("x", spin=float("nan")), "spin.*NaN"),
        (lambda: client.subscribe("x").next(-1), "timeout.*-1"),
        (lambda: publisher.send(b"12345", shape=(2, 3)), r"5 bytes.*\[2, 3\].*6"),
        (lambda: publisher.send(b"12345", shape=(5,), dtype="uint16"), "10"),
        (lambda: publisher.send(b"1", shape=(-1,)), r"shape.*\(-1,\)"),
        (lambda: publisher.send(b"1", shape=(2**33,)), "8589934592.*4294967295"),
        (lambda: publisher.send(b"1", dtype="uint"), "dtype.*uint"),
        (lambda: publisher.send(b"1", dtype=object), "dtype.*object"),
        (lambda: publisher.send(b"1", fourcc="RGB"), "fourcc.*RGB"),
        (lambda: publisher.send(b"1", fourcc="äöü"), "fourcc.*äöü"),
        (lambda: publisher.send(b"1", time=-1), "time.*-1"),
        (lambda: publisher.send(b"1", user=2**64), f"user.*{2**64}"),
        (lambda: publisher.send(b"1", timeout=-1), "timeout.*-1"),
        (lambda: publisher.send(numpy.zeros((1, 1, 1, 1, 1))), "5 dimensions.*4"),
        (lambda: publisher.send(numpy.zeros(3, ">f4")), "big-endian"),
        (lambda: publisher.send(numpy.zeros(3, ">M8[s]")), "big-endian"),
        (lambda: publisher.send(bytes(2 << 20)), "1048576"),
        (lambda: publisher.loan(2 << 20), "1048576"),
        (lambda: publisher.loan(3, shape=(4,)), "3 bytes.*4"),
    ]
    for call, message in wrong:
        with pytest.raises(ValueError, match=message):
            call()
    for call, message in [
        (lambda: publisher.send(5), "not int"),
        (lambda: publisher.send("text"), "not str"),
        (lambda: publisher.send(b"1", time=0.5), "time must be an int.*float"),
        (lambda: publisher.send(b"1", shape=3), "shape.*3"),
        (lambda: publisher.send(numpy.array([None])), "Python objects"),
        (publisher.loan, "a size in bytes, or a shape"),
        (lambda: client.publisher(5), "str"),
    ]:
        with pytest.raises(TypeError, match=message):
            call()
    with pytest.raises(BufferError, match="ascontiguousarray"):
        publisher.send(numpy.zeros((4, 4))[:, 1:3])
    for call, message in [
        (lambda: client.publisher("camera", content_type="other"), "video/x-raw.*other"),
        (lambda: [client.publisher(f"c{number}") for number in range(64)], "64 channels.*c62"),
    ]:
        with pytest.raises(FrameBufferError, match=message):
            call()
    keeps_none = client.publisher("c1", keep=0)
    with pytest.raises(FrameBufferError, match=r"c1.*keeps none"):
        client.subscribe("c1", lossless=True)
    assert [client.channels()[0][figure] for figure in ["name", "frames", "lossless"]] == ["c0", 0, []]
    assert keeps_none.send(b"1").number == 0
    assert publisher.send(b"1").number == 0


def test_a_closed_publisher_or_subscriber_says_so(client):
    with client.publisher("camera") as publisher, client.subscribe("camera") as subscriber:
        publisher.send(b"1")
        sample = subscriber.next(LONG)
    publisher.close()
    assert publisher.closed and subscriber.closed
    for call in [lambda: publisher.send(b"1"), publisher.ready, publisher.flush]:
        with pytest.raises(ValueError, match="the publisher is closed"):
            call()
    for call in [subscriber.next, subscriber.try_next, subscriber.latest, subscriber.fileno]:
        with pytest.raises(ValueError, match="the subscriber is closed"):
            call()
    assert list(subscriber) == []
    assert bytes(sample) == b"1"
    assert (subscriber.received, subscriber.next_number) == (1, 1)
    [channel] = client.channels()
    assert (channel["publishers"], channel["subscribers"], channel["bytes"]) == (0, 0, 1)


def test_publishers_and_subscribers_outlive_the_clients_stop(server):
    client = FrameBufferClient(server.get_key())
    client.start()
    publisher, subscriber = client.publisher("camera"), client.subscribe("camera")
    client.stop()
    publisher.send(b"1")
    assert bytes(subscriber.next(LONG)) == b"1"
    with pytest.raises(FrameBufferError, match="start"):
        client.publisher("camera")


def test_a_ring_that_was_given_up_is_an_error(server, client):
    publisher, subscriber = client.publisher("camera"), client.subscribe("camera")
    server.stop()
    for call in [lambda: publisher.send(b"1"), subscriber.try_next, subscriber.next, subscriber.latest]:
        with pytest.raises(FrameBufferRetired):
            call()


def test_a_full_ring_is_an_error_that_says_how_much_there_is(client):
    publisher, subscriber = client.publisher("camera"), client.subscribe("camera")
    held = []
    with pytest.raises(FrameBufferExhausted):
        for _ in range(100):
            publisher.send(bytes(100_000))
            held.append(subscriber.next(LONG))
    held.clear()
    gc.collect()
    publisher.send(bytes(100_000))


def test_a_descriptor_is_readable_when_there_is_a_frame(client):
    publisher, subscriber = client.publisher("camera"), client.subscribe("camera")
    descriptors = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        publisher.send(b"1")
        assert select.select([subscriber], [], [], LONG) == ([subscriber], [], [])
        assert received(subscriber) == [number]
        assert select.select([subscriber], [], [], 0) == ([], [], [])
    subscriber.close()
    # The thread that waits for it ends soon.
    deadline = time.monotonic() + LONG
    while len(os.listdir("/proc/self/fd")) > descriptors:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_channels_are_listed_with_their_figures(client):
    with client.publisher("b", content_type="text/plain") as publisher, client.subscribe("a"), client.subscribe("b"):
        publisher.send(b"12345")
        [a, b] = client.channels()
    assert (a["name"], a["content_type"], a["frames"], a["last_sent"]) == ("a", None, 0, None)
    assert (b["name"], b["content_type"], b["frames"], b["bytes"]) == ("b", "text/plain", 1, 5)
    assert (b["publishers"], b["subscribers"], b["lost"], b["skipped"]) == (1, 1, 0, 0)
    assert b["last_sent"] > 1_700_000_000


def test_a_frame_that_is_overwritten_stays_a_timeout_for_whoever_has_its_description(client):
    publisher = client.publisher("camera")
    frame = publisher.send(bytes(300_000)).frame
    for _ in range(20):
        publisher.send(bytes(300_000))
    with pytest.raises(FrameBufferTimeout):
        client.read(frame)
