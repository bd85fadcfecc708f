"""Views and loans: buffers in the ring itself, and what happens when they are released while in use."""

import gc
import weakref

import numpy
import pytest

from framebuffer import FrameBufferClient, FrameBufferExhausted, FrameBufferServer, FrameBufferTimeout


def pins(client):
    return client.stats()["pins"]


def test_a_view_is_a_read_only_buffer(client):
    view = client.view(client.publish(b"12345678"))
    memory = memoryview(view)
    assert memory == b"12345678"
    assert memory.readonly
    assert (memory.format, memory.shape, memory.nbytes, len(view), view.nbytes) == ("B", (8,), 8, 8, 8)
    array = numpy.frombuffer(view, dtype=numpy.uint16)
    assert array.shape == (4,)
    assert array.ctypes.data % 64 == 0
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    with pytest.raises(TypeError):
        memory[0] = 1
    with pytest.raises(BufferError):
        client.read_into(view.frame, view)


def test_a_view_is_the_ring_itself_and_not_a_copy(client):
    frame = client.publish(b"x")
    one, other = client.view(frame), client.view(frame)
    assert numpy.frombuffer(one, numpy.uint8).ctypes.data == numpy.frombuffer(other, numpy.uint8).ctypes.data


def test_a_view_holds_its_frame_until_it_is_released(client):
    frame = client.publish(bytes([7]) * 300_000)
    view = client.view(frame)
    for _ in range(20):
        client.publish(bytes(300_000))
    assert bytes(view) == bytes([7]) * 300_000
    view.verify()
    view.release()
    for _ in range(20):
        client.publish(bytes(300_000))
    with pytest.raises(FrameBufferTimeout):
        client.view(frame)


def test_a_released_view_is_an_error_and_no_crash(client):
    view = client.view(client.publish(b"x"))
    assert not view.released
    view.release()
    view.release()
    assert view.released
    assert pins(client) == 0
    for call in [lambda: memoryview(view), lambda: bytes(view), lambda: numpy.frombuffer(view, numpy.uint8)]:
        with pytest.raises(BufferError, match="released"):
            call()
    for call in [view.verify, view.__enter__]:
        with pytest.raises(ValueError, match="released"):
            call()
    assert (view.nbytes, view.frame.size, view.is_hashed) == (1, 1, True)


def test_a_view_in_use_is_not_released(client):
    view = client.view(client.publish(b"x"))
    memory = memoryview(view)
    part = memory[:1]
    memory.release()
    with pytest.raises(BufferError, match="1 memoryviews or arrays"):
        view.release()
    assert part == b"x"
    assert pins(client) == 1
    part.release()
    view.release()
    assert pins(client) == 0


def test_an_array_that_outlives_the_block_keeps_the_frame(client):
    with client.view(client.publish(b"12345678")) as view:
        array = numpy.frombuffer(view, dtype=numpy.uint8)
    assert view.released
    with pytest.raises(BufferError):
        memoryview(view)
    view.release()
    for _ in range(5):
        client.publish(bytes(600_000))
    assert array.tobytes() == b"12345678"
    assert pins(client) == 1
    del array
    assert pins(client) == 0


def test_a_view_that_is_collected_frees_its_pin(client):
    frame = client.publish(b"x")
    view = client.view(frame)
    reference = weakref.ref(view)
    memory = memoryview(view)
    del view
    assert memory == b"x"
    assert pins(client) == 1
    del memory
    gc.collect()
    assert reference() is None
    assert pins(client) == 0


def test_a_view_outlives_its_client_and_its_server():
    with FrameBufferServer(1 << 20) as server, FrameBufferClient(server.get_key()) as client:
        view = client.view(client.publish(b"still here"))
        memory = memoryview(view)
    assert memory == b"still here"
    assert bytes(view) == b"still here"
    view.verify()
    del client, server, view
    gc.collect()
    assert memory == b"still here"


def test_verify_notices_what_somebody_has_written_past_the_library(folder, server, client):
    frame = client.publish(b"a frame that nobody else has")
    view = client.view(frame)
    view.verify()
    with open(f"{folder}/framebuffer-{server.get_key()}", "r+b") as file:
        position = file.read().index(b"a frame that nobody else has")
        file.seek(position)
        file.write(b"A")
    with pytest.raises(FrameBufferTimeout, match="checksum"):
        view.verify()
    with pytest.raises(FrameBufferTimeout):
        client.read(frame)


