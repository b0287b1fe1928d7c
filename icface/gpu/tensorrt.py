"""TensorRT and TensorRT-RTX: building engines, and running them. One code for both; each hands in its own module.

What is computed in which precision is in the graph (`export/precision.py`): networks are strongly typed, and no flag
says it again. Tensors are bound by name. The cache tensors go to the GPU once a source, the motion tensors for each
frame from page-locked memory, and frames come back into such. After a first frame of a size all this is one CUDA graph:
a launch costs the CPU some 10 µs instead of one call a kernel.

TensorRT-RTX compiles its kernels where they run; they are kept from one start to the next. It may replace them between
two frames of a size that varies, so that a graph captured around it would keep the slower ones. It captures by itself,
and is asked to.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from icface.arrays import Tensors
from icface.building import BuildRequest, Target
from icface.bundle import Bundle, TensorSpec, Variant
from icface.engine_cache import BuiltEngine, EngineCache, EngineKey, find_built
from icface.engines import Engine, Outputs, Part, check_graph, graph_step
from icface.errors import EngineError
from icface.gpu import cuda
from icface.gpu.cuda import DeviceBuffer, Graph, HostBuffer, Stream, StreamTimeoutError, default_precision

logger = logging.getLogger(__name__)

PRECISIONS: Final = ("fp16", "fp32", "int8")

ANY: Final = "any"
"""The device of a target that is built ahead."""

FRAME_S: Final = 5.0
"""No frame takes this long; a GPU that does has stopped, or serves somebody else."""
FIRST_FRAME_S: Final = 60.0
"""The first of a size may load and compile kernels."""
UPLOAD_S: Final = 10.0
CLOSE_S: Final = 2.0

# What the bindings raise: None where an object was wanted, values that do not fit, failures of their own.
_ERRORS: Final = (RuntimeError, TypeError, ValueError, AttributeError)

_ABANDONED: Final[list[object]] = []
"""What a GPU that stopped may still use. Freeing it would wait for ever."""


@dataclass(frozen=True, kw_only=True)
class Library:
    """One of the two."""

    module: Any
    """`tensorrt` or `tensorrt_rtx`."""
    title: str
    """For the user."""
    backend: str
    """Module of `icface/engines/`."""
    keeps_timings: bool
    """Whether a timing cache does anything. In TensorRT-RTX it does nothing any more, and asks for a GPU."""

    @property
    def description(self) -> str:
        """Title and version."""
        return f"{self.title} {self.module.__version__}"


# Logging


@functools.cache
def _log(trt: Any) -> Any:
    """The library's messages as lines of `logging`; one for the process, since objects of the library keep it.

    Errors are kept in `errors`: they are what explains a None. An interrupt that comes while it runs is kept in
    `stopped`, because an exception must not leave through the library.
    """

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=4)
            self.stopped: BaseException | None = None
            self._errors = (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)
            self._verbose = trt.ILogger.Severity.VERBOSE

        def log(self, severity: Any, message: str) -> None:
            try:
                if severity in self._errors:
                    self.errors.append(_one_line(message))
                    logger.info("%s: %s", trt.__name__, self.errors[-1])
                elif severity != self._verbose:
                    logger.debug("%s: %s", trt.__name__, message)
            except BaseException as error:
                self.stopped = error

        def raise_stopped(self) -> None:
            """Raise what came while the library ran, now that it has returned."""
            stopped, self.stopped = self.stopped, None
            if stopped is not None:
                raise stopped

        def reason(self) -> str:
            """The errors since they were last asked for."""
            errors = list(dict.fromkeys(self.errors))
            self.errors.clear()
            return "; ".join(errors[:2]) or "it gives no reason"

    return Log()


_SOURCE_PLACE: Final = re.compile(r"\s*\(?In \w+ at /\S+?:\d+|^[\w:]+: Error Code \d+: ")
_ASSERTION: Final = re.compile(r'^[^"]*&& "(.*)"$')


def _one_line(text: str) -> str:
    """Without line breaks and places in NVIDIA's sources, and not longer than a line of an error may be."""
    text = " ".join(_SOURCE_PLACE.sub("", text).split()).rstrip(".")
    text = _ASSERTION.sub(r"\1", text)
    if text.count(")") > text.count("("):
        text = text.removesuffix(")")
    return text if len(text) <= 300 else f"{text[:299]}…"


