"""What is measured of a case: does the output do what the driver does, is it the same person, and is the picture good?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array, Frame
from icface.attributes import COUNT, NAMES, FloatArray
from icface.face.action_units import Baseline, baseline_of, measure_attributes
from icface.face.alignment import align
from icface.face.landmarks import LandmarkDetector, Landmarks
from icface.face.viewer import Viewer, in_frame
from icface.geometry.topology import LEFT_LIDS, LOWER_LIP, OVAL, RIGHT_LIDS, UPPER_LIP
from icface.images import cut_crop
from icface.quality import psnr_db
from training.evaluation.agreement import agreement
from training.evaluation.embedding import Embedder, cosines
from training.evaluation.presence import confusion, summary, surrogate
from training.evaluation.similarity import WINDOW_PX, ssim

CROP_PX: Final = 256
"""Side of the crop in which two faces are compared. Each face is cut by its own landmarks."""
LEAST_RANGE: Final = 0.15
"""An attribute's amplitude is given where the driver moves it by more than this."""
HEAD: Final = 1.8
"""The background begins where the face's outline, so many times as large, ends."""
_REGIONS: Final = {
    "face": OVAL,
    "eyes": tuple(v for rows in (RIGHT_LIDS, LEFT_LIDS) for row in rows for v in row),
    "mouth": UPPER_LIP + LOWER_LIP,
}
_MARGIN: Final = {"face": 0, "eyes": 8, "mouth": 12}
"""Pixels of the crop around a region's landmarks."""


@dataclass
class Measured:
    """One case and one model, frame by frame."""

    asked: list[FloatArray] = field(default_factory=list)
    """(20,) of each frame in which the driver's face was seen."""
    shown: list[FloatArray] = field(default_factory=list)
    """(20,) measured in the output; NaN where no face is seen."""
    similar: dict[str, list[float]] = field(default_factory=dict)
    sharpness: list[float] = field(default_factory=list)
    background: list[float] = field(default_factory=list)
    likeness: list[float] = field(default_factory=list)

    def numbers(self) -> dict[str, Any]:
        """The figures of the report. What could not be measured is None or absent."""
        asked, shown = np.stack(self.asked), np.stack(self.shown)
        counts = summary(confusion(surrogate(asked), surrogate(shown)))
        found = agreement([(asked, shown)])
        return {
            "frames": len(asked),
            "face_found": found["faces_found"] / len(asked),
            "pose_error_deg": found["pose_error_deg"],
            "correlation": found["pose_correlation"] | found["au_correlation"],
            "amplitude": amplitudes(asked, shown),
            "presence": counts["macro"],
            **{name: _mean(values) for name, values in self.similar.items()},
            "sharpness": _mean(self.sharpness),
            "background_levels": _mean(self.background),
            "identity_cosine": _mean(self.likeness),
        }


def _mean(values: list[float]) -> float | None:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else None


def amplitudes(asked: FloatArray, shown: FloatArray) -> dict[str, float | None]:
    """How far each attribute of the output moves, as a share of the driver's: ratio of the ranges of 90 % of frames.

    Args:
        asked: (n, 20).
        shown: (n, 20), NaN where no face is seen.
    """
    seen = np.isfinite(shown).all(axis=1)
    if not seen.any():
        return dict.fromkeys(NAMES)
    wanted, found = (
        np.ptp(np.percentile(values[seen], (5, 95), axis=0), axis=0) for values in (asked, shown)
    )
    return {
        name: float(found[i] / wanted[i]) if wanted[i] > LEAST_RANGE else None for i, name in enumerate(NAMES)
    }


