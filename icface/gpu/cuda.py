"""The part of CUDA that engines need: the GPU's facts, memory, streams, graphs.

A thin layer over `cuda.bindings.runtime`, imported when it is first asked for. Every status is looked at: one that is
no success becomes an EngineError with CUDA's own name for it. Nothing here waits without a bound. The first GPU that
CUDA lists is used; `CUDA_VISIBLE_DEVICES` chooses another.
"""

from __future__ import annotations

import ctypes
import logging
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from icface.errors import EngineError

logger = logging.getLogger(__name__)

NO_GPU: Final = "there is no NVIDIA GPU here"
"""How the error begins where there is none, or no driver for it."""

POLL_S: Final = 0.0001
"""Between two looks at a stream. CUDA's own wait has no bound; one that spins costs a core beside the tracker."""

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
    """The module `cuda.bindings.runtime`.

    Raises:
        EngineError: it is not installed.
    """
    try:
        from cuda.bindings import runtime as module
    except ImportError as error:
        raise EngineError(f"cuda-bindings is not installed ({error}); pip install cuda-bindings") from error
    return module


def call(cuda: Any, function: str, *arguments: Any) -> Any:
    """Call a function of CUDA and look at its status.

    Args:
        cuda: what `runtime` gave.
        function: its name, as `cudaMalloc`.
        arguments: handed on.

    Returns:
        What it gives besides the status: None, the value, or a tuple of values.

    Raises:
        EngineError: the status is no success.
    """
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
    """Give something back. After a fault on the GPU that fails as well, and there is nothing left to do about it."""
    try:
        call(cuda, function, handle)
    except EngineError as error:
        logger.debug("%s", error)


@dataclass(frozen=True, kw_only=True)
class Device:
    """A GPU and what drives it."""

    name: str
    """As `NVIDIA GeForce RTX 3060`."""
    capability: str
    """Compute capability, as `8.6`."""
    driver: str
    """Newest version of CUDA that the driver knows, as `13.0`."""
    runtime: str
    """Version of CUDA that cuda-bindings was made for."""


def device() -> Device:
    """The GPU that engines run on.

    Raises:
        EngineError: cuda-bindings is missing; there is no GPU (the line begins with NO_GPU); its driver is too old.
    """
    cuda = runtime()
    driver, own = (
        _version(int(call(cuda, function))) for function in ("cudaDriverGetVersion", "cudaRuntimeGetVersion")
    )
    try:
        status, count = cuda.cudaGetDeviceCount()
    except RuntimeError as error:
        raise EngineError(f"{NO_GPU}, or no driver for it ({error}); install NVIDIA's driver") from error
    status_name = getattr(status, "name", str(status))
    if driver == _version(0):
        raise EngineError(f"{NO_GPU}, or no driver for it; install NVIDIA's driver, or use --engine auto")
    if status_name == "cudaErrorInsufficientDriver":
        raise EngineError(
            f"NVIDIA's driver is too old: it knows CUDA {driver}, while cuda-bindings is made for {own}; install a "
            f'newer driver, or pip install "cuda-bindings<{int(driver.split(".")[0]) + 1}"'
        )
    if status_name == "cudaErrorNoDevice" or (status == cuda.cudaError_t.cudaSuccess and not count):
        raise EngineError(
            f"{NO_GPU} that its driver (CUDA {driver}) lists; is CUDA_VISIBLE_DEVICES set? Else use --engine auto"
        )
    if status != cuda.cudaError_t.cudaSuccess:
        raise _error("cudaGetDeviceCount", status)
    facts = call(cuda, "cudaGetDeviceProperties", 0)
    name = facts.name.decode(errors="replace") if isinstance(facts.name, bytes) else str(facts.name)
    return Device(
        name=name.rstrip("\0"), capability=f"{facts.major}.{facts.minor}", driver=driver, runtime=own
    )


def _version(number: int) -> str:
    """CUDA counts 12060 for 12.6."""
    return f"{number // 1000}.{number % 1000 // 10}"


def default_precision(name: str, capability: str) -> str:
    """What an engine computes in when nobody says: fp16, twice as fast or more and close enough to be accepted.

    GeForce GTX 16 cards (TU116, TU117) are the exception: their half precision units have given NaN, seen as black
    frames, in one generator after another. The capability alone does not tell: RTX 20 cards have the same and work.
    """
    return "fp32" if capability == "7.5" and "GTX 16" in name else "fp16"


class DeviceBuffer:
    """Memory on the GPU.

    Args:
        cuda: what `runtime` gave.
    """

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda
        self.address = 0
        self.nbytes = 0

    def reserve(self, nbytes: int) -> bool:
        """Have room for `nbytes`; what was inside is lost where that takes more than there is.

        Returns:
            Whether the address is another one now.

        Raises:
            EngineError: the GPU has no room; the buffer is as it was.
        """
        if nbytes <= self.nbytes:
            return False
        address = int(call(self._cuda, "cudaMalloc", nbytes))
        self.free()
        self.address, self.nbytes = address, nbytes
        return True

    def free(self) -> None:
        """Give the memory back. No stream may still use it: CUDA would wait for that, without a bound."""
        if self.nbytes:
            address, self.address, self.nbytes = self.address, 0, 0
            _release(self._cuda, "cudaFree", address)


