"""Tests of the layer over CUDA: every status is checked, nothing waits for ever, everything is freed once."""

from __future__ import annotations

import gc
import itertools
import sys
from collections.abc import Callable

import numpy as np
import pytest

from icface.engines.nvidia import cuda as layer
from icface.engines.nvidia.cuda import (
    NO_GPU,
    DeviceBuffer,
    HostBuffer,
    Stream,
    StreamTimeoutError,
    call,
    device,
)
from icface.errors import EngineError
from tests.engines.nvidia.fakes import FakeCuda, Status


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    monkeypatch.setattr(layer, "runtime", lambda: fake)
    monkeypatch.setattr(layer, "_pause", lambda seconds: None)
    return fake


def test_the_gpus_facts(cuda: FakeCuda) -> None:
    assert device() == ("NVIDIA GeForce RTX 3060", "8.6")


@pytest.mark.parametrize(
    ("driver", "count", "failing", "expected"),
    [
        (0, 1, Status.cudaErrorInsufficientDriver, f"{NO_GPU}, or no driver for it; install"),
        (
            12020,
            1,
            Status.cudaErrorInsufficientDriver,
            r'driver is too old: it knows CUDA 12\.2, .* 13\.5; .*pip install "cuda-bindings<13"',
        ),
        (13000, 0, None, rf"{NO_GPU} that its driver \(CUDA 13\.0\) lists; is CUDA_VISIBLE_DEVICES set\?"),
        (13000, 1, Status.cudaErrorIllegalAddress, "cudaGetDeviceCount failed .*cudaErrorIllegalAddress"),
    ],
)
def test_no_gpu_no_driver_or_an_old_one(
    cuda: FakeCuda, driver: int, count: int, failing: Status | None, expected: str
) -> None:
    cuda.driver, cuda.count = driver, count
    cuda.failing["cudaGetDeviceCount"] = [failing]
    with pytest.raises(EngineError, match=expected) as caught:
        device()
    assert "\n" not in str(caught.value)


def test_without_the_binding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(EngineError, match=r"cuda-bindings is not installed .*pip install cuda-bindings"):
        device()


def test_this_machine_has_a_gpu_or_says_why_not() -> None:
    """The real binding is asked, where it is installed."""
    try:
        name, capability = device()
    except EngineError as error:
        assert str(error).startswith((NO_GPU, "cuda-bindings is not installed", "NVIDIA's driver is too old"))
    else:
        assert name and "." in capability


def test_a_failing_call_is_named_with_advice(cuda: FakeCuda) -> None:
    cuda.failing["cudaMalloc"] = [Status.cudaErrorMemoryAllocation]
    with pytest.raises(
        EngineError, match=r"cudaMalloc failed .*: cudaErrorMemoryAllocation; close other programs"
    ):
        call(cuda, "cudaMalloc", 8)


def test_a_function_that_the_driver_lacks(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: FakeCuda, size: int) -> None:
        raise RuntimeError("Function cuMemAlloc not found")

    monkeypatch.setattr(FakeCuda, "cudaMalloc", missing)
    with pytest.raises(EngineError, match=r"no cudaMalloc here .*newer NVIDIA driver"):
        call(cuda, "cudaMalloc", 8)


def test_device_memory_only_grows(cuda: FakeCuda) -> None:
    buffer = DeviceBuffer()
    assert buffer.reserve(100) and not buffer.reserve(60) and not buffer.reserve(100)
    first = buffer.address
    assert buffer.reserve(101) and buffer.address != first and buffer.nbytes == 101
    cuda.failing["cudaMalloc"] = [Status.cudaErrorMemoryAllocation]
    second = buffer.address
    with pytest.raises(EngineError):
        buffer.reserve(10**6)
    assert (buffer.address, buffer.nbytes) == (second, 101)
    buffer.free()
    buffer.free()
    assert not cuda.live and not cuda.misuse and buffer.address == 0


