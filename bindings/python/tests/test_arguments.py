"""No argument crashes, hangs or panics: an invalid one is an error that names the mistake."""

import inspect
import os
import pickle
import xmlrpc.client

import numpy
import pytest

import framebuffer
from framebuffer import Frame, FrameBufferClient, FrameBufferError, FrameBufferServer, FrameBufferTimeout, connect

CHECKSUM = bytes(8)


@pytest.mark.parametrize(
    "number", [-1, 1 << 64, 1 << 200, "-1", "+1", " 1", "1e3", "", "x" * 1000, "18446744073709551616"]
)
def test_a_number_out_of_range_is_a_value_error_that_names_it(client, number):
    for call in [
        lambda: client.allocate(number),
        lambda: client.loan(number),
        lambda: client.write(number, b""),
        lambda: client.read(number, 1, CHECKSUM),
        lambda: client.read(64, number, CHECKSUM),
        lambda: Frame(number, 1, CHECKSUM),
        lambda: FrameBufferServer(size=number),
    ]:
        with pytest.raises(ValueError, match="must be a whole number from 0") as raised:
            call()
        assert str(number)[:40] in str(raised.value)
        assert len(str(raised.value)) < 120


@pytest.mark.parametrize("number", [1.0, b"1", [], object(), float("nan"), numpy.float64(1)])
def test_a_number_of_another_type_is_a_type_error(client, number):
    for call in [
        lambda: client.allocate(number),
        lambda: client.write(number, b""),
        lambda: client.read(64, number, CHECKSUM),
        lambda: Frame(1, number, CHECKSUM),
    ]:
        with pytest.raises(TypeError, match="must be an int or its decimal text, not"):
            call()


def test_a_number_whose_type_raises_raises_that(client):
    class Hostile:
        def __index__(self):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        client.allocate(Hostile())


@pytest.mark.parametrize(
    "checksum", [b"", bytes(7), bytes(9), bytes(16), "", "0" * 15, "0" * 17, "g" * 16, "é" * 8, "0" * 10000]
)
def test_a_checksum_of_another_length_is_a_value_error(client, checksum):
    for call in [lambda: client.read(64, 1, checksum), lambda: Frame(64, 1, checksum)]:
        with pytest.raises(ValueError, match="a checksum is") as raised:
            call()
        assert len(str(raised.value)) < 120


@pytest.mark.parametrize("checksum", [None, 5, 1.5, [1] * 8, object()])
def test_a_checksum_of_another_type_is_a_type_error(checksum):
    with pytest.raises(TypeError):
        Frame(64, 1, checksum)


@pytest.mark.parametrize("key", ["", "a/b", "../x", "a\0b", "a b", "ä", "x" * 201, "\ud800"])
def test_what_cannot_be_a_key_is_a_value_error(key):
    for call in [
        lambda: FrameBufferClient(key),
        lambda: FrameBufferServer(key, 1000),
        lambda: FrameBufferClient().set_key(key),
    ]:
        with pytest.raises(ValueError):
            call()


def test_a_key_is_in_no_message():
    secret = "no-message-has-this"
    client = FrameBufferClient(secret)
    with pytest.raises(FrameBufferError) as raised:
        client.start()
    with pytest.raises(ValueError) as invalid:
        FrameBufferClient(secret + "/")
    with FrameBufferServer(secret, 1000) as server, pytest.raises(FrameBufferError) as owned:
        FrameBufferServer(secret, 1000).start()
    for said in [raised.value, invalid.value, owned.value, client, server]:
        assert secret not in str(said) + repr(said)


@pytest.mark.parametrize("data", [None, 5, "text", ["a"], object()])
def test_data_without_a_buffer_is_a_type_error(client, data):
    with pytest.raises(TypeError, match="bytes or another buffer is needed, not"):
        client.publish(data)
    with pytest.raises(TypeError, match="bytes or another buffer is needed, not"):
        client.write(64, data)