# Building


def build(library: Library, request: BuildRequest) -> bytes:
    """Build an engine.

    Args:
        library: which of the two.
        request: what; a target whose device is `any` is built for the capabilities that it lists, without a GPU.

    Returns:
        The engine, serialised.

    Raises:
        EngineError: the library refuses the graph or the target, or there is no GPU where it needs one.
        BaseException: what `request.progress` raised, or an interrupt: the build was stopped.
    """
    trt, log = library.module, _log(library.module)
    log.errors.clear()
    log.stopped = None
    request.progress(0.0, "reading the graph")
    graph = request.step.graph or "the graph"
    try:
        builder = trt.Builder(log)
        network = builder.create_network(_network_flags(trt))
        parser = trt.OnnxParser(network, log)
        if not parser.parse(request.graph):
            raise EngineError(
                f"{library.title} cannot build {graph}: {_parser_errors(parser, log)}; use --backend onnxruntime or "
                "another precision"
            )
        config = builder.create_builder_config()
        _set_precision(trt, config, request.precision)
        _set_capabilities(trt, config, request.target)
        _set_sizes(builder, config, network, request, library)
        timings = _open_timings(library, config, request.timing_cache)
        if hasattr(trt, "IProgressMonitor"):
            monitor = _monitor(trt, request.progress, log)  # must outlive the build
            config.progress_monitor = monitor
        serialised = builder.build_serialized_network(network, config)
        if log.stopped is not None:
            raise log.stopped
        if serialised is None:
            raise EngineError(
                f"{library.title} cannot build {graph} in {request.precision} for {request.target.describe()}: "
                f"{log.reason()}"
            )
        if timings:
            _keep_timings(config, request.timing_cache)
        engine = bytes(serialised)
    except _ERRORS as error:
        if error is log.stopped:
            raise
        raise EngineError(
            f"{library.title} cannot build {graph}: {log.reason()} ({_one_line(str(error))})"
        ) from error
    finally:
        log.stopped = None
    request.progress(1.0, "built")
    return engine


def _network_flags(trt: Any) -> int:
    """Strongly typed, where a flag asks for it: TensorRT 10. Later there is nothing else, before nothing like it."""
    flags = trt.NetworkDefinitionCreationFlag
    for name in ("STRONGLY_TYPED", "EXPLICIT_BATCH"):
        if hasattr(flags, name):
            return 1 << int(getattr(flags, name))
    return 0


def _set_precision(trt: Any, config: Any, precision: str) -> None:
    """Before TensorRT 10 types of a graph alone were not enough to let it use them."""
    flag = {"fp16": "FP16", "int8": "INT8"}.get(precision)
    if hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED") or flag is None:
        return
    if hasattr(trt.BuilderFlag, flag):
        config.set_flag(getattr(trt.BuilderFlag, flag))


def _parser_errors(parser: Any, log: Any) -> str:
    """What the parser found, each with its node, in one line."""
    lines = []
    for error in (parser.get_error(i) for i in range(parser.num_errors)):
        operator = getattr(error, "node_operator", lambda: "")()
        name = getattr(error, "node_name", lambda: "")() or error.node()
        where = f"node {name} ({operator}): " if operator else ""
        lines.append(where + _one_line(str(error.desc())))
    log.errors.clear()
    return "; ".join(dict.fromkeys(lines[:3])) or log.reason()


