"""The package for type checkers. mypy reads this; `ignore` marks what it must refuse."""

from typing import assert_type

import numpy

from framebuffer import (
    Frame,
    FrameBufferClient,
    FrameBufferServer,
    FrameBufferTimeout,
    Loan,
    Sample,
    Sent,
    View,
    connect,
    read_frame,
)


def typed(server: FrameBufferServer, client: FrameBufferClient) -> None:
    """Uses everything once."""
    frame = client.publish(numpy.zeros((2, 2)))
    assert_type(frame, Frame)
    assert_type(client.read(frame), bytes)
    assert_type(client.read(frame.to_dict()), bytes)
    assert_type(client.read(frame.offset, str(frame.size), frame.checksum.hex()), bytes)
    assert_type(client.write(server.allocate(4), bytearray(4)), bytes)
    with client.view(frame) as view, client.loan(4) as loan:
        assert_type(view, View)
        assert_type(loan, Loan)
        assert_type(memoryview(view)[0], int)
        client.read_into(frame, numpy.zeros(4))
        memoryview(loan)[:] = bytes(4)
        assert_type(loan.commit(), Frame)
    assert_type(client.stats()["counters"]["views"], int)
    assert_type(frame.to_dict()["checksum"], str)
    assert_type(read_frame({"key": server.get_key(), **frame.to_dict()}), bytes)
    assert_type(FrameBufferTimeout("late").reason, str | None)
    with connect("http://127.0.0.1:7570", timeout=1) as other, FrameBufferServer("key", 5), FrameBufferServer(5):
        assert_type(other, FrameBufferClient)


async def channels(client: FrameBufferClient) -> None:
    """Uses every part of a channel once."""
    with client.publisher("camera", keep=2) as publisher, client.subscribe("camera", start="new") as subscriber:
        assert_type(publisher.send(numpy.zeros((2, 2)), time=5, timeout=None), Sent)
        assert_type(publisher.send(b"1", shape=(1,), dtype="uint8").frame, Frame)
        loan = publisher.loan(shape=(2, 2), dtype=numpy.float32)
        assert_type(loan.send().number, int)
        assert_type(subscriber.next(1), Sample | None)
        for sample in subscriber:
            assert_type(sample, Sample)
            assert_type(sample.shape, tuple[int, ...] | None)
            sample.array().sum()
            numpy.from_dlpack(sample)
            publisher.send(sample)
        async for sample in subscriber:
            assert_type(sample.number, int)
    assert_type(client.channels()[0]["lossless"][0]["participant"], int)


def refused(client: FrameBufferClient, frame: Frame) -> None:
    """Errors at run time are errors for the checker, too."""
    client.publish("text")  # type: ignore[arg-type]
    client.read(64, 1)  # type: ignore[call-overload]
    client.read(5.0, 1, bytes(8))  # type: ignore[call-overload]
    FrameBufferServer()  # type: ignore[call-overload]
    client.publisher("camera").send("text")  # type: ignore[arg-type]
    client.subscribe("camera", start="first")  # type: ignore[arg-type]
    frame.offset = 5  # type: ignore[misc]
    frame.to_dict()["key"]  # type: ignore[typeddict-item]