class HostBuffer:
    """Page-locked memory, which the GPU copies from and to without the CPU.

    It goes when the last array over it has gone, so a frame that somebody still holds is never unmapped under them.

    Args:
        cuda: what `runtime` gave.
        nbytes: size.

    Raises:
        EngineError: the system gives no more page-locked memory.
    """

    def __init__(self, cuda: Any, nbytes: int) -> None:
        self.nbytes = nbytes
        address = int(call(cuda, "cudaHostAlloc", nbytes, cuda.cudaHostAllocDefault))
        memory = (ctypes.c_uint8 * nbytes).from_address(address)
        # At the interpreter's exit the driver may be gone before, and the memory goes with the process.
        weakref.finalize(memory, _release, cuda, "cudaFreeHost", address).atexit = False
        self._bytes = np.frombuffer(memoryview(memory), dtype=np.uint8)

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """The memory's beginning as an array; it keeps the memory."""
        kind = np.dtype(dtype)
        whole: NDArray[Any] = self._bytes[: int(np.prod(shape)) * kind.itemsize].view(kind)
        return whole.reshape(shape)


class Graph:
    """Work that was captured once and is launched as a whole.

    Args:
        cuda: what `runtime` gave.
        executable: what CUDA made of the capture.
    """

    def __init__(self, cuda: Any, executable: Any) -> None:
        self._cuda, self._executable = cuda, executable

    def launch(self, stream: Stream) -> None:
        """Enqueue all of it.

        Raises:
            EngineError: CUDA refuses.
        """
        call(self._cuda, "cudaGraphLaunch", self._executable, stream.handle)

    def close(self) -> None:
        """Give it back; its last launch must have finished."""
        if self._executable is not None:
            executable, self._executable = self._executable, None
            _release(self._cuda, "cudaGraphExecDestroy", executable)


class Stream:
    """A queue of work on the GPU, apart from every other one.

    Args:
        cuda: what `runtime` gave.

    Raises:
        EngineError: CUDA gives none.
    """

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda
        self.handle: Any = call(cuda, "cudaStreamCreateWithFlags", cuda.cudaStreamNonBlocking)

    def upload(self, target: DeviceBuffer, tensor: NDArray[Any]) -> None:
        """Enqueue a copy to the GPU. The contiguous tensor must stay until the stream was waited for."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        call(
            self._cuda,
            "cudaMemcpyAsync",
            target.address,
            tensor.ctypes.data,
            tensor.nbytes,
            kind,
            self.handle,
        )

    def download(self, tensor: NDArray[Any], source: DeviceBuffer) -> None:
        """Enqueue a copy from the GPU. The contiguous tensor must stay until the stream was waited for."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        call(
            self._cuda,
            "cudaMemcpyAsync",
            tensor.ctypes.data,
            source.address,
            tensor.nbytes,
            kind,
            self.handle,
        )

    def wait(self, timeout_s: float) -> None:
        """Until all that was enqueued is done.

        Raises:
            StreamTimeoutError: it is not after `timeout_s`.
            EngineError: it failed.
        """
        deadline_s = None
        while True:
            (status,) = self._cuda.cudaStreamQuery(self.handle)
            if status == self._cuda.cudaError_t.cudaSuccess:
                return
            if status != self._cuda.cudaError_t.cudaErrorNotReady:
                raise _error("cudaStreamQuery", status)
            now_s = _clock()
            if deadline_s is None:
                deadline_s = now_s + timeout_s
            elif now_s > deadline_s:
                raise StreamTimeoutError(
                    f"the GPU did not finish within {timeout_s:g} s; is another program keeping it busy, or did its "
                    "driver crash? Start again, or use --engine auto"
                )
            _pause(POLL_S)

    def capture(self, enqueue: Callable[[], None]) -> Graph:
        """Record what `enqueue` puts into this stream instead of doing it.

        Raises:
            EngineError: something in it cannot be captured. The stream works on.
        """
        cuda = self._cuda
        # Of this thread alone: other engines go on allocating meanwhile.
        call(
            cuda,
            "cudaStreamBeginCapture",
            self.handle,
            cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal,
        )
        try:
            enqueue()
        except BaseException:
            # The capture must end before the stream can be used; that reports its failure once more.
            status, graph = cuda.cudaStreamEndCapture(self.handle)
            if status == cuda.cudaError_t.cudaSuccess and graph is not None:
                _release(cuda, "cudaGraphDestroy", graph)
            cuda.cudaGetLastError()  # else the next call of somebody who looks finds it
            raise
        try:
            graph = call(cuda, "cudaStreamEndCapture", self.handle)
            try:
                return Graph(cuda, call(cuda, "cudaGraphInstantiate", graph, 0))
            finally:
                _release(cuda, "cudaGraphDestroy", graph)
        except EngineError:
            cuda.cudaGetLastError()
            raise

    def close(self) -> None:
        """Give it back; nothing may be left in it."""
        if self.handle is not None:
            handle, self.handle = self.handle, None
            _release(self._cuda, "cudaStreamDestroy", handle)