def _set_sizes(builder: Any, config: Any, network: Any, request: BuildRequest, library: Library) -> None:
    """One profile: smallest, usual and largest of every input whose size varies."""
    specs = {spec.name: spec for spec in request.step.inputs}
    found = [network.get_input(i) for i in range(network.num_inputs)]
    if {tensor.name for tensor in found} != set(specs):
        raise EngineError(
            f"{request.step.graph} asks for {', '.join(sorted(tensor.name for tensor in found))}, while the manifest "
            f"states {', '.join(sorted(specs))}; export the bundle again"
        )
    varying = [tensor for tensor in found if any(size < 0 for size in tensor.shape)]
    if not varying:
        return
    profile = builder.create_optimization_profile()
    for tensor in varying:
        shapes = [
            tuple(
                size if isinstance(size, int) else request.sizes[size][i] for size in specs[tensor.name].shape
            )
            for i in range(3)
        ]
        profile.set_shape(tensor.name, *shapes)
    if config.add_optimization_profile(profile) < 0:
        raise EngineError(
            f"{library.title} refuses the sizes {dict(request.sizes)}: {_log(library.module).reason()}"
        )


def capabilities(trt: Any) -> tuple[str, ...]:
    """Compute capabilities that the library builds for without such a GPU, as `8.6`, lowest first."""
    names = [
        name
        for name in getattr(trt, "ComputeCapability", object).__dict__
        if re.fullmatch(r"SM\d{2,3}", name)
    ]
    return tuple(f"{name[2:-1]}.{name[-1]}" for name in sorted(names, key=lambda name: int(name[2:])))


def ahead_target(library: Library, wanted: Sequence[str]) -> Target:
    """The target of an engine that is built ahead, for GPUs of the capabilities `wanted`.

    Raises:
        EngineError: the library does not build for one of them.
    """
    known = capabilities(library.module)
    for capability in wanted:
        if capability not in known:
            raise EngineError(
                f"{library.description} does not build for SM {capability}; choose from {', '.join(known)}"
            )
    listed = [capability for capability in known if capability in wanted]
    return Target(library=library.description, device=ANY, capability="+".join(listed))


def own_target(library: Library) -> Target:
    """This machine's GPU.

    Raises:
        EngineError: there is none.
    """
    gpu = cuda.device()
    return Target(library=library.description, device=gpu.name, capability=gpu.capability)


def _set_capabilities(trt: Any, config: Any, target: Target) -> None:
    if not hasattr(config, "set_compute_capability"):
        return
    if target.device == ANY:
        names = [f"SM{capability.replace('.', '')}" for capability in target.capability.split("+")]
    else:
        names = ["CURRENT"] if hasattr(trt.ComputeCapability, "CURRENT") else []
    if names:
        config.num_compute_capabilities = len(names)
    for i, name in enumerate(names):
        if not config.set_compute_capability(getattr(trt.ComputeCapability, name), i):
            raise EngineError(
                f"{trt.__name__} refuses to build for {target.describe()}: {_log(trt).reason()}"
            )


def _open_timings(library: Library, config: Any, path: Path | None) -> bool:
    """Let the builder use timings of earlier builds. What is damaged, or of another GPU, is done without."""
    if path is None or not library.keeps_timings or not hasattr(config, "create_timing_cache"):
        return False
    content = b""
    with contextlib.suppress(OSError):
        content = path.read_bytes()
    for timings in dict.fromkeys((content, b"")):
        try:
            cache = config.create_timing_cache(timings)
            if cache is not None and config.set_timing_cache(cache, False):
                return True
        except _ERRORS as error:
            logger.debug("timings of kernels: %s", error)
        if timings:
            logger.info(
                "the timings of kernels in %s are of another GPU or damaged; they are measured again", path
            )
    return False


def _keep_timings(config: Any, path: Path | None) -> None:
    if path is None:
        return
    try:
        _write_whole(path, bytes(config.get_timing_cache().serialize()))
    except (OSError, *_ERRORS) as error:
        logger.info("the timings of kernels are not kept: %s", error)


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", delete=False) as file:
        unfinished = Path(file.name)
        try:
            file.write(content)
            file.close()  # Windows renames no open file
            os.replace(unfinished, path)
        except OSError:
            file.close()
            unfinished.unlink(missing_ok=True)
            raise


