"""Running an engine of TensorRT or TensorRT-RTX.

Tensors are bound by name. The cache tensors go to the GPU once a source. The motion tensors go there for each frame,
from page-locked memory, and frames come back into such memory. After the first frame of a size, all this is one CUDA
graph: its launch costs the CPU about 10 µs, instead of one call a kernel.

TensorRT-RTX compiles its kernels where they run, and they are kept from one start to the next. It may replace a kernel
between two frames, and a graph that we captured would keep the slower one. So there the library captures by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from icface.arrays import Tensors
from icface.bundle import Bundle
from icface.engines.base import Engine, Outputs, Step, check_graph
from icface.engines.cache import EngineCache, EngineKey, find_built
from icface.engines.nvidia.cuda import DeviceBuffer, HostBuffer, Stream, StreamTimeoutError
from icface.engines.nvidia.library import BINDING_ERRORS, PRECISIONS, Library, log_of, one_line
from icface.errors import EngineError
from icface.files import write_file
from icface.variants import TensorSpec

logger = logging.getLogger(__name__)

FRAME_S: Final = 5.0
"""No frame takes this long. A GPU that does has stopped, or serves another program."""
FIRST_FRAME_S: Final = 60.0
"""The first frame of a size may load and compile kernels."""
UPLOAD_S: Final = 10.0
CLOSE_S: Final = 2.0

_ABANDONED: Final[list[Engine]] = []
"""Engines whose memory a GPU that stopped may still use. Freeing it would wait for ever."""


def open_built(library: Library, bundle: Bundle, step: Step, *, threads: int, option: str) -> TrtEngine:
    """Open the engine that was built for this GPU, or ahead for GPUs of its kind. `threads` has no meaning here."""
    if option not in ("", *PRECISIONS):
        known = ", ".join(PRECISIONS)
        raise EngineError(f"the {library.title} engine has no option {option!r}; choose from {known}")
    if step != "animate":
        raise EngineError(
            f"{library.title} makes frames alone; a photo is neutralised once, on the CPU: use --engine onnxruntime"
        )
    target = library.target()
    precision = option or library.usual(bundle, target)
    built = find_built(bundle, library.name, precision, target)
    kernels = EngineCache().kernels(EngineKey.of(bundle, library.name, precision, target))
    description = f"{library.description} ({precision}, {target.device}) for {bundle.name}"
    engine = TrtEngine(library, bundle, built.content, description, kernels)
    engine.golden_psnr_db = built.golden_floor_db
    return engine


class TrtEngine(Engine):
    """Runs a built engine. Frames are in page-locked memory, valid until the next call.

    Args:
        content: the engine, serialised.
        description: what runs, in a few words.
        kernels: where the kernels that the library compiles here are kept; None keeps none.
    """

    def __init__(
        self,
        library: Library,
        bundle: Bundle,
        content: bytes,
        description: str,
        kernels: Path | None = None,
    ) -> None:
        super().__init__(bundle.graph, description)
        self._trt = library.load()
        self._log = log_of(self._trt)
        self._stream: Stream | None = None
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._graph: Any = None
        self._captures = not library.rtx
        self._kernels_path = kernels
        self._kernels: Any = None
        self._on_device = {spec.name: DeviceBuffer() for spec in self.variant.tensors}
        self._host: dict[str, HostBuffer] = {}
        self._staging: dict[str, NDArray[Any]] = {}
        self._outputs: Outputs = ()
        self._cache_shapes: dict[str, tuple[int, ...]] = {}
        self._motion_shapes: tuple[tuple[int, ...], ...] | None = None
        try:
            self._open(content, bundle, f"{library.title} cannot load {bundle.name}'s engine")
        except BaseException:
            self.close()
            raise

    def _open(self, content: bytes, bundle: Bundle, failed: str) -> None:
        self._stream = Stream()
        self._log.errors.clear()
        try:
            self._runtime = self._trt.Runtime(self._log)
            self._engine = self._runtime.deserialize_cuda_engine(content)
            if self._engine is None:  # it is damaged, or for another GPU or version, or there is no driver
                advice = "build it again with icface-build-engine --again"
                raise EngineError(f"{failed}: {self._log.reason()}; {advice}")
            self._check_tensors(bundle)
            self._context = self._new_context()
            if self._context is None:
                raise EngineError(f"{failed}: {self._log.reason()}; close other programs that use the GPU")
        except BINDING_ERRORS as error:
            raise EngineError(f"{failed}: {self._log.reason()} ({one_line(str(error))})") from error
        self._log.raise_stopped()
        for spec in self.variant.tensors:
            fixed = tuple(size for size in spec.shape if isinstance(size, int))
            if len(fixed) == len(spec.shape):
                self._on_device[spec.name].reserve(_nbytes(spec, fixed))

    def _check_tensors(self, bundle: Bundle) -> None:
        """Compare names, types and shapes with the manifest."""
        trt, engine = self._trt, self._engine
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        check_graph(self.variant, bundle, inputs, [name for name in names if name not in inputs])
        for spec in self.variant.tensors:
            kind = engine.get_tensor_dtype(spec.name)
            shape = tuple(int(size) for size in engine.get_tensor_shape(spec.name))
            try:
                fits = np.dtype(trt.nptype(kind)) == spec.dtype and len(shape) == len(spec.shape)
            except TypeError:  # NumPy has no such type
                fits = False
            # A size that varies in one of the two does not contradict the other.
            sizes = zip(shape, spec.shape, strict=False)
            if not (fits and all(found in (-1, size) or isinstance(size, str) for found, size in sizes)):
                raise EngineError(
                    f"the engine's tensor {spec.name} is {shape} of {getattr(kind, 'name', kind)}, while the manifest "
                    f"of {bundle.name} states {spec.shape} of {spec.dtype}; build it again"
                )

    def _new_context(self) -> Any:
        """The execution context. TensorRT-RTX is told to capture CUDA graphs by itself."""
        trt, engine = self._trt, self._engine
        if self._captures:
            return engine.create_execution_context()
        config = engine.create_runtime_config()
        try:
            config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        except BINDING_ERRORS as error:
            logger.debug("%s runs without a CUDA graph: %s", self.description, error)
        # Otherwise kernels for a new size are compiled beside the live loop, on cores that the tracker needs, and the
        # golden frame is made by kernels that are replaced a little later.
        eager = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        config.dynamic_shapes_kernel_specialization_strategy = eager
        try:
            kernels = config.create_runtime_cache()
            if self._kernels_path is not None and self._kernels_path.is_file():
                kernels.deserialize(self._kernels_path.read_bytes())  # those that fit this GPU and version
            self._kernels = kernels if config.set_runtime_cache(kernels) else None
        except (OSError, *BINDING_ERRORS) as error:
            logger.debug("%s compiles its kernels at every start: %s", self.description, error)
        return engine.create_execution_context(config)

    def _keep_kernels(self) -> None:
        """Keep the kernels after the first frame of a size, when they are compiled."""
        if self._kernels is None or self._kernels_path is None:
            return
        try:
            content = bytes(self._kernels.serialize())
            if not self._kernels_path.is_file() or content != self._kernels_path.read_bytes():
                write_file(self._kernels_path, content)
        except (OSError, *BINDING_ERRORS) as error:
            logger.debug("the kernels of %s are not kept: %s", self.description, error)

    def _keep_source(self, cache: Tensors) -> None:
        stream = self._opened_stream()
        shapes = {name: tensor.shape for name, tensor in cache.items()}
        if shapes != self._cache_shapes:
            self._forget_sizes()
        # All memory first: none may be freed while the stream works.
        if any([self._on_device[name].reserve(tensor.nbytes) for name, tensor in cache.items()]):
            self._forget_sizes()
        for name, tensor in cache.items():
            stream.upload(self._on_device[name], tensor)
        stream.wait(UPLOAD_S)
        self._cache_shapes = shapes

    def _compute(self, motion: Tensors, sizes: Mapping[str, int]) -> Outputs:
        stream = self._opened_stream()
        shapes = tuple(motion[spec.name].shape for spec in self.variant.motion)
        first = shapes != self._motion_shapes
        if first:
            self._fit(motion)
        for spec in self.variant.motion:
            np.copyto(self._staging[spec.name], motion[spec.name])
        if self._graph is not None:
            stream.launch(self._graph)
        else:
            self._enqueue()
        stream.wait(FIRST_FRAME_S if first else FRAME_S)
        if first:  # it has run once, so the library has settled what it does
            self._keep_kernels()
            if self._captures:
                try:
                    self._graph = stream.capture(self._enqueue)
                except EngineError as error:
                    logger.debug("%s runs without a CUDA graph: %s", self.description, error)
                    self._captures = False
            self._motion_shapes = shapes
        return self._outputs

    def _fit(self, motion: Tensors) -> None:
        """Set shapes, memory and addresses for the sizes of this source and of these motion tensors."""
        self._forget_sizes()
        shapes = self._cache_shapes | {spec.name: motion[spec.name].shape for spec in self.variant.motion}
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, shape):
                smallest, _, largest = (tuple(x) for x in self._engine.get_tensor_profile_shape(name, 0))
                raise EngineError(
                    f"{self.description} takes {name} from {smallest} to {largest}, not {shape}; use another engine"
                )
        for spec in self.variant.motion:
            self._staging[spec.name] = self._reserved(spec, shapes[spec.name])
        outputs = []
        for spec in self.variant.outputs:
            shape = tuple(int(size) for size in self._context.get_tensor_shape(spec.name))
            if min(shape, default=0) < 0:
                raise EngineError(f"{self.description} does not know the size of {spec.name}; build it again")
            outputs.append(self._reserved(spec, shape))
        self._outputs = tuple(outputs)
        for name, buffer in self._on_device.items():
            if not self._context.set_tensor_address(name, buffer.address):
                raise EngineError(f"{self.description} does not take {name}: {self._log.reason()}")

    def _reserved(self, spec: TensorSpec, shape: tuple[int, ...]) -> NDArray[Any]:
        """Reserve room for a tensor on the GPU and in page-locked memory. The array lies in the latter."""
        nbytes = _nbytes(spec, shape)
        self._on_device[spec.name].reserve(nbytes)
        buffer = self._host.get(spec.name)
        if buffer is None or buffer.nbytes < nbytes:
            buffer = self._host[spec.name] = HostBuffer(nbytes)
        return buffer.array(shape, spec.dtype)

    def _enqueue(self) -> None:
        """Put one frame's work into the stream: to the GPU, the network, and back."""
        stream = self._opened_stream()
        for name, staging in self._staging.items():
            stream.upload(self._on_device[name], staging)
        if not self._context.execute_async_v3(int(stream.handle)):
            raise EngineError(f"{self.description} failed: {self._log.reason()}")
        self._log.raise_stopped()
        for spec, output in zip(self.variant.outputs, self._outputs, strict=True):
            stream.download(output, self._on_device[spec.name])

    def _forget_sizes(self) -> None:
        """Drop what was captured, because sizes or addresses change."""
        self._motion_shapes = None
        if self._graph is not None and self._stream is not None:
            self._stream.drop(self._graph)
        self._graph = None

    def _opened_stream(self) -> Stream:
        if self._stream is None:
            raise EngineError(f"{self.description} is closed")
        if self._stream.hung:
            # A new size would free memory, and that waits for the GPU without a bound.
            why = "the GPU did not finish before; start again"
            raise EngineError(f"{self.description} is not used any more: {why}")
        return self._stream

    def close(self) -> None:
        super().close()
        if self._stream is None:
            return
        try:
            self._stream.wait(CLOSE_S)
        except StreamTimeoutError as error:
            logger.warning("%s is left as it is: %s", self.description, error)
            _ABANDONED.append(self)
            self._stream = None
            return
        except EngineError as error:
            logger.debug("%s", error)  # its work failed, so nothing runs any more
        # What uses something goes before it: the graph before the context's memory, the context before the engine.
        self._forget_sizes()
        self._context = self._kernels = self._engine = self._runtime = None
        for buffer in self._on_device.values():
            buffer.free()
        self._staging, self._outputs, self._host = {}, (), {}
        self._stream.close()
        self._stream = None


def _nbytes(spec: TensorSpec, shape: tuple[int, ...]) -> int:
    return int(np.prod(shape)) * np.dtype(spec.dtype).itemsize
