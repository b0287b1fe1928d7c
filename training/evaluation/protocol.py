"""Self- and cross-reenactment of one model over the common tasks: numbers, and frames to keep.

Two references stand beside the models. `driving frames` is the answer itself: it shows what the measuring makes of a
perfect output. `source kept` does nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.attributes import AU_NAMES, COUNT, POSE_LIMIT_RAD, FloatArray, in_range, neutral
from icface.errors import SourceError
from icface.face.action_units import Baseline, population
from icface.face.viewer import Viewer
from icface.quality import psnr_db
from training.dataset.reading import FaceTracks
from training.evaluation.agreement import agreement, jitter_iod
from training.evaluation.animators import Animator
from training.evaluation.judges import Judges
from training.evaluation.presence import Presence, confusion, summary, surrogate
from training.evaluation.similarity import WINDOW_PX, l1, ssim
from training.evaluation.tasks import Task, expression, turn
from training.preparation.calibrate import Measured, attributes_of, learn_baseline

DRIVER: Final = "driving frames (the answer itself)"
KEPT: Final = "source kept (does nothing)"
STILL_FRAMES: Final = 12
STILL_NOISE: Final = 0.01
"""Standard deviation of the attributes of a driver that holds still, after smoothing."""

PresenceOf = Callable[[str, Task], Presence | None]
"""Presence (n, 17) in the `driver` or `output` of a task as OpenFace saw it; None where OpenFace did not look."""


class ClipViewer(Viewer):
    """Also measures the frames of one person together, as the attributes of the data were measured."""

    def measure_clip(
        self, frames: Iterable[Frame], baseline: Baseline | None = None
    ) -> tuple[FloatArray, Baseline]:
        """(n, 20) full-shape attributes of frames (S, S, 3) of one person, NaN where no face is seen, and the baseline.

        Without a baseline, the neutral is learned from the frames themselves, as the data's was and as OpenFace does.
        So it is no model's word: a smile that is left in every frame counts as one, as far as a tracker can tell.
        """
        faces = [self.look(frame) for frame in frames]
        values = np.full((len(faces), COUNT), np.nan, dtype=np.float32)
        seen = [face for face in faces if face is not None]
        if not seen:
            return values, baseline or population()
        # Equal times: the pictures need not be neighbours.
        measured = Measured.of(seen, np.zeros(len(seen)))
        baseline = baseline or learn_baseline([measured], population())
        values[[face is not None for face in faces]] = attributes_of(measured, baseline)
        return values, baseline


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model made of one task."""

    task: Task
    source: Frame
    """(S, S, 3)"""
    driving: Frame
    """(n, S, S, 3)"""
    neutral: Frame | None
    """(S, S, 3) the model's neutral picture; None for what has none."""
    output: Frame
    """(n, S, S, 3)"""
    made: NDArray[np.bool_] | None = None
    """(n,) which frames there are; None for all. The others show no face, and no picture is scored."""


def answer_of(animator: Animator, tracks: FaceTracks, task: Task) -> Answer:
    """Let a model do a task.

    Raises:
        SourceError: the model cannot use this source.
    """
    source, driving = frames_of(tracks, task)
    first = animator.neutralise(source)
    output = animator.animate(tracks.values_of(task.driving).attributes)
    return Answer(task=task, source=source, driving=driving, neutral=first, output=output)


def reference_of(name: str, tracks: FaceTracks, task: Task) -> Answer:
    """What the references answer."""
    source, driving = frames_of(tracks, task)
    output = driving if name == DRIVER else np.repeat(source[None], len(driving), axis=0)
    return Answer(task=task, source=source, driving=driving, neutral=None, output=output)


def frames_of(tracks: FaceTracks, task: Task) -> tuple[Frame, Frame]:
    """The source (S, S, 3) and the driving frames (n, S, S, 3) of a task."""
    return tracks.frame(task.source), np.stack([tracks.frame(row) for row in task.driving])


