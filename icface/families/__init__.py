"""Model families: what each does on the host. The manifest's `family` names the module.

A new family is one new file with `open_family(bundle) -> Family`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame, Tensors
from icface.attributes import FloatArray
from icface.bundle import Bundle
from icface.errors import BundleError
from icface.face.landmarks import LandmarkDetector, Landmarks


@dataclass(frozen=True)
class Means:
    """What a family may use to prepare a photo."""

    detector: LandmarkDetector
    """For families that look at the face again."""
    neutralise: Callable[[Tensors], Tensors]
    """Runs the bundle's variant `neutralise`, from its inputs to its outputs by name, where the bundle has it."""
    size_px: int | None
    """Side of the crop. None keeps the photo's own resolution, where the model makes any size."""
    free_layer: bool = False
    """The background will be another one. A family with layers gives the cache tensor `free` then."""
    corrected: Callable[[Tensors, Tensors], Frame] | None = None
    """Makes a frame from cache and motion tensors with the bundle's network; None where it has none."""
    wide: bool = False
    """The frame has to fit into its photo. A family may cut a larger crop, so that hair has room before its border."""
    view_scale: float = 1.0
    """Pixels of the photo for one of the frame that is prepared. Below 1 it is an enlarged photo, and no finer."""


class Alpha(Protocol):
    """How much of each pixel is the person, for one source; one thread uses it."""

    def frame(self, motion: Tensors, /) -> NDArray[np.uint8]:
        """(T, T) of the frame that the rig's `motion` makes, valid until the next call."""
        ...


class Rig(Protocol):
    """Moves one source; one thread uses it."""

    def motion(self, attributes: FloatArray, /) -> Tensors:
        """The tensors that the engine needs for one frame, valid until the next call.

        The (SIZE,) attributes are in range, on the scale that the bundle states.
        """
        ...


@dataclass(frozen=True)
class Family:
    """What a family does on the host: once a photo, and once a frame before the engine."""

    version: str
    """Part of the source cache's key. It changes when `prepare` gives other tensors than before."""
    rim: float
    """Share of a frame's side, along its border, that shows no face. There the frame may fade into the photo."""
    prepare: Callable[[Frame, Landmarks, Means], Tensors]
    """Neutralises one face of a photo (H, W, 3) RGB.

    It gives the variants' cache tensors, what the rig reads, `neutral` (S, S, 3) uint8 RGB, `own` (SIZE,) the photo's own
    pose and expression, and `crop_to_photo` (2, 3) float64, the affine from pixels of the S × S crop to those of the
    photo. SourceError: the face is too small, or turned too far away. EngineError: the graph does not run.
    """
    rig: Callable[[Tensors, bool], Rig]
    """Makes the rig of a source that `prepare` made. The second argument is whether nothing moves at the frame's border,
    so that the frame fits into its photo."""
    alpha: Callable[[Tensors], Alpha] | None = None
    """Makes the alpha of a source that `prepare` made; None for a family without layers.

    A source with layers has a `margin` above 0, the person as `skin` (S, S, 4) RGBA (colours multiplied by alpha), and
    the background as `plate` (T, T, 3). `free`, where it was asked for, is the `skin` for any other plate.
    """


def open_family(bundle: Bundle) -> Family:
    """The host code for a bundle.

    Raises:
        BundleError: the bundle needs host code that this version does not have.
    """
    family: Family = importlib.import_module(f"icface.families.{bundle.family}").open_family(bundle)
    return family


def cannot_run(bundle: Bundle, why: str) -> BundleError:
    """The error for an intact bundle that was made for host code of another version."""
    return BundleError(
        f"{bundle.path} ({bundle.family}: {bundle.name}) cannot be run by this version: {why}; upgrade "
        "icface-live, or export the model again"
    )
