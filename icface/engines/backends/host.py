"""The bundle's host variant: the warp compiled for the CPU, and then the network that corrects it, if there is one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame, Tensors
from icface.bundle import Bundle
from icface.engines import backends
from icface.engines.base import Engine, Outputs, Step, golden_psnr_db
from icface.errors import EngineError
from icface.geometry.contract import misfit
from icface.geometry.correction import FARTHEST_PX, Patch, usable
from icface.geometry.warp import HostWarp
from icface.variants import Variant

logger = logging.getLogger(__name__)

MOTION: Final = "icface.geometry"
"""The manifest's name of the host code that makes HostWarp's maps."""
NETWORK_ENGINES: Final = ("openvino:bf16", "openvino", "onnxruntime")
"""What may run the network, the fastest first. The first one that gives the golden frame is taken."""


class HostEngine(Engine):
    """Runs the family's own warp, and `network` after it, where there is one and the frame's gates are open."""

    def __init__(self, variant: Variant, description: str, network: Engine | None = None) -> None:
        super().__init__(variant, description)
        self._network = network
        self.forgiving = False
        """A network that fails is dropped with a warning, and the frame is what geometry made. Else it is an error."""
        self._cache: Tensors = {}
        self._warp: HostWarp | None = None
        self._patch: Patch | None = None

    def _keep_source(self, cache: Tensors) -> None:
        self._cache = cache
        self._warp = self._patch = None  # made with the first frame, which tells the size
        if self._network is not None:
            self._network.set_source(cache)

    def _compute(self, motion: Tensors, sizes: Mapping[str, int]) -> Outputs:
        size_px = sizes["width"], sizes["height"]
        try:
            if self._warp is None:
                self._warp = HostWarp(self._cache, size_px)
            frame = self._warp.frame(motion)
            if self._network is not None and motion["gates"].any():
                if self._patch is None:
                    self._patch = Patch(size_px)
                self._correct(self._network, self._patch, frame, self._warp.person, motion)
        except cv2.error as error:  # a picture that is empty, or too large for it
            raise EngineError(
                f"OpenCV cannot make a frame of {size_px}: {' '.join(str(error).split())}"
            ) from error
        return (frame,)

    def _correct(
        self, network: Engine, patch: Patch, frame: Frame, person: NDArray[np.uint8], motion: Tensors
    ) -> None:
        where = motion["patch_to_frame"]
        try:
            if not np.abs(where).max() < FARTHEST_PX:  # nor where a number is none
                raise EngineError("the patch lies outside of every frame")
            seen = patch.cut(frame, motion)
            (correction,) = network.run({**motion, "patch": seen})
            if not usable(correction):
                raise EngineError("the network gives values that are no numbers")
        except EngineError as error:
            if not self.forgiving:
                raise
            self._drop_network(error)
        else:
            patch.lay_back(np.ascontiguousarray(correction), where, person, frame)

    def _drop_network(self, error: EngineError) -> None:
        logger.warning("geometry alone makes the frames from now on: %s", error)
        assert self._network is not None
        self._network.close()
        self._network, self.geometry_alone = None, True

    def release(self) -> None:
        super().release()
        if self._network is not None:
            self._network.release()

    def close(self) -> None:
        super().close()
        self._cache, self._warp, self._patch = {}, None, None
        if self._network is not None:
            self._network.close()


def open_engine(bundle: Bundle, step: Step, *, threads: int, option: str) -> HostEngine:
    """Open the host variant. Its threads are OpenCV's, which the application sets for the whole process.

    Where no engine runs the bundle's network, a warning says why, and the engine makes frames by geometry alone.
    """
    variant = bundle.host if step == "animate" else None
    if variant is None or bundle.host_code != MOTION:
        raise EngineError(f"{bundle.name} has no variant that runs on the host")
    if option:
        raise EngineError(f"the host engine has no option {option!r}")
    if why := misfit(bundle):
        raise EngineError(f"{bundle.name} cannot be run on the host: {why}")
    engine = HostEngine(variant, f"host warp on the CPU for {bundle.name}")
    if bundle.correct is None:
        return engine
    problems = []
    for name in NETWORK_ENGINES:
        try:
            return _corrected(bundle, variant, name, threads)
        except EngineError as error:
            logger.debug("the network does not run by %s: %s", name, error)
            problems.append(f"{name}: {str(error).splitlines()[0]}")  # libraries tell long stories
    logger.warning(
        "geometry alone makes the frames, because no engine runs the network: %s", "; ".join(problems)
    )
    engine.geometry_alone = True
    return engine


def _corrected(bundle: Bundle, variant: Variant, name: str, threads: int) -> HostEngine:
    """The host variant with its network run by a backend; EngineError where that gives a wrong golden frame."""
    backend, _, option = name.partition(":")
    network = backends.load(backend).open_engine(bundle, "correct", threads=threads, option=option)
    engine = HostEngine(variant, f"host warp on the CPU, corrected by {network.description}", network)
    try:
        db = golden_psnr_db(engine, bundle)
        if not db >= engine.golden_psnr_db:
            raise EngineError(f"it gives a wrong golden frame ({db:.1f} dB)")
    except EngineError:
        engine.close()
        raise
    engine.forgiving = True
    engine.release()
    return engine