def test_binary_of_xml_rpc_is_data_and_a_checksum(client):
    frame = client.publish(xmlrpc.client.Binary(b"binary"))
    assert client.read(frame.offset, frame.size, xmlrpc.client.Binary(frame.checksum)) == b"binary"
    assert client.read({"offset": str(frame.offset), "size": 6, "checksum": xmlrpc.client.Binary(frame.checksum)})


def test_a_frame_of_no_bytes_is_a_frame(client):
    for data in [b"", bytearray(), memoryview(b""), numpy.zeros((0, 3))]:
        frame = client.publish(data)
        assert frame.size == 0
        assert client.read(frame) == b""
        client.read_into(frame, bytearray())
        with client.view(frame) as view:
            view.verify()
            assert bytes(view) == b""
            assert numpy.frombuffer(memoryview(view), dtype=numpy.uint8).size == 0
    assert client.read(client.loan(0).commit()) == b""


def test_what_does_not_fit_is_a_value_error_with_the_limit(server, client):
    too_large = client.size + 1
    for call in [
        lambda: server.allocate(too_large),
        lambda: client.allocate(too_large),
        lambda: client.loan(too_large),
        lambda: client.loan((1 << 64) - 1),
        lambda: client.publish(bytes(too_large)),
    ]:
        with pytest.raises(
            ValueError, match=f"larger than the ring, which holds frames of at most {client.size} bytes"
        ):
            call()
    with pytest.raises(ValueError, match="5 bytes do not fit into the 4 bytes allocated"):
        client.write(client.allocate(4), b"12345")


@pytest.mark.parametrize("offset", [0, 1, 63, 65, 1 << 40, (1 << 64) - 1])
def test_an_offset_that_was_never_allocated_is_no_wrong_argument(client, offset):
    client.publish(b"x")
    for call in [
        lambda: client.read(offset, 1, CHECKSUM),
        lambda: client.write(offset, b"x"),
        lambda: client.view(Frame(offset, 1, CHECKSUM)),
        lambda: client.read_into(Frame(offset, 1, CHECKSUM), bytearray(1)),
    ]:
        with pytest.raises(FrameBufferError) as raised:
            call()
        assert not isinstance(raised.value, ValueError)


def test_a_frame_is_written_once(client):
    offset = client.allocate(1)
    client.write(offset, b"x")
    with pytest.raises(FrameBufferError, match=f"the frame at offset {offset} is already written"):
        client.write(offset, b"x")


def test_using_what_is_not_started_is_an_error_that_says_so():
    server = FrameBufferServer(1000)
    client = FrameBufferClient(server.get_key())
    frame = Frame(64, 1, CHECKSUM)
    calls = [
        lambda: server.allocate(1),
        server.stats,
        server.reap,
        lambda: client.allocate(1),
        lambda: client.write(64, b""),
        lambda: client.publish(b""),
        lambda: client.read(frame),
        lambda: client.read_into(frame, bytearray(1)),
        lambda: client.view(frame),
        lambda: client.loan(1),
        lambda: client.size,
        client.stats,
    ]
    for _ in range(2):
        for call in calls:
            with pytest.raises(FrameBufferError, match=r"not started: call start\(\) first"):
                call()
        with server:
            client.start()
        client.stop()


def test_a_client_without_a_key_or_a_ring_does_not_start(server):
    client = FrameBufferClient()
    with pytest.raises(FrameBufferError, match="no key"):
        client.start()
    client.set_key("nobody-has-this")
    with pytest.raises(FileNotFoundError, match="there is no ring with this key"):
        client.start()
    client.set_key(server.get_key())
    with client:
        client.set_key(server.get_key())
        with pytest.raises(FrameBufferError, match=r"call stop\(\) first"):
            client.set_key("another")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), {}),
        (("key",), {}),
        ((None,), {}),
        ((1, 2, 3), {}),
        ((1000,), {"mode": -1}),
        ((5, 1000), {}),
        ((b"k", 1), {}),
    ],
)
def test_a_server_needs_a_size_and_perhaps_a_key(arguments, named):
    with pytest.raises((TypeError, OverflowError)):
        FrameBufferServer(*arguments, **named)