def evaluate_tasks(
    tasks: Sequence[Task],
    answer: Callable[[Task], Answer],
    *,
    same_person: bool,
    viewer: ClipViewer,
    judges: Judges,
    presence_of: PresenceOf,
    data: FaceTracks,
    keep: Callable[[Answer], None] | None = None,
) -> dict[str, Any]:
    """Numbers of one model over all tasks.

    Args:
        answer: the model; may raise SourceError, which is counted.
        same_person: driver and source are one person, so the driving frame is the picture that should come out.
        keep: is handed every answer.
    """
    scores: dict[str, list[float]] = {}
    clips: list[tuple[FloatArray, FloatArray]] = []
    counts = np.zeros((4, len(AU_NAMES)), dtype=np.int64)
    frames = frames_with_face = missing = 0
    neutrals: list[FloatArray] = []
    measured_by: set[str] = set()
    refused: list[str] = []

    def presence(side: str, task: Task, own: FloatArray) -> Presence:
        # Gaps of OpenFace in a clip that it has seen are not filled with our surrogate: the two do not mix.
        openface = presence_of(side, task)
        measured_by.add(f"{side}: {'surrogate' if openface is None else 'OpenFace'}")
        return surrogate(own) if openface is None else openface

    for task in tasks:
        asked = data.values_of(task.driving).attributes
        wanted = presence("driver", task, asked)
        try:
            result = answer(task)
        except SourceError as error:
            refused.append(f"{task.name}: {error}")
            got = np.full_like(wanted, -1)
        else:
            shown, baseline = viewer.measure_clip(result.output)
            if result.neutral is not None:
                neutrals.extend(viewer.measure_clip([result.neutral], baseline)[0])
            got = presence("output", task, shown)
            clips.append((in_range(asked), shown))
            missing += 0 if result.made is None else int((~result.made).sum())
            for name, values in _scores(result, judges, same_person).items():
                scores.setdefault(name, []).extend(map(float, values))
            if keep is not None:
                keep(result)
        counts += confusion(wanted, got)
        frames += len(got)
        frames_with_face += int((got >= 0).any(axis=1).sum())
    return {
        "tasks": len(tasks),
        "refused": refused,
        "missing": missing,
        **_neutrality(neutrals),
        **{name: _mean(values) for name, values in scores.items()},
        **(agreement(clips) if clips else {}),
        "presence": {
            "measured_by": sorted(measured_by),
            "frames": frames,
            "frames_with_face": frames_with_face,
            **summary(counts),
        },
    }


def _neutrality(values: Sequence[FloatArray]) -> dict[str, Any]:
    """How neutral a model's neutral pictures are, from what was measured in them (20,).

    The angle is the mean of the absolute pitch, yaw and roll, the expression the mean Action Unit; None where no face
    is seen.
    """
    if not values:
        return {}
    seen = np.array([row for row in values if np.isfinite(row).all()], dtype=np.float32)
    return {
        "neutral_without_face": len(values) - len(seen),
        "neutral_angle_deg": float(np.degrees(2 * POSE_LIMIT_RAD * turn(seen).mean())) if len(seen) else None,
        "neutral_expression": float(expression(seen).mean()) if len(seen) else None,
    }


def _scores(result: Answer, judges: Judges, same_person: bool) -> dict[str, Iterable[float]]:
    """Of the pictures, frame by frame; without those whose judge is not there."""
    output, driving, source = result.output, result.driving, result.source
    if result.made is not None:
        output, driving = output[result.made], driving[result.made]
    if not len(output):
        return {}
    found: dict[str, Iterable[float] | None] = {}
    if same_person:
        pairs = list(zip(output, driving, strict=True))
        found["l1"] = [l1(*pair) for pair in pairs]
        found["psnr_db"] = [psnr_db(*pair) for pair in pairs]
        found["ssim"] = [ssim(*pair) for pair in pairs] if source.shape[0] >= WINDOW_PX else None
        found["lpips"] = judges.score("lpips", output, driving)
    found["csim"] = judges.likeness(output, source)
    found["cnniqa"] = judges.score("cnniqa", output)
    found["deepiqa"] = judges.score("deepiqa", output, np.broadcast_to(source, output.shape))
    return {name: values for name, values in found.items() if values is not None}


def _mean(values: Sequence[float]) -> float | None:
    """Mean of the finite values: equal frames have an infinite PSNR."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else None


def still_jitter(
    animator: Animator, crops: Sequence[Frame], viewer: Viewer, seed: int
) -> dict[str, float | None]:
    """Landmark jitter, in distances of the eye corners, of the neutral face: held exactly, and with STILL_NOISE.

    The mean over sources; None where no face is seen.
    """
    noise = np.random.default_rng(seed).normal(0, STILL_NOISE, (STILL_FRAMES, COUNT)).astype(np.float32)
    # Action Units begin at 0, so noise can only raise them.
    shaky = np.clip(neutral(COUNT) + noise, 0, 1).astype(np.float32)
    found: dict[str, list[float]] = {"exact": [], "noisy": []}
    for crop in crops:
        try:
            animator.neutralise(crop)
        except SourceError:
            continue
        for kind, asked in (("exact", np.tile(neutral(COUNT), (2, 1))), ("noisy", shaky)):
            jitter = jitter_iod([viewer.look(frame) for frame in animator.animate(asked)])
            if jitter is not None:
                found[kind].append(jitter)
    return {kind: _mean(values) for kind, values in found.items()}