def test_a_loan_is_a_writable_buffer(client):
    loan = client.loan(8)
    array = numpy.frombuffer(loan, dtype=numpy.uint32)
    array[:] = [1, 2]
    assert array.ctypes.data % 64 == 0
    del array
    with memoryview(loan) as memory:
        assert not memory.readonly
        memory[0] = 9
    frame = loan.commit()
    assert client.read(frame) == b"\x09\0\0\0\x02\0\0\0"
    view = client.view(frame)
    assert view.is_hashed
    view.verify()


def test_a_loan_in_use_is_not_committed(client):
    loan = client.loan(8)
    array = numpy.frombuffer(loan, dtype=numpy.uint8)
    for call in [loan.commit, loan.commit_unhashed, loan.release, lambda: loan.truncate(4)]:
        with pytest.raises(BufferError, match="1 memoryviews or arrays of the loan are still in use"):
            call()
    array[:] = 5
    del array
    assert client.read(loan.commit()) == b"\x05" * 8


def test_a_committed_loan_is_over(client):
    loan = client.loan(8)
    loan.commit()
    assert loan.released
    assert pins(client) == 0
    for call in [loan.commit, loan.commit_unhashed, lambda: loan.truncate(4), loan.__enter__]:
        with pytest.raises(ValueError, match="the loan has ended"):
            call()
    with pytest.raises(BufferError, match="the loan has ended"):
        memoryview(loan)
    loan.release()


def test_a_loan_that_is_not_committed_is_given_back(client):
    with client.loan(8) as loan:
        memoryview(loan)[:] = b"12345678"
    assert loan.released
    with pytest.raises(ValueError, match="the loan has ended"):
        loan.commit()
    loan = client.loan(8)
    loan.release()
    loan = client.loan(8)
    del loan
    assert pins(client) == 0
    assert client.stats()["counters"]["frames_written"] == 0


def test_an_array_that_outlives_the_block_of_a_loan_writes_to_nobody(client):
    with client.loan(300_000) as loan:
        array = numpy.frombuffer(loan, dtype=numpy.uint8)
    frames = [client.publish(bytes(300_000)) for _ in range(2)]
    array[:] = 1
    assert [client.read(frame) for frame in frames] == [bytes(300_000)] * 2
    assert pins(client) == 1
    del array
    assert pins(client) == 0


def test_a_loan_that_is_committed_in_its_block_stays_committed(client):
    with client.loan(3) as loan:
        with memoryview(loan) as memory:
            memory[:] = b"abc"
        frame = loan.commit()
    assert client.read(frame) == b"abc"


def test_a_loan_can_be_shortened(client):
    loan = client.loan(10)
    with memoryview(loan) as memory:
        memory[:3] = b"abc"
    loan.truncate(100)
    assert len(loan) == 10
    loan.truncate(3)
    assert len(loan) == len(memoryview(loan)) == 3
    assert client.read(loan.commit()) == b"abc"


def test_a_loan_committed_without_hashing_says_so(client):
    loan = client.loan(3)
    memoryview(loan)[:] = b"abc"
    view = client.view(loan.commit_unhashed())
    assert not view.is_hashed
    view.verify()
    assert client.read(view.frame) == bytes(view) == b"abc"


def test_a_loan_outlives_its_client(server):
    with FrameBufferClient(server.get_key()) as client:
        loan = client.loan(3)
    memoryview(loan)[:] = b"abc"
    frame = loan.commit()
    with FrameBufferClient(server.get_key()) as client:
        assert client.read(frame) == b"abc"


def test_views_and_loans_are_data_to_publish(client):
    view = client.view(client.publish(b"abc"))
    assert client.read(client.publish(view)) == b"abc"
    loan = client.loan(3)
    client.read_into(view.frame, loan)
    assert client.read(client.publish(loan)) == b"abc"
    assert client.read(loan.commit()) == b"abc"


def test_more_views_than_one_slot_has_pins(client):
    frame = client.publish(b"x")
    views = [client.view(frame) for _ in range(1000)]
    assert pins(client) == 1000
    views.clear()
    assert pins(client) == 0


def test_a_client_with_views_in_all_slots_but_those_left_for_others_is_exhausted(server, client):
    frame = client.publish(b"x")
    views = []
    with pytest.raises(FrameBufferExhausted, match="the last 4 are left for others: release views"):
        while True:
            views.append(client.view(frame))
    views.clear()
    assert pins(client) == 0
