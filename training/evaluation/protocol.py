"""Self- and cross-reenactment of one model over the common tasks: numbers, and frames to keep.

Two references stand beside the models. `driving frames` is the answer itself: it shows what the measuring makes of a
perfect output. `source kept` does nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from icface.arrays import Frame
from icface.attributes import AU_NAMES, COUNT, FloatArray, in_range, neutral
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
from training.evaluation.tasks import Task
from training.preparation.calibrate import Measured, learn_baseline

DRIVER: Final = "driving frames (the answer itself)"
KEPT: Final = "source kept (does nothing)"
STILL_FRAMES: Final = 12
STILL_NOISE: Final = 0.01
"""Standard deviation of the attributes of a driver that holds still, after smoothing."""

PresenceOf = Callable[[str, Task], Presence | None]
"""Presence (n, 17) in the `driver` or `output` of a task as OpenFace saw it; None where OpenFace did not look."""


class ClipViewer(Viewer):
    """Also learns how a real person looks without expression, as the attributes of the data were learned."""

    def clip_baseline(self, crops: Iterable[Frame]) -> Baseline:
        """The neutral of the person in many pictures (S, S, 3); the population's where no face is seen."""
        faces = [face for face in map(self.look, crops) if face is not None]
        if not faces:
            return population()
        # Equal times: the pictures need not be neighbours.
        return learn_baseline([Measured.of(faces, np.zeros(len(faces)))], population())


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model made of one task."""

    task: Task
    source: Frame
    """(S, S, 3)"""
    driving: Frame
    """(n, S, S, 3)"""
    neutral: Frame | None
    """(S, S, 3) the model's neutral picture; None for a reference, whose neutral is learned from the clip."""
    output: Frame
    """(n, S, S, 3)"""


def answer_of(animator: Animator, tracks: FaceTracks, task: Task) -> Answer:
    """Let a model do a task.

    Raises:
        SourceError: the model cannot use this source.
    """
    source, driving = _frames(tracks, task)
    first = animator.neutralise(source)
    output = animator.animate(tracks.values_of(task.driving).attributes)
    return Answer(task=task, source=source, driving=driving, neutral=first, output=output)


def reference_of(name: str, tracks: FaceTracks, task: Task) -> Answer:
    """What the references answer."""
    source, driving = _frames(tracks, task)
    output = driving if name == DRIVER else np.repeat(source[None], len(driving), axis=0)
    return Answer(task=task, source=source, driving=driving, neutral=None, output=output)


def _frames(tracks: FaceTracks, task: Task) -> tuple[Frame, Frame]:
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
    frames = frames_with_face = neutral_unseen = 0
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
            if result.neutral is None:
                baseline: Baseline | None = viewer.clip_baseline([result.source, *result.driving])
            else:
                baseline = viewer.baseline(result.neutral)
            neutral_unseen += baseline is None
            shown = viewer.measure(result.output, baseline)
            got = presence("output", task, shown)
            clips.append((in_range(asked), shown))
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
        "neutral_without_face": neutral_unseen,
        **{name: _mean(values) for name, values in scores.items()},
        **(agreement(clips) if clips else {}),
        "presence": {
            "measured_by": sorted(measured_by),
            "frames": frames,
            "frames_with_face": frames_with_face,
            **summary(counts),
        },
    }


def _scores(result: Answer, judges: Judges, same_person: bool) -> dict[str, Iterable[float]]:
    """Of the pictures, frame by frame; without those whose judge is not there."""
    output, driving, source = result.output, result.driving, result.source
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
