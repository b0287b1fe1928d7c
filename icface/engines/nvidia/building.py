"""Building an engine with TensorRT or TensorRT-RTX.

The graph's types say what is computed in which precision: networks are strongly typed, and no flag says it again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from icface.engines.base import ANY, BuildRequest, Target
from icface.engines.nvidia.library import BINDING_ERRORS, Library, log_of, one_line
from icface.errors import EngineError
from icface.files import write_file

logger = logging.getLogger(__name__)


def build(library: Library, request: BuildRequest) -> bytes:
    """Build an engine.

    Args:
        library: which of the two.
        request: what to build. Where the target's device is ANY, it needs no GPU.

    Returns:
        The engine, serialised.

    Raises:
        EngineError: the library is missing, it refuses the graph or the target, or there is no GPU where it needs one.
        BaseException: what `request.progress` raised, or an interrupt. Either stops the build.
    """
    trt = library.load()
    log = log_of(trt)
    log.errors.clear()
    log.stopped = None
    request.progress(0.0, "reading the graph")
    failed = f"{library.title} cannot build {request.variant.graph or 'the graph'}"
    try:
        builder = trt.Builder(log)
        network = builder.create_network(network_flags(trt))
        parser = trt.OnnxParser(network, log)
        if not parser.parse(request.graph):
            raise EngineError(
                f"{failed}: {_parser_errors(parser, log)}; use --backend onnxruntime or another precision"
            )
        config = builder.create_builder_config()
        _set_capabilities(trt, config, request.target)
        _set_sizes(builder, config, network, request)
        timings = None if library.rtx else request.timing_cache
        if timings is not None:
            open_timings(config, timings)
        monitor = _monitor(trt, request.progress, log)  # must outlive the build
        config.progress_monitor = monitor
        serialised = builder.build_serialized_network(network, config)
    except BINDING_ERRORS as error:
        raise EngineError(f"{failed}: {log.reason()} ({one_line(str(error))})") from error
    log.raise_stopped()
    if serialised is None:
        raise EngineError(f"{failed} in {request.precision} for {request.target.describe()}: {log.reason()}")
    if timings is not None:
        keep_timings(config, timings)
    request.progress(1.0, "built")
    return bytes(serialised)


def network_flags(trt: Any) -> int:
    """Ask for a strongly typed network. TensorRT 10 has a flag for it; later versions have no other networks."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _parser_errors(parser: Any, log: Any) -> str:
    """What the parser found, each with its node, in one line."""
    lines = []
    for error in (parser.get_error(i) for i in range(parser.num_errors)):
        operator = getattr(error, "node_operator", lambda: "")()
        name = getattr(error, "node_name", lambda: "")() or error.node()
        where = f"node {name} ({operator}): " if operator else ""
        lines.append(where + one_line(str(error.desc())))
    log.errors.clear()
    return "; ".join(dict.fromkeys(lines[:3])) or str(log.reason())


def _set_sizes(builder: Any, config: Any, network: Any, request: BuildRequest) -> None:
    """Give smallest, usual and largest size of every input whose size varies."""
    specs = {spec.name: spec for spec in request.variant.inputs}
    found = [network.get_input(i) for i in range(network.num_inputs)]
    if {tensor.name for tensor in found} != set(specs):
        raise EngineError(
            f"{request.variant.graph} asks for {', '.join(sorted(tensor.name for tensor in found))}, while the manifest "
            f"states {', '.join(sorted(specs))}; export the bundle again"
        )
    varying = [tensor.name for tensor in found if any(size < 0 for size in tensor.shape)]
    if not varying:
        return
    profile = builder.create_optimization_profile()
    for name in varying:
        shapes = (
            [size if isinstance(size, int) else request.sizes[size][i] for size in specs[name].shape]
            for i in range(3)
        )
        profile.set_shape(name, *shapes)
    if config.add_optimization_profile(profile) < 0:
        raise RuntimeError(f"it refuses the sizes {dict(request.sizes)}")


def _set_capabilities(trt: Any, config: Any, target: Target) -> None:
    if not hasattr(config, "set_compute_capability"):
        return
    names = ["CURRENT"] if hasattr(trt.ComputeCapability, "CURRENT") else []
    if target.device == ANY:
        names = [f"SM{capability.replace('.', '')}" for capability in target.capability.split("+")]
    if names:
        config.num_compute_capabilities = len(names)
    for i, name in enumerate(names):
        if not config.set_compute_capability(getattr(trt.ComputeCapability, name), i):
            raise RuntimeError(f"it refuses to build for {target.describe()}")


def open_timings(config: Any, path: Path) -> None:
    """Let the builder use the timings of earlier builds. Damaged ones, or those of another GPU, are left out."""
    content = b""
    with contextlib.suppress(OSError):
        content = path.read_bytes()
    for timings in dict.fromkeys((content, b"")):
        try:
            cache = config.create_timing_cache(timings)
            if cache is not None and config.set_timing_cache(cache, False):
                return
        except BINDING_ERRORS as error:
            logger.debug("timings of kernels: %s", error)
        if timings:
            logger.info(
                "the timings of kernels in %s are of another GPU or damaged; they are measured again", path
            )


def keep_timings(config: Any, path: Path) -> None:
    """Keep what the builder measured for the next build. Where that fails, the log says so."""
    try:
        write_file(path, bytes(config.get_timing_cache().serialize()))
    except (OSError, *BINDING_ERRORS) as error:
        logger.info("the timings of kernels are not kept: %s", error)


class Progress:
    """Computes the share of a build that is done, from phases that lie within each other. It never goes back.

    Args:
        report: told the share, 0 to 1, and the phase's name.
    """

    def __init__(self, report: Callable[[float, str], None]) -> None:
        self._report = report
        self._phases: dict[str | None, tuple[float, float, int, int]] = {}
        """By name: begin and size as shares of the whole, number of steps, steps done."""
        self._done = 0.0

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """Begin a phase, within its parent's next step where it has a parent."""
        begin, size, of, done = self._phases.get(parent, (0.0, 1.0, 1, 0))
        self._phases[phase] = (begin + size / of * min(done, of - 1), size / of, max(1, steps), 0)

    def step(self, phase: str, step: int) -> None:
        """Count a step of a phase as done."""
        if phase not in self._phases:
            return
        begin, size, of, _ = self._phases[phase]
        done = min(step + 1, of)
        self._phases[phase] = (begin, size, of, done)
        share = min(begin + size * done / of, 0.99)
        if share >= self._done + 0.001:  # large networks have ten thousands of steps
            self._done = share
            self._report(share, phase)

    def finish(self, phase: str) -> None:
        """End a phase, whether all its steps were told or not."""
        if phase in self._phases:
            self.step(phase, self._phases[phase][2])
            del self._phases[phase]


def _monitor(trt: Any, report: Callable[[float, str], None], log: Any) -> Any:
    """The library's view of a Progress. What `report` raises stops the build, and is kept in `log.stopped`."""
    progress, lock = Progress(report), threading.Lock()

    def tell(what: Callable[..., None], *arguments: Any) -> bool:
        with lock:  # the library builds on several threads
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
