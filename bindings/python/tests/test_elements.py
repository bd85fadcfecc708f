"""Types and shapes travel with the frames: those of numpy, of its extensions, and of tensors by DLPack."""

import array
import ctypes
import gc
import sys

import ml_dtypes
import numpy
import pytest

LONG = 30.0


@pytest.fixture
def publisher(client):
    """A publisher of a channel."""
    return client.publisher("data")


@pytest.fixture
def subscriber(client):
    """A subscriber of the same channel."""
    return client.subscribe("data")


PLAIN = ["?", "b", "B", "h", "H", "i", "I", "l", "L", "q", "Q", "e", "f", "d", "g", "F", "D"]
TIMES = [f"{kind}8[{unit}]" for kind in "Mm" for unit in ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "as"]]
SMALL = ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e3m4", "float8_e4m3b11fnuz", "float8_e8m0fnu"]
DTYPES = [numpy.dtype(name) for name in PLAIN + TIMES] + [numpy.dtype(getattr(ml_dtypes, name)) for name in SMALL]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("shape", [(6,), (2, 3), (3, 1, 2, 1), (0, 5)])
def test_an_array_arrives_as_it_was(publisher, subscriber, dtype, shape):
    sent = numpy.arange(numpy.prod(shape)).astype("u1").astype(dtype).reshape(shape)
    publisher.send(sent)
    sample = subscriber.next(LONG)
    arrived = sample.array()
    assert (arrived.dtype, arrived.shape, arrived.tobytes()) == (dtype, shape, sent.tobytes())
    if shape != (6,) or dtype != numpy.uint8:
        assert (sample.shape, sample.dtype) == (shape, dtype.name)


@pytest.mark.parametrize("dtype", ["S5", "U3", "V7", [("x", "<i4"), ("y", "<f8", 2)], "M8[25s]", "G"], ids=str)
def test_elements_of_other_types_arrive_as_bytes_of_the_same_size(publisher, subscriber, dtype):
    sent = numpy.zeros((2, 2), dtype)
    publisher.send(sent)
    arrived = subscriber.next(LONG).array()
    assert (arrived.shape, arrived.dtype) == ((2, 2), numpy.dtype(f"V{sent.itemsize}"))
    assert numpy.array_equal(arrived.view(dtype), sent)


def test_buffers_of_other_objects_are_described_too(publisher, subscriber):
    matrix = (ctypes.c_double * 3 * 2)((1, 2, 3), (4, 5, 6))
    for sent, dtype, arrived in [
        (array.array("f", [1, 2, 3]), "float32", [1, 2, 3]),
        (array.array("Q", [2**63]), "uint64", [2**63]),
        (memoryview(bytes(range(6))).cast("B", (2, 3)), "uint8", [[0, 1, 2], [3, 4, 5]]),
        (matrix, "float64", [[1, 2, 3], [4, 5, 6]]),
        (numpy.float32(7), "float32", [7]),
        (numpy.array(8, dtype="M8[s]"), "datetime64[s]", [numpy.datetime64(8, "s")]),
    ]:
        publisher.send(sent)
        sample = subscriber.next(LONG)
        assert (sample.dtype, sample.array().tolist()) == (dtype, numpy.array(arrived).tolist())


def test_what_bytes_do_not_tell_the_program_may(publisher, subscriber):
    for dtype in ["float32", numpy.float32, numpy.dtype("f4")]:
        publisher.send(numpy.ones((2, 3), "f4").tobytes(), shape=(2, 3), dtype=dtype)
        arrived = subscriber.next(LONG).array()
        assert (arrived.dtype, arrived.tolist()) == (numpy.float32, [[1] * 3] * 2)
    publisher.send(bytes(6), shape=[2, 3])
    assert subscriber.next(LONG).array().shape == (2, 3)
    publisher.send(bytes(8), dtype="bfloat16")
    assert subscriber.next(LONG).array().dtype == ml_dtypes.bfloat16
    publisher.send(numpy.zeros((2, 2), "i2"), shape=(4,))
    assert subscriber.next(LONG).array().shape == (4,)
    publisher.send(bytes(7), dtype="int16")
    with pytest.raises(ValueError, match=r"7 bytes.*int16"):
        subscriber.next(LONG).array()
    publisher.send(bytes(24), shape=(2,), dtype="float32x3")
    assert subscriber.next(LONG).array().shape == (2, 3)
    publisher.send(bytes(3), shape=(6,), dtype="int4")
    with pytest.raises(TypeError, match="int4"):
        subscriber.next(LONG).array()


