"""The part of CUDA that engines need: the GPU's facts, memory, streams, graphs.

A thin layer over `cuda.bindings.runtime`, which is imported when it is first needed. Every status is checked: a failure
becomes an EngineError with CUDA's own name for it. Nothing here waits without a bound. The first GPU that CUDA lists is
used; `CUDA_VISIBLE_DEVICES` chooses another.
"""

from __future__ import annotations

import ctypes
import logging
import time
import weakref
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from icface.errors import EngineError

logger = logging.getLogger(__name__)

NO_GPU: Final = "there is no NVIDIA GPU here"
"""The error begins so where there is no GPU, or no driver for it."""

POLL_S: Final = 0.0001
"""Pause between two queries of a stream. CUDA's own wait has no bound, or spins and takes a core from the tracker."""

_ADVICE: Final = {
    "cudaErrorMemoryAllocation": "close other programs that use the GPU, or take a smaller --size",
    "cudaErrorInsufficientDriver": "install a newer NVIDIA driver",
    "cudaErrorNoDevice": "use --engine auto",
}
_OTHERWISE: Final = "start again; if it comes back, use --engine auto"

_clock = time.monotonic
_pause = time.sleep


class StreamTimeoutError(EngineError):
    """The GPU did not finish in time: its memory may still be in use, and freeing it would wait for ever."""


def runtime() -> Any:
    """Import the module `cuda.bindings.runtime`; EngineError where it is not installed."""
    try:
        from cuda.bindings import runtime as module
    except ImportError as error:
        raise EngineError(f"cuda-bindings is not installed ({error}); pip install cuda-bindings") from error
    return module


def call(cuda: Any, function: str, *arguments: Any) -> Any:
    """Call a function of CUDA; EngineError where it fails. Gives None, a value, or a tuple, without the status."""
    try:
        status, *values = getattr(cuda, function)(*arguments)
    except RuntimeError as error:  # the driver lacks the function, or a library cannot be opened
        raise EngineError(f"CUDA has no {function} here ({error}); install a newer NVIDIA driver") from error
    if status != cuda.cudaError_t.cudaSuccess:
        raise _error(function, status)
    return values[0] if len(values) == 1 else tuple(values) or None


def _error(function: str, status: Any) -> EngineError:
    name = getattr(status, "name", str(status))
    return EngineError(f"{function} failed on the GPU: {name}; {_ADVICE.get(name, _OTHERWISE)}")


def _release(cuda: Any, function: str, handle: Any) -> None:
    """Free something. After a fault on the GPU this fails as well, and nothing can be done about it."""
    try:
        call(cuda, function, handle)
    except EngineError as error:
        logger.debug("%s", error)


def device() -> tuple[str, str]:
    """Name and compute capability (as `8.6`) of the GPU that engines run on; EngineError where there is none to use."""
    cuda = runtime()
    numbers = (int(call(cuda, f"cuda{whose}GetVersion")) for whose in ("Driver", "Runtime"))
    driver, own = (f"{number // 1000}.{number % 1000 // 10}" for number in numbers)
    try:
        status, count = cuda.cudaGetDeviceCount()
    except RuntimeError as error:
        raise EngineError(f"{NO_GPU}, or no driver for it ({error}); install NVIDIA's driver") from error
    codes = cuda.cudaError_t
    if driver == "0.0":
        raise EngineError(f"{NO_GPU}, or no driver for it; install NVIDIA's driver, or use --engine auto")
    if status == codes.cudaErrorInsufficientDriver:
        raise EngineError(
            f"NVIDIA's driver is too old: it knows CUDA {driver}, while cuda-bindings is made for {own}; install a "
            f'newer driver, or pip install "cuda-bindings<{int(driver.split(".")[0]) + 1}"'
        )
    if status == codes.cudaErrorNoDevice or (status == codes.cudaSuccess and not count):
        raise EngineError(
            f"{NO_GPU} that its driver (CUDA {driver}) lists; is CUDA_VISIBLE_DEVICES set? Else use --engine auto"
        )
    if status != codes.cudaSuccess:
        raise _error("cudaGetDeviceCount", status)
    facts = call(cuda, "cudaGetDeviceProperties", 0)
    name = facts.name.decode(errors="replace") if isinstance(facts.name, bytes) else str(facts.name)
    return name.rstrip("\0"), f"{facts.major}.{facts.minor}"


class DeviceBuffer:
    """Memory on the GPU."""

    def __init__(self) -> None:
        self._cuda = runtime()
        self.address = 0
        self.nbytes = 0

    def reserve(self, nbytes: int) -> bool:
        """Make room; true where the memory is new, so that the address changed. An EngineError changes nothing."""
        if nbytes <= self.nbytes:
            return False
        address = int(call(self._cuda, "cudaMalloc", nbytes))
        self.free()
        self.address, self.nbytes = address, nbytes
        return True

    def free(self) -> None:
        """Free the memory. No stream may still use it, because CUDA would wait for that without a bound."""
        if self.nbytes:
            address, self.address, self.nbytes = self.address, 0, 0
            _release(self._cuda, "cudaFree", address)