class Progress:
    """How much of a build is done, from phases that lie within each other. It never goes back.

    Args:
        report: told the share that is done, 0 to 1, and the phase's name.
    """

    def __init__(self, report: Callable[[float, str], None]) -> None:
        self._report = report
        self._phases: dict[str, list[float]] = {}
        """By name: begin and end as shares of the whole, steps, steps done."""
        self._done = 0.0
        self._lock = threading.Lock()

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """A phase begins: within its parent's next step, or by itself."""
        with self._lock:
            begin, end = 0.0, 1.0
            if parent is not None and parent in self._phases:
                begin, end, of, done = self._phases[parent]
                share = (end - begin) / of
                begin += share * min(done, of - 1)
                end = begin + share
            self._phases[phase] = [begin, end, max(1, steps), 0]

    def step(self, phase: str, step: int) -> None:
        """A step of a phase is done."""
        self._advance(phase, step + 1)

    def finish(self, phase: str) -> None:
        """A phase is done."""
        self._advance(phase, None)
        with self._lock:
            self._phases.pop(phase, None)

    def _advance(self, phase: str, steps: int | None) -> None:
        with self._lock:
            if phase not in self._phases:
                return
            begin, end, of, _ = self._phases[phase]
            self._phases[phase][3] = of if steps is None else min(steps, of)
            done = min(begin + (end - begin) * self._phases[phase][3] / of, 0.99)
            # Large networks have steps by the ten thousand.
            if done < self._done + 0.001:
                return
            self._done = done
            self._report(done, phase)


