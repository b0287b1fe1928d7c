"""The bundle's host variant: the warp compiled for the CPU, no graph at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from icface.bundle import Bundle, Variant
from icface.engines import Engine, Outputs, Part, Tensors
from icface.errors import EngineError
from icface.geometry.warp import HostWarp

MOTION: Final = "icface.geometry"
"""The manifest's name of the host code whose maps HostWarp reads."""


class HostEngine(Engine):
    """Runs the family's own warp."""

    def __init__(self, variant: Variant, description: str) -> None:
        super().__init__(variant, description)
        self._cache: Tensors = {}
        self._warp: HostWarp | None = None

    def _keep_source(self, cache: Tensors) -> None:
        self._cache = cache
        self._warp = None  # made with the first frame, which tells the size

    def _compute(self, motion: Tensors, sizes: Mapping[str, int]) -> Outputs:
        if self._warp is None:
            self._warp = HostWarp(self._cache, (sizes["width"], sizes["height"]))
        return (self._warp.frame(motion),)

    def close(self) -> None:
        super().close()
        self._cache, self._warp = {}, None


def open_engine(bundle: Bundle, part: Part, *, threads: int, option: str) -> HostEngine:
    """Open the host variant. Its threads are OpenCV's, which the application sets for the whole process.

    Raises:
        EngineError: the bundle has none, or its host variant needs a graph.
    """
    variant = bundle.host if part == "animate" else None
    if variant is None or variant.graph is not None or bundle.motion != MOTION:
        raise EngineError(f"{bundle.name} has no variant that runs without a graph")
    if option:
        raise EngineError(f"the host engine has no option {option!r}")
    return HostEngine(variant, f"host warp on the CPU for {bundle.name}")
