"""What the chosen frames tell of one person's face: the tensors of a bundle's `person` (docs/bundle.md)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from icface.arrays import Tensors
from icface.attributes import FloatArray
from training.pairs.seen import Seen, as_seen
from training.personal.calm import calm_frames
from training.personal.frames import ChosenFrame
from training.personal.mouth import fit_mouth
from training.personal.movements import fit_movements
from training.personal.sides import fit_sides


def fit_person(frames: Sequence[ChosenFrame]) -> Tensors:
    """Fit a person to the frames that are not held, in seconds. What the frames do not tell is left out.

    Returns:
        Tensors that `icface.geometry.person.read_person` takes. One frame alone gives none.
    """
    learned = sorted(
        (frame for frame in frames if not frame.held), key=lambda frame: (frame.video, frame.time_s)
    )
    if not learned:
        return {}
    faces = [as_seen(frame.picture, frame.landmarks) for frame in learned]
    attributes = np.stack([frame.attributes for frame in learned])
    movements = fit_movements(
        np.stack([face.shape for face in faces]),
        attributes,
        np.stack([_of_a_stranger(frame, face) for frame, face in zip(learned, faces, strict=True)]),
    )
    if movements is None:
        return {}
    return {
        "neutral_shape": movements.neutral_shape,
        "displacements": movements.displacements.astype(np.float16),
        "extensions": movements.extensions.astype(np.float16),
        **fit_mouth(faces, attributes, movements),
        **fit_sides(faces, attributes, movements, calm_frames(learned, 1)[0]),
    }


def _of_a_stranger(frame: ChosenFrame, face: Seen) -> FloatArray:
    """(SIZE,) attributes as a tracker reads them before it knows this person's resting face."""
    attributes = frame.attributes.copy()
    attributes[: len(face.attributes)] = face.attributes
    return attributes