def _monitor(trt: Any, report: Callable[[float, str], None], log: Any) -> Any:
    """The library's view of a Progress. What `report` raises stops the build, and is raised once that has ended."""
    progress = Progress(report)

    def tell(what: Callable[..., None], *arguments: Any) -> bool:
        if log.stopped is None:
            try:
                what(*arguments)
            except BaseException as error:
                log.stopped = error
        return log.stopped is None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            tell(progress.start, phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return tell(progress.step, phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            tell(progress.finish, phase_name)

    return Monitor()


# Running


def check_option(library_title: str, bundle: Bundle, part: Part, option: str) -> Variant:
    """The step to run, before any library is looked for.

    Raises:
        EngineError: the option is none of PRECISIONS, or the part is not for a GPU.
    """
    if option and option not in PRECISIONS:
        raise EngineError(
            f"the {library_title} engine has no option {option!r}; choose from {', '.join(PRECISIONS)}"
        )
    step, _ = graph_step(bundle, part)
    if part != "animate":
        raise EngineError(
            f"{library_title} makes frames alone; a photo is neutralised once, on the CPU: use --engine onnxruntime"
        )
    return step


def open_built(library: Library, bundle: Bundle, step: Variant, precision: str) -> TrtEngine:
    """Open the engine that was built for this GPU, or ahead for GPUs of its kind.

    Args:
        library: which of the two.
        bundle: the model.
        step: of it, that was built.
        precision: one of PRECISIONS; "" takes what suits the GPU.

    Raises:
        NotBuiltError: there is none.
        EngineError: there is no GPU, or it or the library refuses the engine.
    """
    target = own_target(library)
    precision = precision or default_precision(target.device, target.capability)
    built = _find(library, bundle, precision, target)
    engine = TrtEngine(
        library,
        bundle,
        step,
        built.content,
        f"{library.description} ({precision}, {target.device}) for {bundle.name}",
        EngineCache().kernels(EngineKey.of(bundle, library.backend, precision, target)),
    )
    engine.golden_psnr_db = built.golden_floor_db
    return engine


def _find(library: Library, bundle: Bundle, precision: str, target: Target) -> BuiltEngine:
    cache, key = EngineCache(), EngineKey.of(bundle, library.backend, precision, target)
    if not (cache.folder / key.name).is_dir():
        for other in cache.others(key):
            fits = target.capability in other.capability.split("+")
            if other.device == ANY and other.library == target.library and fits:
                return find_built(bundle, library.backend, precision, other)
    return find_built(bundle, library.backend, precision, target)


def worth_it(module: str, bundle: Bundle) -> str:
    """The precision worth building without being asked: none where host code makes the frames, or without a GPU.

    Args:
        module: the library's name; it is looked for, not loaded.
        bundle: the model.
    """
    if bundle.host is not None and bundle.host.graph is None:
        return ""
    try:
        if find_spec(module) is None:
            return ""
        gpu = cuda.device()
    except (ImportError, EngineError) as error:
        logger.debug("%s: %s", module, error)
        return ""
    return default_precision(gpu.name, gpu.capability)


class TrtEngine(Engine):
    """Runs a built engine. Frames are in page-locked memory, valid until the next call.

    Args:
        library: which of the two.
        bundle: the model.
        step: of it.
        content: the engine, serialised.
        description: what runs, in a few words.
        kernels: where the kernels that the library compiles here are kept; None: nowhere.

    Raises:
        EngineError: the library or the GPU refuses it, or its tensors are not those of the step.
    """

    def __init__(
        self,
        library: Library,
        bundle: Bundle,
        step: Variant,
        content: bytes,
        description: str,
        kernels: Path | None = None,
    ) -> None:
        super().__init__(step, description)
        self._library, self._bundle = library, bundle
        self._log = _log(library.module)
        self._cuda = cuda.runtime()
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._stream: Stream | None = None
        self._graph: Graph | None = None
        self._captures = False
        self._kernels_path, self._kernels = kernels, None
        self._on_device = {spec.name: DeviceBuffer(self._cuda) for spec in (*step.inputs, *step.outputs)}
        self._host: dict[str, HostBuffer] = {}
        self._staging: dict[str, NDArray[Any]] = {}
        self._outputs: Outputs = ()
        self._cache_shapes: dict[str, tuple[int, ...]] = {}
        self._motion_shapes: tuple[tuple[int, ...], ...] | None = None
        self._source_kept = False
        self._hung = False
        self._closed = False
        try:
            self._open(content)
        except BaseException:
            self.close()
            raise

    def _open(self, content: bytes) -> None:
        trt, title = self._library.module, self._library.title
        self._stream = Stream(self._cuda)
        self._log.errors.clear()
        try:
            self._runtime = trt.Runtime(self._log)
            self._engine = self._runtime.deserialize_cuda_engine(content)
            if self._engine is None:
                # Another GPU, another version, a damaged file, no driver: the library says which, and gives None.
                raise EngineError(
                    f"{title} cannot load {self._bundle.name}'s engine: {self._log.reason()}; build it again with "
                    "export/build_engine.py"
                )
            self._check_tensors()
            self._context, self._captures = self._new_context()
            if self._context is None:
                raise EngineError(
                    f"{title} cannot run {self._bundle.name}'s engine: {self._log.reason()}; close other programs "
                    "that use the GPU"
                )
        except _ERRORS as error:
            raise EngineError(
                f"{title} cannot load {self._bundle.name}'s engine: {self._log.reason()} ({_one_line(str(error))})"
            ) from error
        self._log.raise_stopped()
        for spec in (*self.variant.inputs, *self.variant.outputs):
            if all(isinstance(size, int) for size in spec.shape):
                self._on_device[spec.name].reserve(_nbytes(spec, tuple(int(size) for size in spec.shape)))

    def _check_tensors(self) -> None:
        """Against the manifest: names, types, shapes."""
        trt, engine = self._library.module, self._engine
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        check_graph(self.variant, self._bundle, inputs, [name for name in names if name not in inputs])
        for spec in (*self.variant.inputs, *self.variant.outputs):
            kind = engine.get_tensor_dtype(spec.name)
            shape = tuple(int(size) for size in engine.get_tensor_shape(spec.name))
            wanted = tuple(size if isinstance(size, int) else -1 for size in spec.shape)
            try:
                same_kind = np.dtype(trt.nptype(kind)) == spec.dtype
            except TypeError:  # one that NumPy has not
                same_kind = False
            # Sizes that vary in the manifest alone are known to the graph: no contradiction.
            fits = len(shape) == len(wanted) and all(
                -1 in (found, size) or found == size for found, size in zip(shape, wanted, strict=True)
            )
            if not (same_kind and fits):
                raise EngineError(
                    f"the engine's tensor {spec.name} is {shape} of {getattr(kind, 'name', kind)}, while the manifest "
                    f"of {self._bundle.name} states {spec.shape} of {spec.dtype}; build it again"
                )

    def _new_context(self) -> tuple[Any, bool]:
        """The execution context, and whether graphs are captured here rather than by the library."""
        trt, engine = self._library.module, self._engine
        if not hasattr(trt, "CudaGraphStrategy"):
            return engine.create_execution_context(), True
        config = engine.create_runtime_config()
        try:
            config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        except _ERRORS as error:
            logger.debug("%s runs without a CUDA graph: %s", self.description, error)
        # Else kernels for a new size are compiled beside the live loop, on cores that the tracker needs, and the golden
        # frame tells of kernels that are replaced a little later.
        config.dynamic_shapes_kernel_specialization_strategy = (
            trt.DynamicShapesKernelSpecializationStrategy.EAGER
        )
        self._kernels = self._kept_kernels(config)
        return engine.create_execution_context(config), False

    def _kept_kernels(self, config: Any) -> Any:
        """The library's store of kernels, with those of earlier starts; None where it has none.

        It looks by itself whether they fit this GPU and version, and takes none that do not.
        """
        if self._kernels_path is None or not hasattr(config, "create_runtime_cache"):
            return None
        try:
            kernels = config.create_runtime_cache()
            with contextlib.suppress(OSError):
                if not kernels.deserialize(self._kernels_path.read_bytes()):
                    logger.debug("the kernels in %s are of another GPU or version", self._kernels_path)
            return kernels if config.set_runtime_cache(kernels) else None
        except _ERRORS as error:
            logger.debug("%s compiles its kernels at every start: %s", self.description, error)
            return None

    def _keep_kernels(self) -> None:
        """After the first frame of a size: then they are compiled."""
        if self._kernels is None or self._kernels_path is None:
            return
        try:
            content = bytes(self._kernels.serialize())
            if content != (self._kernels_path.read_bytes() if self._kernels_path.is_file() else b""):
                _write_whole(self._kernels_path, content)
        except (OSError, *_ERRORS) as error:
            logger.debug("the kernels of %s are not kept: %s", self.description, error)

    def _keep_source(self, cache: Tensors) -> None:
        stream = self._opened_stream()
        self._source_kept = False
        shapes = {name: tensor.shape for name, tensor in cache.items()}
        if shapes != self._cache_shapes:
            self._forget_sizes()
        for name, tensor in cache.items():
            if self._on_device[name].reserve(tensor.nbytes):
                self._forget_sizes()
            stream.upload(self._on_device[name], np.asarray(tensor))
        self._wait(stream, UPLOAD_S)
        self._cache_shapes = shapes
        self._source_kept = True

    def _compute(self, motion: Tensors, sizes: Mapping[str, int]) -> Outputs:
        stream = self._opened_stream()
        if not self._source_kept:
            raise EngineError("no source is set; call set_source first")
        shapes = tuple(motion[spec.name].shape for spec in self.variant.motion)
        first = shapes != self._motion_shapes
        if first:
            self._fit(motion)
        for spec in self.variant.motion:
            np.copyto(self._staging[spec.name], motion[spec.name])
        if self._graph is not None:
            self._graph.launch(stream)
        else:
            self._enqueue()
        self._wait(stream, FIRST_FRAME_S if first else FRAME_S)
        if first:
            self._keep_kernels()
            self._capture(stream)
            self._motion_shapes = shapes
        return self._outputs

    def _fit(self, motion: Tensors) -> None:
        """Shapes, memory and addresses for the sizes of this source and of these motion tensors."""
        self._forget_sizes()
        shapes = self._cache_shapes | {spec.name: motion[spec.name].shape for spec in self.variant.motion}
        for name, shape in shapes.items():
            self._set_shape(name, shape)
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

    def _set_shape(self, name: str, shape: tuple[int, ...]) -> None:
        if not self._context.set_input_shape(name, shape):
            smallest, _, largest = (tuple(limit) for limit in self._engine.get_tensor_profile_shape(name, 0))
            raise EngineError(
                f"{self.description} takes {name} from {smallest} to {largest}, not {shape}; use another engine"
            )

    def _reserved(self, spec: TensorSpec, shape: tuple[int, ...]) -> NDArray[Any]:
        """Room for a tensor on the GPU and in page-locked memory; the array over the latter. Both only grow."""
        nbytes = _nbytes(spec, shape)
        self._on_device[spec.name].reserve(nbytes)
        buffer = self._host.get(spec.name)
        if buffer is None or buffer.nbytes < nbytes:
            buffer = self._host[spec.name] = HostBuffer(self._cuda, nbytes)
        return buffer.array(shape, spec.dtype)

    def _enqueue(self) -> None:
        """One frame's work, into the stream: to the GPU, the network, and back."""
        stream = self._opened_stream()
        for name, staging in self._staging.items():
            stream.upload(self._on_device[name], staging)
        if not self._context.execute_async_v3(int(stream.handle)):
            raise EngineError(f"{self.description} failed: {self._log.reason()}")
        self._log.raise_stopped()
        for spec, output in zip(self.variant.outputs, self._outputs, strict=True):
            stream.download(output, self._on_device[spec.name])

    def _capture(self, stream: Stream) -> None:
        """Make a graph of the frame's work, once it has run: only then has the library settled what it does."""
        if not self._captures:
            return
        try:
            self._graph = stream.capture(self._enqueue)
        except EngineError as error:
            logger.debug("%s runs without a CUDA graph: %s", self.description, error)
            self._captures = False

    def _forget_sizes(self) -> None:
        """Sizes or addresses change: what was captured with them is of no use."""
        self._motion_shapes = None
        if self._graph is not None:
            self._graph.close()
            self._graph = None

    def _wait(self, stream: Stream, timeout_s: float) -> None:
        try:
            stream.wait(timeout_s)
        except StreamTimeoutError:
            self._hung = True
            raise

    def _opened_stream(self) -> Stream:
        if self._stream is None:
            raise EngineError(f"{self.description} is closed")
        if self._hung:
            # Other memory would have to be freed for it, and that waits for the GPU without a bound.
            raise EngineError(
                f"{self.description} is not used any more: the GPU did not finish before; start again"
            )
        return self._stream

    def close(self) -> None:
        super().close()
        if self._closed:
            return
        self._closed = True
        stream, self._stream = self._stream, None
        held = (
            self._graph,
            self._context,
            self._kernels,
            self._engine,
            self._runtime,
            self._on_device,
            self._host,
            stream,
        )
        try:
            if stream is not None:
                stream.wait(CLOSE_S)
        except StreamTimeoutError as error:
            logger.warning("%s is left as it is: %s", self.description, error)
            _ABANDONED.append(held)
            return
        except EngineError as error:
            logger.debug("%s", error)  # it failed, so nothing runs any more
        finally:
            del held
        # In the opposite order of their making: the graph uses the context's memory, the context the engine.
        if self._graph is not None:
            self._graph.close()
        self._graph = None
        self._context = None
        self._kernels = None
        self._engine = None
        self._runtime = None
        for buffer in self._on_device.values():
            buffer.free()
        self._staging, self._outputs, self._host = {}, (), {}
        if stream is not None:
            stream.close()


def _nbytes(spec: TensorSpec, shape: tuple[int, ...]) -> int:
    return int(np.prod(shape)) * np.dtype(spec.dtype).itemsize