class HostBuffer:
    """Page-locked memory: the GPU copies from it and to it without the CPU.

    It is freed after the last array over it, so a frame that is still in use stays readable.
    """

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        cuda = runtime()
        address = int(call(cuda, "cudaHostAlloc", nbytes, cuda.cudaHostAllocDefault))
        memory = (ctypes.c_uint8 * nbytes).from_address(address)
        # When the interpreter exits, the driver may be gone already. The memory is freed with the process.
        weakref.finalize(memory, _release, cuda, "cudaFreeHost", address).atexit = False
        self._bytes = np.frombuffer(memoryview(memory), dtype=np.uint8)

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """The beginning of the memory as an array, which keeps the memory."""
        kind = np.dtype(dtype)
        whole: NDArray[Any] = self._bytes[: int(np.prod(shape)) * kind.itemsize].view(kind)
        return whole.reshape(shape)


class Stream:
    """A queue of work on the GPU, apart from every other one. Its methods raise EngineError where CUDA fails."""

    def __init__(self) -> None:
        self._cuda = runtime()
        flags = self._cuda.cudaStreamNonBlocking
        self.handle: Any = call(self._cuda, "cudaStreamCreateWithFlags", flags)
        self.hung = False
        """Whether the GPU did not finish in time. Nothing that it may use can be freed then."""

    def upload(self, target: DeviceBuffer, tensor: NDArray[Any]) -> None:
        """Enqueue a copy to the GPU. The contiguous tensor must stay until `wait` has returned."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._copy(target.address, tensor.ctypes.data, tensor.nbytes, kind)

    def download(self, tensor: NDArray[Any], source: DeviceBuffer) -> None:
        """Enqueue a copy from the GPU. The contiguous tensor must stay until `wait` has returned."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._copy(tensor.ctypes.data, source.address, tensor.nbytes, kind)

    def _copy(self, target: int, source: int, nbytes: int, kind: Any) -> None:
        call(self._cuda, "cudaMemcpyAsync", target, source, nbytes, kind, self.handle)

    def wait(self, timeout_s: float) -> None:
        """Wait until all enqueued work is done; StreamTimeoutError where it is not after `timeout_s`."""
        deadline_s = _clock() + timeout_s
        while True:
            (status,) = self._cuda.cudaStreamQuery(self.handle)
            if status == self._cuda.cudaError_t.cudaSuccess:
                return
            if status != self._cuda.cudaError_t.cudaErrorNotReady:
                raise _error("cudaStreamQuery", status)
            if _clock() > deadline_s:
                self.hung = True
                raise StreamTimeoutError(
                    f"the GPU did not finish within {timeout_s:g} s; is another program keeping it busy, or did its "
                    "driver crash? Start again, or use --engine auto"
                )
            _pause(POLL_S)

    def capture(self, enqueue: Callable[[], None]) -> Any:
        """Record what `enqueue` puts into this stream, instead of doing it, as a graph to `launch` and to `drop`.

        After an error the stream can be used.
        """
        cuda = self._cuda
        # Only calls of this thread are restricted, so other engines may allocate meanwhile.
        mode = cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        try:
            call(cuda, "cudaStreamBeginCapture", self.handle, mode)
            try:
                enqueue()
            except BaseException:
                # The capture must end before the stream can be used. Ending it reports the same failure again.
                status, graph = cuda.cudaStreamEndCapture(self.handle)
                if status == cuda.cudaError_t.cudaSuccess and graph is not None:
                    _release(cuda, "cudaGraphDestroy", graph)
                raise
            graph = call(cuda, "cudaStreamEndCapture", self.handle)
            try:
                return call(cuda, "cudaGraphInstantiate", graph, 0)
            finally:
                _release(cuda, "cudaGraphDestroy", graph)
        except BaseException:
            cuda.cudaGetLastError()  # clears the failure, so that no later call reports it
            raise

    def launch(self, graph: Any) -> None:
        """Enqueue all that was captured."""
        call(self._cuda, "cudaGraphLaunch", graph, self.handle)

    def drop(self, graph: Any) -> None:
        """Free a graph. Its last launch must have finished."""
        _release(self._cuda, "cudaGraphExecDestroy", graph)

    def close(self) -> None:
        """Free it. It must be empty."""
        if self.handle is not None:
            handle, self.handle = self.handle, None
            _release(self._cuda, "cudaStreamDestroy", handle)
