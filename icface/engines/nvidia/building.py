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

from icface.engines.base import ANY, LARGEST_PX, LAYERS, SMALLEST_PX, Job, Progress, Target, check_graph
from icface.engines.cache import EngineCache
from icface.engines.nvidia.library import BINDING_ERRORS, Library, log_of, one_line
from icface.errors import EngineError
from icface.files import write_file

logger = logging.getLogger(__name__)


def build(library: Library, job: Job, graph: bytes, target: Target, progress: Progress) -> bytes:
    """Build an engine and return it serialised. Where the target's device is ANY, it needs no GPU.

    Raises:
        EngineError: the library is missing, it refuses the graph or the target, or there is no GPU where it needs one.
        BaseException: what `progress` raised, or an interrupt. Either stops the build.
    """
    trt = library.load()
    log = log_of(trt)
    log.errors.clear()
    log.stopped = None
    progress(0.0, "reading the graph")
    failed = f"{library.title} cannot build {job.bundle.graph.graph}"
    try:
        builder = trt.Builder(log)
        network = builder.create_network(network_flags(trt))
        parser = trt.OnnxParser(network, log)
        if not parser.parse(graph):
            advice = "use --backend onnxruntime or another precision"
            raise EngineError(f"{failed}: {_parser_errors(parser, log)}; {advice}")
        config = builder.create_builder_config()
        _set_capabilities(trt, config, target)
        _set_sizes(builder, config, network, job)
        timings = job.timing_cache or EngineCache().folder / f"{library.name}.timing"
        if not library.rtx:
            open_timings(config, timings)
        monitor = _monitor(trt, progress, log)  # must outlive the build
        config.progress_monitor = monitor
        serialised = builder.build_serialized_network(network, config)
    except BINDING_ERRORS as error:
        raise EngineError(f"{failed}: {log.reason()} ({one_line(str(error))})") from error
    log.raise_stopped()
    if serialised is None:
        raise EngineError(f"{failed} in {job.precision} for {target.describe()}: {log.reason()}")
    if not library.rtx:
        keep_timings(config, timings)
    progress(1.0, "built")
    return bytes(serialised)


def network_flags(trt: Any) -> int:
    """Ask for a strongly typed network. TensorRT 10 has a flag for it; later versions have no other networks."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _parser_errors(parser: Any, log: Any) -> str:
    """What the parser found, each with its node, in one line."""
    lines = []
    for error in (parser.get_error(i) for i in range(parser.num_errors)):
        operator, name = error.node_operator(), error.node_name() or error.node()
        where = f"node {name} ({operator}): " if operator else ""
        lines.append(where + one_line(str(error.desc())))
    log.errors.clear()
    return "; ".join(dict.fromkeys(lines[:3])) or str(log.reason())


def _set_sizes(builder: Any, config: Any, network: Any, job: Job) -> None:
    """Give smallest, usual and largest size of every input whose size varies."""
    inputs = [network.get_input(i).name for i in range(network.num_inputs)]
    outputs = [network.get_output(i).name for i in range(network.num_outputs)]
    check_graph(job.bundle.graph, job.bundle, inputs, outputs)
    sizes_px = (SMALLEST_PX, job.size_px, LARGEST_PX)
    profile = builder.create_optimization_profile()
    varying = [spec for spec in job.bundle.graph.inputs if any(isinstance(size, str) for size in spec.shape)]
    for spec in varying:
        larger = LAYERS.get(spec.name, 1)
        smallest, *others = sizes_px  # a layer without a margin is no larger than the frame
        sides = smallest, *(round(larger * px) for px in others)
        profile.set_shape(
            spec.name, *([size if isinstance(size, int) else px for size in spec.shape] for px in sides)
        )
    if varying and config.add_optimization_profile(profile) < 0:
        raise RuntimeError(f"it refuses the sizes {sizes_px}")


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
                "the kernels' timings in %s are of another GPU or damaged; they are measured again", path
            )


def keep_timings(config: Any, path: Path) -> None:
    """Keep what the builder measured for the next build. Where that fails, the log says so."""
    try:
        write_file(path, bytes(config.get_timing_cache().serialize()))
    except (OSError, *BINDING_ERRORS) as error:
        logger.info("the timings of kernels are not kept: %s", error)


class Shares:
    """Tells `report` the share of a build that is done, from phases that lie within each other. It never goes back."""

    def __init__(self, report: Progress) -> None:
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


def _monitor(trt: Any, report: Progress, log: Any) -> Any:
    """The library's view of Shares. What `report` raises stops the build, and is kept in `log.stopped`."""
    shares, lock = Shares(report), threading.Lock()

    def tell(what: Callable[..., None], *arguments: Any) -> bool:
        with lock:  # the library builds on several threads
            if log.stopped is None:
                try:
                    what(*arguments)
                except BaseException as error:
                    log.stopped = error
            return log.stopped is None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            tell(shares.start, phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return tell(shares.step, phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            tell(shares.finish, phase_name)

    return Monitor()
