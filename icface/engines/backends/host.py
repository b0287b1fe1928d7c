"""The bundle's host variant: the warp compiled for the CPU, and then the graph that corrects it, if there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from icface.arrays import Tensors
from icface.bundle import WARPED, Bundle, Variant
from icface.engines import backends
from icface.engines.base import Engine, Outputs, Step
from icface.errors import EngineError
from icface.geometry.warp import HostWarp

MOTION: Final = "icface.geometry"
"""The manifest's name of the host code that makes HostWarp's maps."""
GRAPH_ENGINES: Final = ("openvino", "onnxruntime")
"""What may run the correcting graph; the first that works is taken."""


class HostEngine(Engine):
    """Runs the family's own warp, and `corrector` after it where the variant has a correcting graph."""

    def __init__(self, variant: Variant, description: str, corrector: Engine | None = None) -> None:
        super().__init__(variant, description)
        self._corrector = corrector
        self._cache: Tensors = {}
        self._warp: HostWarp | None = None

    def _keep_source(self, cache: Tensors) -> None:
        self._cache = cache
        self._warp = None  # made with the first frame, which tells the size
        if self._corrector is not None:
            self._corrector.set_source(cache)

    def _compute(self, motion: Tensors, sizes: Mapping[str, int]) -> Outputs:
        if self._warp is None:
            self._warp = HostWarp(self._cache, (sizes["width"], sizes["height"]))
        warped = self._warp.frame(motion)
        return (warped,) if self._corrector is None else self._corrector.run({**motion, WARPED: warped})

    def release(self) -> None:
        super().release()
        if self._corrector is not None:
            self._corrector.release()

    def close(self) -> None:
        super().close()
        self._cache, self._warp = {}, None
        if self._corrector is not None:
            self._corrector.close()


def open_engine(bundle: Bundle, step: Step, *, threads: int, option: str) -> HostEngine:
    """Open the host variant. Its threads are OpenCV's, which the application sets for the whole process."""
    variant = bundle.host if step == "animate" else None
    if variant is None or bundle.host_code != MOTION:
        raise EngineError(f"{bundle.name} has no variant that runs on the host")
    if option:
        raise EngineError(f"the host engine has no option {option!r}")
    if variant.graph is None:
        return HostEngine(variant, f"host warp on the CPU for {bundle.name}")
    problems = []
    for name in GRAPH_ENGINES:
        try:
            corrector = backends.load(name).open_engine(bundle, "correct", threads=threads, option="")
        except EngineError as error:
            problems.append(str(error))
        else:
            description = f"host warp on the CPU, corrected by {corrector.description}"
            return HostEngine(variant, description, corrector)
    raise EngineError("; ".join(problems))
