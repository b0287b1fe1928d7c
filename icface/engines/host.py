"""The bundle's host variant: the warp compiled for the CPU, no graph at all."""

from __future__ import annotations

from icface.bundle import Bundle
from icface.engines import Frame, Owner, Tensors
from icface.errors import EngineError


class HostEngine:
    """Runs a family's own warp."""

    def __init__(self, bundle: Bundle) -> None:
        self.owner = Owner()
        self.description = f"host warp on the CPU for {bundle.name}"
        self._cache: Tensors | None = None
        self._warp: object | None = None

    def set_source(self, cache: Tensors) -> None:
        self._cache = cache
        self._warp = None

    def animate(self, motion: Tensors) -> Frame:
        from icface.geometry.warp import HostWarp

        self.owner.check()
        if self._cache is None:
            raise EngineError("no source is set")
        if not isinstance(self._warp, HostWarp):
            height, width = motion["skin_map"].shape[:2]
            self._warp = HostWarp(self._cache, (width, height))
        return self._warp.frame(motion)

    def close(self) -> None:
        self._cache = self._warp = None


def open_engine(bundle: Bundle, *, threads: int, option: str) -> HostEngine:
    """Open the host variant.

    Raises:
        EngineError: the bundle has none, or its host variant needs a graph.
    """
    if bundle.host is None or bundle.host.graph is not None or bundle.family != "edge":
        raise EngineError(f"{bundle.name} has no variant that runs without a graph")
    if option:
        raise EngineError(f"the host engine has no option {option!r}")
    return HostEngine(bundle)
