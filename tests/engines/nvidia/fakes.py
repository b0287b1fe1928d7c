"""Stand-ins for CUDA and TensorRT on machines without a GPU. NumPy does the work, and every misuse is noted.

Device memory is an array under a made-up address, so nothing but a copy can reach it. What is put into a stream is done
when the stream is asked a second time whether it is finished, not before; while a stream is captured it is recorded, and
done when the graph is launched. Statuses come as the real `cuda.bindings.runtime` gives them: first of a tuple.
"""

from __future__ import annotations

import ctypes
import enum
import types
from collections import Counter
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from icface.variants import Variant


class Status(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorNotReady = 600
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901


OK = Status.cudaSuccess
Work = Callable[[], None]


class Handle:
    """A handle is an object that can be turned into a number, as in the binding."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __int__(self) -> int:
        return self.number


class FakeStream(Handle):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.pending: list[Work] = []
        self.captured: list[Work] | None = None
        self.broken = False
        self.asked = 0


class FakeGraph(Handle):
    def __init__(self, number: int, work: list[Work]) -> None:
        super().__init__(number)
        self.work = work


class FakeCuda:
    """The part of `cuda.bindings.runtime` that is used.

    `failing` maps a function to the statuses of its next calls, None for one that works; `live` holds what was given
    out and not given back; `misuse` tells what no driver would forgive.
    """

    cudaError_t = Status
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaStreamNonBlocking = 1
    cudaHostAllocDefault = 0

    def __init__(self, name: bytes = b"NVIDIA GeForce RTX 3060", capability: str = "8.6") -> None:
        self.name, self.capability = name, capability
        self.driver, self.count = 13000, 1
        self.calls: Counter[str] = Counter()
        self.failing: dict[str, list[Status | None]] = {}
        self.memory: dict[int, np.ndarray] = {}
        self.pinned: dict[int, np.ndarray] = {}
        self.live: dict[int, str] = {}
        self.given_back: Counter[int] = Counter()
        self.misuse: list[str] = []
        self.hung = False
        self._next = 0x7F00_0000_0000

    def __getattribute__(self, function: str) -> Any:
        value = super().__getattribute__(function)
        if not function.startswith("cuda") or not callable(value) or isinstance(value, type):
            return value

        def called(*arguments: Any) -> Any:
            self.calls[function] += 1
            planned = self.failing.get(function, [])
            status = planned.pop(0) if planned else None
            if status is None:
                return value(*arguments)
            if function == "cudaStreamEndCapture":
                value(*arguments)
            return (status,) if function in VOID else (status, None)

        return called

    def _new(self, kind: str, size: int = 512) -> int:
        number, self._next = self._next, self._next + (size + 511) // 512 * 512
        self.live[number] = kind
        return number

    def _back(self, handle: Any, kind: str) -> tuple[Status]:
        number = int(handle)
        if self.live.get(number) != kind:
            self.misuse.append(f"{kind} {number:#x} was given back, while it is {self.live.get(number)}")
            return (Status.cudaErrorInvalidValue,)
        del self.live[number]
        self.given_back[number] += 1
        return (OK,)

    @property
    def _capturing(self) -> bool:
        return any(stream.captured is not None for stream in self._streams())

    def _streams(self) -> list[FakeStream]:
        return [stream for stream in self.__dict__.get("streams", {}).values()]

    # Facts

    def cudaDriverGetVersion(self) -> tuple[Status, int]:
        return OK, self.driver

    def cudaRuntimeGetVersion(self) -> tuple[Status, int]:
        return OK, 13050

    def cudaGetDeviceCount(self) -> tuple[Status, int | None]:
        return (OK, self.count) if self.count else (Status.cudaErrorNoDevice, None)

    def cudaGetDeviceProperties(self, device: int) -> tuple[Status, Any]:
        major, minor = self.capability.split(".")
        return OK, SimpleNamespace(name=self.name, major=int(major), minor=int(minor))

    def cudaGetLastError(self) -> tuple[Status]:
        return (OK,)

    # Memory

    def cudaMalloc(self, size: int) -> tuple[Status, int | None]:
        if self._capturing:
            for stream in self._streams():
                stream.broken = stream.captured is not None
            return Status.cudaErrorStreamCaptureUnsupported, None
        address = self._new("device memory", size)
        self.memory[address] = np.full(size, 0xCD, dtype=np.uint8)
        return OK, address

    def cudaFree(self, address: int) -> tuple[Status]:
        if any(stream.pending for stream in self._streams()):
            self.misuse.append("device memory was freed while a stream had work")
        self.memory.pop(address, None)
        return self._back(address, "device memory")

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Status, int]:
        memory = np.full(size, 0xAB, dtype=np.uint8)
        self.pinned[memory.ctypes.data] = memory
        self.live[memory.ctypes.data] = "page-locked memory"
        return OK, memory.ctypes.data

    def cudaFreeHost(self, address: int) -> tuple[Status]:
        self.pinned.pop(address, None)
        return self._back(address, "page-locked memory")

    def device(self, address: int, size: int) -> np.ndarray:
        """Device memory as an array; raises Fault where there is none."""
        for base, memory in self.memory.items():
            if base <= address and address + size <= base + len(memory):
                return memory[address - base : address - base + size]
        raise Fault

    # Streams

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Status, FakeStream]:
        assert flags == self.cudaStreamNonBlocking
        stream = FakeStream(self._new("stream"))
        self.__dict__.setdefault("streams", {})[stream.number] = stream
        return OK, stream

    def cudaStreamDestroy(self, stream: FakeStream) -> tuple[Status]:
        if stream.pending:
            self.misuse.append("a stream with work was destroyed")
        self.streams.pop(stream.number)
        return self._back(stream, "stream")

    def put(self, stream: FakeStream, work: Work) -> Status:
        """Put work into the stream, or into the graph that is being captured."""
        if stream.broken:
            return Status.cudaErrorStreamCaptureInvalidated
        (stream.pending if stream.captured is None else stream.captured).append(work)
        return OK

    def cudaMemcpyAsync(
        self, target: int, source: int, size: int, kind: int, stream: FakeStream
    ) -> tuple[Status]:
        def copy() -> None:
            if kind == 1:
                host = (ctypes.c_uint8 * size).from_address(source)
                self.device(target, size)[:] = np.frombuffer(memoryview(host), dtype=np.uint8)
            else:
                ctypes.memmove(target, self.device(source, size).tobytes(), size)

        return (self.put(stream, copy),)

    def cudaStreamQuery(self, stream: FakeStream) -> tuple[Status]:
        if stream.captured is not None:
            stream.broken = True
            return (Status.cudaErrorStreamCaptureUnsupported,)
        if stream.pending and (self.hung or stream.asked == 0):
            stream.asked += 1
            return (Status.cudaErrorNotReady,)
        stream.asked = 0
        try:
            for work in stream.pending:
                work()
        except Fault:
            return (Status.cudaErrorIllegalAddress,)
        finally:
            stream.pending = []
        return (OK,)

    # Graphs

    def cudaStreamBeginCapture(self, stream: FakeStream, mode: int) -> tuple[Status]:
        assert stream.captured is None and not stream.pending
        stream.captured, stream.broken = [], False
        return (OK,)

    def cudaStreamEndCapture(self, stream: FakeStream) -> tuple[Status, FakeGraph | None]:
        work, stream.captured = stream.captured, None
        broken, stream.broken = stream.broken, False
        if broken or work is None:
            return Status.cudaErrorStreamCaptureInvalidated, None
        return OK, FakeGraph(self._new("graph"), work)

    def cudaGraphInstantiate(self, graph: FakeGraph, flags: int) -> tuple[Status, FakeGraph]:
        assert self.live[graph.number] == "graph"
        return OK, FakeGraph(self._new("executable graph"), list(graph.work))

    def cudaGraphDestroy(self, graph: FakeGraph) -> tuple[Status]:
        return self._back(graph, "graph")

    def cudaGraphExecDestroy(self, graph: FakeGraph) -> tuple[Status]:
        return self._back(graph, "executable graph")

    def cudaGraphLaunch(self, graph: FakeGraph, stream: FakeStream) -> tuple[Status]:
        if self.live.get(graph.number) != "executable graph":
            self.misuse.append("a graph was launched after it was destroyed")
        stream.pending.extend(graph.work)
        return (OK,)


VOID = frozenset(
    {
        "cudaFree", "cudaFreeHost", "cudaGraphDestroy", "cudaGraphExecDestroy", "cudaGraphLaunch", "cudaMemcpyAsync",
        "cudaStreamBeginCapture", "cudaStreamDestroy", "cudaStreamQuery",
    }
)  # fmt: skip
"""Functions that give only a status."""


class Fault(Exception):
    """The GPU touched memory that is not there."""


Compute = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


class FakeContext:
    """Stands for `IExecutionContext`. Work uses the addresses that were bound when it was enqueued, also in a graph."""

    def __init__(self, engine: FakeTrtEngine) -> None:
        self.engine = engine
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.refuses: list[bool] = []
        """Whether the next calls of execute_async_v3 fail."""
        self.enqueued = 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        smallest, _, largest = self.engine.get_tensor_profile_shape(name, 0)
        if not all(low <= size <= high for low, size, high in zip(smallest, shape, largest, strict=True)):
            return False
        self.shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        sizes: dict[str, int] = {}
        for spec in self.engine.variant.inputs:
            for size, found in zip(spec.shape, self.shapes.get(spec.name, (-1,) * 4), strict=False):
                if isinstance(size, str):
                    sizes[size] = found
        (spec,) = (spec for spec in self.engine.variant.outputs if spec.name == name)
        return tuple(size if isinstance(size, int) else sizes.get(size, -1) for size in spec.shape)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return bool(address)

    def execute_async_v3(self, stream: int) -> bool:
        self.enqueued += 1
        if self.refuses and self.refuses.pop(0):
            self.engine.log.log(
                self.engine.log.Severity.ERROR, "IExecutionContext: the kernels are on strike"
            )
            return False
        cuda, variant = self.engine.cuda, self.engine.variant
        shapes = self.shapes | {spec.name: self.get_tensor_shape(spec.name) for spec in variant.outputs}
        bound = {
            spec.name: (self.addresses[spec.name], shapes[spec.name], np.dtype(spec.dtype))
            for spec in (*variant.inputs, *variant.outputs)
        }

        def seen(name: str) -> np.ndarray:
            address, shape, kind = bound[name]
            return cuda.device(address, int(np.prod(shape)) * kind.itemsize).view(kind).reshape(shape)

        def work() -> None:
            outputs = self.engine.compute({spec.name: seen(spec.name) for spec in variant.inputs})
            for name, value in outputs.items():
                seen(name)[...] = value

        return cuda.put(cuda.streams[stream], work) == OK


class FakeKernels:
    """Stands for `IRuntimeCache`. It takes content that begins with `kernels`."""

    def __init__(self) -> None:
        self.content = b"kernels of this start"

    def deserialize(self, content: bytes) -> bool:
        fits = content.startswith(b"kernels")
        if fits:
            self.content = content
        return fits

    def serialize(self) -> bytes:
        return self.content


class FakeTrtEngine:
    """Stands for the `ICudaEngine` of a step of a bundle."""

    def __init__(self, cuda: FakeCuda, variant: Variant, compute: Compute, log: Any) -> None:
        self.cuda, self.variant, self.compute, self.log = cuda, variant, compute, log
        self.specs = {spec.name: spec for spec in (*variant.inputs, *variant.outputs)}
        self.kinds = {name: spec.dtype for name, spec in self.specs.items()}
        self.contexts: list[FakeContext] = []
        self.config: SimpleNamespace | None = None

    @property
    def num_io_tensors(self) -> int:
        return len(self.specs)

    def get_tensor_name(self, index: int) -> str:
        return list(self.specs)[index]

    def get_tensor_mode(self, name: str) -> str:
        return "output" if name in {spec.name for spec in self.variant.outputs} else "input"

    def get_tensor_dtype(self, name: str) -> str:
        return self.kinds[name]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else -1 for size in self.specs[name].shape)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [
            tuple(size if isinstance(size, int) else limit for size in self.specs[name].shape)
            for limit in (2, 512, 2048)
        ]

    def create_runtime_config(self) -> SimpleNamespace:
        config = SimpleNamespace(cuda_graph_strategy=None, dynamic_shapes_kernel_specialization_strategy=None)
        config.create_runtime_cache = FakeKernels

        def set_runtime_cache(kernels: FakeKernels) -> bool:
            config.kernels = kernels
            return True

        config.set_runtime_cache = set_runtime_cache
        return config

    def create_execution_context(self, config: SimpleNamespace | None = None) -> FakeContext:
        self.config = config
        self.contexts.append(FakeContext(self))
        return self.contexts[-1]


def fake_trt(
    cuda: FakeCuda, variant: Variant, compute: Compute, *, name: str = "tensorrt", version: str = "10.9.0"
) -> Any:
    """Stands for the module `tensorrt` or `tensorrt_rtx`, with one engine. `engines` lists what it loaded.

    Content that is `b"damaged"` is refused, as the library refuses what is of another GPU or version.
    """
    trt: Any = types.ModuleType(name)
    trt.__version__ = version
    trt.engines = []

    class ILogger:
        class Severity(enum.Enum):
            INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    class Runtime:
        def __init__(self, log: Any) -> None:
            self.log = log

        def deserialize_cuda_engine(self, content: bytes) -> FakeTrtEngine | None:
            if content == b"damaged":
                self.log.log(
                    ILogger.Severity.ERROR, "IRuntime::deserializeCudaEngine: Error Code 1: bad\nmagic tag"
                )
                return None
            engine = FakeTrtEngine(cuda, variant, compute, self.log)
            trt.engines.append(engine)
            return engine

    def nptype(kind: str) -> Any:
        if kind == "bfloat16":
            raise TypeError("NumPy has no bfloat16")
        return np.dtype(kind).type

    trt.ILogger, trt.Runtime, trt.nptype = ILogger, Runtime, nptype
    trt.TensorIOMode = SimpleNamespace(INPUT="input", OUTPUT="output")
    if name == "tensorrt_rtx":
        trt.CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole")
        trt.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager")
    return trt