def test_a_sample_is_passed_on_with_all_that_was_said_of_it(client, publisher, subscriber):
    further = client.publisher("further")
    at_the_end = client.subscribe("further")
    sent = numpy.arange(6, dtype="i2").reshape(2, 3)
    publisher.send(sent, time=5, user=6, fourcc="TEST")
    further.send(subscriber.next(LONG))
    arrived = at_the_end.next(LONG)
    assert (arrived.time, arrived.user, arrived.fourcc) == (5, 6, "TEST")
    assert numpy.array_equal(arrived.array(), sent)
    # What is said anew counts.
    further.send(arrived, time=7, dtype="uint8")
    arrived = at_the_end.next(LONG)
    assert (arrived.time, arrived.user, arrived.dtype, arrived.shape) == (7, 6, "uint8", None)
    further.send(arrived, shape=(4, 3))
    assert at_the_end.next(LONG).array().shape == (4, 3)


def test_rows_may_have_gaps_between_them(publisher, subscriber):
    memory = numpy.arange(4 * 16, dtype=numpy.uint8).reshape(4, 16)
    publisher.send(memory.tobytes()[: 3 * 16 + 12], shape=(4, 4, 3), dtype="uint8", row_stride=16)
    sample = subscriber.next(LONG)
    expected = memory[:, :12].reshape(4, 4, 3)
    assert sample.row_stride == 16
    assert numpy.array_equal(sample.array(), expected)
    assert numpy.array_equal(numpy.from_dlpack(sample), expected)
    assert sample.array().strides == (16, 3, 1)
    publisher.send(bytes(30), shape=(2, 4), dtype="int16", row_stride=19)
    sample = subscriber.next(LONG)
    assert sample.array().strides == (19, 2)
    with pytest.raises(BufferError, match="19 bytes"):
        numpy.from_dlpack(sample)


class Tensor:
    """What another library's tensor looks like: no buffer, only DLPack."""

    def __init__(self, array, versioned=True, device=(1, 0)):
        self.array, self.versioned, self.device = array, versioned, device

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **request):
        if not self.versioned and request:
            raise TypeError("__dlpack__() got an unexpected keyword argument 'max_version'")
        return self.array.__dlpack__(**request)


@pytest.mark.parametrize("versioned", [True, False])
def test_a_tensor_is_sent_with_its_type_and_shape(client, publisher, subscriber, versioned):
    sent = numpy.arange(24, dtype="f4").reshape(2, 3, 4)
    references = sys.getrefcount(sent)
    publisher.send(Tensor(sent, versioned))
    assert sys.getrefcount(sent) == references
    assert numpy.array_equal(subscriber.next(LONG).array(), sent)
    part = sent[1:]
    publisher.send(Tensor(part, versioned))
    assert numpy.array_equal(subscriber.next(LONG).array(), part)
    publisher.send(Tensor(numpy.array(5)))
    assert subscriber.next(LONG).shape == (1,)
    publisher.send(Tensor(numpy.zeros((3, 0, 2), "i8")))
    assert subscriber.next(LONG).shape == (3, 0, 2)
    # The plain way takes tensors, too.
    assert client.read(client.publish(Tensor(sent, versioned))) == sent.tobytes()
    assert sys.getrefcount(sent) == references


class Structure(ctypes.Structure):
    """`DLManagedTensorVersioned`, and the `DLTensor` in it."""

    _fields_ = [
        *[(name, ctypes.c_uint32) for name in ("major", "minor")],
        *[(name, ctypes.c_void_p) for name in ("context", "end")],
        ("flags", ctypes.c_uint64),
        ("data", ctypes.c_void_p),
        *[(name, ctypes.c_int32) for name in ("device", "device_number", "rank")],
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        *[(name, ctypes.c_void_p) for name in ("shape", "strides")],
        ("byte_offset", ctypes.c_uint64),
    ]


class ByHand:
    """A tensor of 16-bit numbers that is made field by field, as libraries may that no test has."""

    def __init__(self, numbers, shape, **fields):
        self.memory = (ctypes.c_int16 * len(numbers))(*numbers)
        self.shape = (ctypes.c_int64 * len(shape))(*shape)
        address = ctypes.addressof
        plain = {"major": 1, "device": 1, "bits": 16, "lanes": 1, "rank": len(shape), "shape": address(self.shape)}
        self.structure = Structure(data=address(self.memory), **{**plain, **fields})

    def __dlpack_device__(self):
        return self.structure.device, 0

    def __dlpack__(self, **_):
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return new(ctypes.addressof(self.structure), b"dltensor_versioned", None)