class Judge:
    """Measures the frames of one case, one after the other.

    Args:
        viewer: finds the face in output frames.
        detector: finds the face in driver frames, for stills.
        photo: (H, W, 3) the source.
        neutral_frame: (S, S, 3) what the model makes of neutral attributes.
        embedder: tells persons apart; None leaves the identity out.
    """

    def __init__(
        self,
        viewer: Viewer,
        detector: LandmarkDetector,
        photo: Frame,
        neutral_frame: Frame,
        embedder: Embedder | None = None,
    ) -> None:
        self._viewer, self._detector, self._embedder = viewer, detector, embedder
        self._neutral_frame = neutral_frame.copy()
        face = viewer.look(neutral_frame)
        self.baseline: Baseline | None = None if face is None else baseline_of(face)
        """How the model's neutral face looks: what expressions are measured against."""
        self._outside = (
            None if face is None else background(in_frame(face, len(neutral_frame)), neutral_frame)
        )
        photo_crop = self._crop_of(photo)
        self._detail = None if photo_crop is None else detail(photo_crop)
        self._vector = None if embedder is None or photo_crop is None else embedder.embed(photo_crop[None])
        self.measured = Measured()

    def add(self, asked: FloatArray, output: Frame, truth: Frame | None) -> None:
        """Measure a frame.

        Args:
            asked: (SIZE,) what drove it. The paper's 20 are compared.
            output: (S, S, 3).
            truth: (H, W, 3) the driver's frame, in self-reenactment.
        """
        m = self.measured
        m.asked.append(asked[:COUNT])
        if self._outside is not None:
            moved = np.abs(output.astype(np.int16) - self._neutral_frame).mean(axis=2)
            m.background.append(float(moved[self._outside].mean()))
        face = self._viewer.look(output)
        if face is None:
            m.shown.append(np.full(COUNT, np.nan, dtype=np.float32))
            return
        m.shown.append(measure_attributes(face, self.baseline))
        crop = cut_crop(output, align(in_frame(face, len(output)), CROP_PX), CROP_PX)
        if self._detail:
            m.sharpness.append(detail(crop) / self._detail)
        if self._embedder is not None and self._vector is not None:
            m.likeness.append(float(cosines(self._embedder.embed(crop[None]), self._vector)[0]))
        if truth is not None:
            self._compare(crop, truth)

    def _compare(self, crop: Frame, truth: Frame) -> None:
        """PSNR and SSIM of the regions of two faces, each cut by its own landmarks."""
        faces = self._detector.detect(truth)
        if not faces:
            return
        affine = align(faces[0], CROP_PX)
        wanted = cut_crop(truth, affine, CROP_PX)
        for name, region in regions(faces[0], affine).items():
            for kind, value in (("psnr_db", psnr_db), ("ssim", ssim)):
                self.measured.similar.setdefault(f"{name}_{kind}", []).append(
                    value(crop[region], wanted[region])
                )

    def _crop_of(self, photo: Frame) -> Frame | None:
        faces = self._detector.detect(photo)
        return cut_crop(photo, align(faces[0], CROP_PX), CROP_PX) if faces else None


def regions(face: Landmarks, affine: Array) -> dict[str, tuple[slice, slice]]:
    """Rows and columns of face, eyes and mouth in a crop of CROP_PX.

    Args:
        face: in pixels of the picture.
        affine: (2, 3) from the crop's pixels to the picture's.
    """
    points = cv2.transform(face.points_px[None, :, :2].astype(np.float64), cv2.invertAffineTransform(affine))[
        0
    ]
    found = {}
    for name, vertices in _REGIONS.items():
        part = points[list(vertices)]
        low = np.floor(part.min(axis=0)).astype(int) - _MARGIN[name]
        high = np.ceil(part.max(axis=0)).astype(int) + _MARGIN[name]
        # SSIM's window has to fit into it.
        low = np.clip(low, 0, CROP_PX - WINDOW_PX)
        high = np.clip(high, low + WINDOW_PX, CROP_PX)
        found[name] = (slice(low[1], high[1]), slice(low[0], high[0]))
    return found


def detail(crop: Frame) -> float:
    """How much fine detail the middle of a face's crop has, as `detail_of` measures it."""
    edge = CROP_PX // 4
    return detail_of(crop[edge:-edge, edge:-edge])


def detail_of(picture: Frame) -> float:
    """How much fine detail a picture (h, w, 3) has: mean absolute Laplacian of its grey levels."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return float(np.abs(cv2.Laplacian(grey, cv2.CV_32F)).mean())


def background(face: Landmarks, frame: Frame) -> NDArray[np.bool_] | None:
    """(S, S) true beside and above the head, where neither head nor shoulders show; None where that is nowhere."""
    oval = face.points_px[list(OVAL), :2]
    centre = oval.mean(axis=0)
    head = np.zeros(frame.shape[:2], dtype=np.uint8)
    cv2.fillPoly(head, [np.round(centre + HEAD * (oval - centre)).astype(np.int32)], 1)
    outside = head == 0
    outside[int(max(0, oval[:, 1].max())) :] = False  # shoulders
    return outside if outside.mean() > 0.02 else None