@pytest.mark.parametrize("size", [0, 1 << 46, (1 << 64) - 1])
def test_a_ring_of_no_bytes_or_of_too_many_does_not_start(folder, size):
    with pytest.raises(ValueError, match=r"0 bytes, it needs at least 1|larger than the limit"):
        FrameBufferServer(size).start()


def test_a_ring_for_which_there_is_no_memory_does_not_start():
    with pytest.raises(FrameBufferError, match=r"needs \d+ bytes, but .* leaves \d+"):
        FrameBufferServer(1 << 44).start()


def test_read_takes_a_frame_or_three_numbers(client):
    frame = client.publish(b"x")
    for arguments, named in [
        ((), {}),
        ((64,), {}),
        ((64, 1), {}),
        ((frame, 1, CHECKSUM), {}),
        ((64,), {"frame": frame}),
        ((None, None, None), {}),
        ((frame, 1), {}),
    ]:
        with pytest.raises(TypeError):
            client.read(*arguments, **named)
    for arguments, named in [((frame,), {}), ((), {"frame": frame}), ((frame.to_dict(),), {}), ((), frame.to_dict())]:
        assert client.read(*arguments, **named) == b"x"


@pytest.mark.parametrize("fields", [{}, {"offset": 1}, {"offset": 1, "size": 2}, {"size": 1, "checksum": CHECKSUM}])
def test_a_mapping_without_all_fields_is_a_value_error_that_names_one(client, fields):
    for call in [lambda: client.read(fields), lambda: client.view(fields), lambda: Frame.from_dict(fields)]:
        with pytest.raises(ValueError, match="a frame needs the field"):
            call()


def test_a_buffer_to_read_into_is_writable_contiguous_and_as_long(client):
    frame = client.publish(b"1234")
    for buffer, error in [
        (bytes(4), BufferError),
        (memoryview(b"1234"), BufferError),
        (client.view(frame), BufferError),
        (memoryview(bytearray(8))[::2], BufferError),
        (numpy.zeros((4, 2), dtype=numpy.uint8)[:, 0], BufferError),
        (bytearray(3), ValueError),
        (bytearray(5), ValueError),
        ("text", TypeError),
        (None, TypeError),
    ]:
        with pytest.raises(error):
            client.read_into(frame, buffer)
    array = numpy.zeros((2, 2), dtype=numpy.uint8)
    client.read_into(frame, array)
    assert array.tobytes() == b"1234"


@pytest.mark.parametrize("timeout", [-1.0, float("nan"), float("-inf")])
def test_a_timeout_that_is_no_time_is_a_value_error(timeout):
    with pytest.raises(ValueError, match="timeout must be a number of seconds"):
        connect("http://127.0.0.1:1", timeout=timeout)


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:7570", "https://x:1", "http://x", "unix:relative", "http://x:99999", "\0"]
)
def test_a_url_of_another_kind_is_a_value_error(url):
    with pytest.raises(ValueError, match="is not http://HOST:PORT or unix:/PATH"):
        connect(url, timeout=0)


def test_a_damaged_ring_is_refused(folder):
    path = f"{folder}/framebuffer-damaged"
    for content in [b"", b"x" * 100, bytes(1 << 20)]:
        with open(path, "wb") as file:
            file.write(content)
        try:
            with pytest.raises(FrameBufferError, match="not a FrameBuffer segment"):
                FrameBufferClient("damaged").start()
        finally:
            os.unlink(path)


def test_timeouts_can_be_pickled():
    timeout = pickle.loads(pickle.dumps(FrameBufferTimeout("late", 64, "overwritten")))
    assert (str(timeout), timeout.offset, timeout.reason) == ("late", 64, "overwritten")


def test_everything_public_says_what_it_is():
    for name in framebuffer.__all__:
        value = getattr(framebuffer, name)
        if not inspect.isclass(value):
            continue
        assert inspect.getdoc(value), name
        for member, found in vars(value).items():
            if not member.startswith("_"):
                assert inspect.getdoc(found), f"{name}.{member}"