def test_host_memory_stays_while_somebody_holds_it(cuda: FakeCuda) -> None:
    buffer = HostBuffer(24)
    array = buffer.array((2, 3), np.float32)
    array[:] = 7
    del buffer
    gc.collect()
    assert list(cuda.live.values()) == ["page-locked memory"] and array.sum() == 42
    part = array[1:]
    del array
    gc.collect()
    assert cuda.live
    del part
    gc.collect()
    assert not cuda.live and set(cuda.given_back.values()) == {1}


def there_and_back(
    cuda: FakeCuda, stream: Stream
) -> tuple[DeviceBuffer, np.ndarray, np.ndarray, Callable[[], None]]:
    """Prepare a copy to the GPU and back."""
    memory = DeviceBuffer()
    memory.reserve(6)
    source, target = np.arange(6, dtype=np.uint8), np.zeros(6, dtype=np.uint8)

    def enqueue() -> None:
        stream.upload(memory, source)
        stream.download(target, memory)

    return memory, source, target, enqueue


def test_copies_are_done_when_the_stream_was_waited_for(cuda: FakeCuda) -> None:
    stream = Stream()
    _, source, target, enqueue = there_and_back(cuda, stream)
    enqueue()
    assert not target.any()
    stream.wait(1.0)
    np.testing.assert_array_equal(target, source)


def test_a_graph_repeats_what_was_captured(cuda: FakeCuda) -> None:
    stream = Stream()
    memory, source, target, enqueue = there_and_back(cuda, stream)
    graph = stream.capture(enqueue)
    stream.wait(1.0)
    assert not target.any()  # it was captured, and not done
    for value in (3, 9):
        source[:] = value
        stream.launch(graph)
        stream.wait(1.0)
        assert (target == value).all()
    stream.drop(graph)
    memory.free()
    stream.close()
    assert not cuda.live and not cuda.misuse


@pytest.mark.parametrize(
    "function", ["cudaStreamBeginCapture", "cudaMemcpyAsync", "cudaStreamEndCapture", "cudaGraphInstantiate"]
)
def test_a_stream_works_on_after_a_capture_that_failed(cuda: FakeCuda, function: str) -> None:
    stream = Stream()
    memory, source, target, enqueue = there_and_back(cuda, stream)
    cuda.failing[function] = [Status.cudaErrorStreamCaptureUnsupported]
    with pytest.raises(EngineError, match=f"{function} failed .*cudaErrorStreamCaptureUnsupported"):
        stream.capture(enqueue)
    enqueue()
    stream.wait(1.0)
    np.testing.assert_array_equal(target, source)
    memory.free()
    stream.close()
    assert set(cuda.live.values()) <= ({"graph"} if function == "cudaStreamEndCapture" else set())


def test_what_may_not_be_captured_ends_the_capture(cuda: FakeCuda) -> None:
    stream = Stream()

    def allocate() -> None:
        DeviceBuffer().reserve(8)

    with pytest.raises(EngineError, match=r"cudaMalloc failed .*cudaErrorStreamCaptureUnsupported"):
        stream.capture(allocate)
    stream.wait(1.0)


def test_a_gpu_that_stopped_is_waited_for_so_long_and_no_longer(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream()
    *_, enqueue = there_and_back(cuda, stream)
    clock = itertools.count(step=0.5)
    monkeypatch.setattr(layer, "_clock", lambda: next(clock))
    cuda.hung = True
    enqueue()
    with pytest.raises(StreamTimeoutError, match=r"did not finish within 2 s; .*another program"):
        stream.wait(2.0)
    assert next(clock) == 3.0  # it looked at 0, .5, … 2.5


def test_a_fault_on_the_gpu_is_an_error_of_the_wait(cuda: FakeCuda) -> None:
    stream = Stream()
    memory, *_, enqueue = there_and_back(cuda, stream)
    cuda.memory.pop(memory.address)
    enqueue()
    with pytest.raises(EngineError, match=r"failed on the GPU: cudaErrorIllegalAddress; start again"):
        stream.wait(1.0)
