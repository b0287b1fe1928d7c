"""Model families: what each does on the host, one module a family, found by the manifest's `family`.

A new family is one new file with `open_family(bundle) -> Family`. Engines and everything live stay as they are.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.attributes import FloatArray
from icface.bundle import Bundle
from icface.errors import BundleError
from icface.face.landmarks import LandmarkDetector, Landmarks

Tensors = dict[str, NDArray[np.generic]]
Neutralise = Callable[[Mapping[str, NDArray[np.generic]]], Tensors]
"""Runs the bundle's `neutralise` graph: its inputs to its outputs, by name."""


class Motion(Protocol):
    """The moving part of one source; not shared between threads."""

    def step(self, attributes: FloatArray, /) -> Mapping[str, NDArray[np.generic]]:
        """The tensors of one frame, valid until the next call.

        Args:
            attributes: (20,) in [0, 1], on the scale that the bundle states.
        """
        ...


class Family(ABC):
    """What a family does on the host: once a photo, and once a frame before the engine."""

    version: str
    """Goes into the key of the source cache: another one where `prepare` gives other tensors than before."""
    rim: float
    """Part of a frame's side, along its border, over which it may fade into the photo: there is no face."""

    @abstractmethod
    def prepare(
        self,
        frame: Frame,
        face: Landmarks,
        *,
        detector: LandmarkDetector,
        neutralise: Neutralise,
        size_px: int | None,
    ) -> Tensors:
        """Neutralise one face of a photo.

        Args:
            frame: (H, W, 3) RGB, the photo.
            face: the face in it.
            detector: for looking again.
            neutralise: the bundle's graph; for families that have one.
            size_px: side of the crop; None: as the photo gives it (where the model makes any size).

        Returns:
            The variants' cache tensors, `neutral` (S, S, 3) uint8 RGB, `crop_to_photo` (2, 3) float64 (from pixels of
            the crop, also S × S, to pixels of the photo), and what `motion` reads.

        Raises:
            SourceError: the face is too small, or turned too far away.
            EngineError: the graph does not run.
        """

    @abstractmethod
    def motion(self, cache: Mapping[str, NDArray[np.generic]]) -> Motion:
        """The moving part of a source that `prepare` made."""


def open_family(bundle: Bundle) -> Family:
    """The host code for a bundle.

    Raises:
        BundleError: the bundle wants what this version has not.
    """
    family: Family = importlib.import_module(f"icface.families.{bundle.family}").open_family(bundle)
    return family


def cannot_run(bundle: Bundle, why: str) -> BundleError:
    """The error for a bundle that is whole but made for host code of another version."""
    return BundleError(
        f"{bundle.path} ({bundle.family}: {bundle.name}) cannot be run by this version: {why}; upgrade "
        "icface-live, or export the model again"
    )