def test_whatever_a_tensor_says_of_itself_is_heeded_or_refused(publisher, subscriber):
    # Without strides, from the middle of its memory, of pinned memory, without a function that ends its use.
    for fields in [{}, {"device": 3}, {"device": 11}, {"minor": 99}]:
        publisher.send(ByHand([0, 1, 2, 3, 4, 5], (2, 2), byte_offset=4, **fields))
        assert subscriber.next(LONG).array().tolist() == [[2, 3], [4, 5]]
    for shape, fields, message in [
        ((2, 2), {"major": 2}, "version 2.0 of DLPack; this library reads 1"),
        ((2, -2), {}, "shape is out of bounds"),
        ((2**62, 2**62), {}, "shape is out of bounds"),
    ]:
        with pytest.raises(BufferError, match=message):
            publisher.send(ByHand([0] * 4, shape, **fields))
    assert subscriber.try_next() is None


def test_a_tensor_whose_buffer_is_refused_is_sent_as_a_tensor(publisher, subscriber):
    sent = numpy.arange(4, dtype="f4")

    class Other(numpy.ndarray):
        """Has a buffer with gaps, and a tensor without."""

        def __dlpack__(self, **request):
            return sent.__dlpack__(**request)

    publisher.send(numpy.zeros((4, 4))[:, 1:3].view(Other))
    assert numpy.array_equal(subscriber.next(LONG).array(), sent)


def test_a_tensor_that_cannot_be_sent_is_refused_and_given_back(publisher):
    sent = numpy.zeros((4, 4))
    references = sys.getrefcount(sent)
    with pytest.raises(BufferError, match="not C-contiguous"):
        publisher.send(Tensor(sent.T[1:]))
    with pytest.raises(BufferError, match="not C-contiguous"):
        publisher.send(Tensor(sent[:, 1:]))
    with pytest.raises(BufferError, match=r"type 2.*copy it"):
        publisher.send(Tensor(sent, device=(2, 0)))
    with pytest.raises(ValueError, match="5 dimensions"):
        publisher.send(Tensor(sent.reshape(4, 1, 1, 1, 4)))
    gc.collect()
    assert sys.getrefcount(sent) == references

    class NoCapsule(Tensor):
        def __dlpack__(self, **_):
            return 5

    class Fails(Tensor):
        def __dlpack__(self, **_):
            raise RuntimeError("requires grad")

    with pytest.raises(TypeError, match="no capsule"):
        publisher.send(NoCapsule(sent))
    with pytest.raises(RuntimeError, match="requires grad"):
        publisher.send(Fails(sent))
    capsule = sent.__dlpack__()

    class Twice(Tensor):
        def __dlpack__(self, **_):
            return capsule

    publisher.send(Twice(sent))
    with pytest.raises(TypeError, match="no capsule"):
        publisher.send(Twice(sent))


def test_a_sample_is_a_tensor_that_holds_its_frame(client, publisher, subscriber):
    sent = numpy.arange(6, dtype="i2").reshape(2, 3)
    publisher.send(sent)
    publisher.close()
    sample = subscriber.next(LONG)
    assert sample.__dlpack_device__() == (1, 0)
    tensor = numpy.from_dlpack(sample)
    assert numpy.array_equal(tensor, sent) and not tensor.flags.writeable
    assert tensor.ctypes.data == sample.array().ctypes.data
    with pytest.raises(BufferError, match="1 memoryviews"):
        sample.release()
    del sample
    gc.collect()
    assert client.stats()["pins"] == 1 and numpy.array_equal(tensor, sent)
    del tensor
    assert client.stats()["pins"] == 0


def test_a_capsule_that_nobody_takes_gives_the_frame_back(client, publisher, subscriber):
    publisher.send(bytes(8))
    publisher.close()
    sample = subscriber.next(LONG)
    for request in [{}, {"max_version": (0, 8)}, {"max_version": (1, 0)}, {"max_version": (2, 0), "copy": False}]:
        sample.__dlpack__(**request)
    for request, message in [({"copy": True}, "copy"), ({"dl_device": (2, 0)}, "2, 0")]:
        with pytest.raises(BufferError, match=message):
            sample.__dlpack__(**request)
    sample.release()
    assert client.stats()["pins"] == 0


def test_types_that_dlpack_has_not_are_refused(publisher, subscriber):
    publisher.send(numpy.zeros(3, "M8[ns]"))
    sample = subscriber.next(LONG)
    with pytest.raises(BufferError, match=r"datetime64\[ns\]"):
        sample.__dlpack__()
    sample.release()


def test_a_loan_is_filled_as_a_tensor(publisher, subscriber):
    loan = publisher.loan(shape=(2, 3), dtype="float32")
    tensor = numpy.from_dlpack(loan)
    tensor[:] = 5
    with pytest.raises(BufferError, match="in use"):
        loan.send()
    del tensor
    loan.send()
    assert subscriber.next(LONG).array().tolist() == [[5] * 3] * 2
