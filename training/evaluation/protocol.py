"""Self- and cross-reenactment of one model over the common tasks: numbers, and frames to keep.

Two references stand beside the models. `driving frames` is the answer itself: it shows what the measuring makes of a
perfect output. `source kept` does nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from icface.arrays import Frame
from icface.attributes import COUNT, FloatArray, neutral
from icface.errors import SourceError
from icface.face.action_units import Baseline
from icface.quality import psnr_db
from training.dataset.reading import FaceTracks
from training.evaluation.agreement import agreement, jitter_iod
from training.evaluation.animators import Animator
from training.evaluation.judges import Judges
from training.evaluation.measuring import ClipViewer
from training.evaluation.presence import Confusion, Presence, confusion, summary, surrogate
from training.evaluation.similarity import WINDOW_PX, l1, ssim
from training.evaluation.tasks import Task

DRIVER: Final = "driving frames (the answer itself)"
KEPT: Final = "source kept (does nothing)"
STILL_FRAMES: Final = 12
STILL_NOISE: Final = 0.01
"""Standard deviation of the attributes of a driver that holds still, after smoothing."""


@dataclass
class Answer:
    """What a model made of one task."""

    task: Task
    source: Frame
    """(S, S, 3)"""
    asked: FloatArray
    """(n, 20) full-shape attributes of the driving frames."""
    driving: Frame
    """(n, S, S, 3) the frames they come from."""
    neutral: Frame
    """(S, S, 3) the model's neutral picture."""
    output: Frame
    """(n, S, S, 3)"""
    is_reference: bool = False
    """Whether it is made of real frames. There is no neutral picture then; the neutral is learned from the clip."""
    shown: FloatArray = field(default_factory=lambda: np.empty((0, COUNT), dtype=np.float32))
    """(n, 20) measured in the output, NaN where no face is seen."""


PresenceOf = Callable[[str, Task], Presence | None]
"""Presence (n, 17) in the `driver` or `output` of a task as OpenFace saw it; None where OpenFace did not look."""


@dataclass
class Collected:
    """Sums over tasks."""

    judges: Judges
    scores: dict[str, list[float]] = field(default_factory=dict)
    clips: list[tuple[FloatArray, FloatArray]] = field(default_factory=list)
    """Attributes asked for and shown."""
    counts: Confusion | None = None
    driving_frames: int = 0
    """Driving frames of all tasks, also of refused sources."""
    frames_with_face: int = 0
    """How many of them show a face in the output, as presence was measured."""
    measured_by: set[str] = field(default_factory=set)
    neutral_unseen: int = 0
    refused: list[str] = field(default_factory=list)

    def add(self, name: str, values: Iterable[float] | None) -> None:
        """Scores of frames; those that were not measured are left out."""
        if values is not None:
            self.scores.setdefault(name, []).extend(float(value) for value in values)

    def mean(self, name: str) -> float | None:
        """Mean of the finite scores: equal frames have an infinite PSNR."""
        values = [value for value in self.scores.get(name, []) if np.isfinite(value)]
        return float(np.mean(values)) if values else None


def answer_of(animator: Animator, tracks: FaceTracks, task: Task) -> Answer:
    """Let a model do a task.

    Raises:
        SourceError: the model cannot use this source.
    """
    source = tracks.frame(task.source)
    asked = tracks.values_of(task.driving).attributes
    driving = np.stack([tracks.frame(row) for row in task.driving])
    neutral_picture = animator.neutralise(source)
    return Answer(task, source, asked, driving, neutral_picture, animator.animate(asked))


def reference_of(name: str, tracks: FaceTracks, task: Task) -> Answer:
    """What the references answer."""
    source = tracks.frame(task.source)
    asked = tracks.values_of(task.driving).attributes
    driving = np.stack([tracks.frame(row) for row in task.driving])
    output = driving if name == DRIVER else np.repeat(source[None], len(driving), axis=0)
    return Answer(task, source, asked, driving, source, output, is_reference=True)


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
        tasks: what to do.
        answer: the model; may raise SourceError, which is counted.
        same_person: driver and source are one person, so the driving frame is the picture that should come out.
        viewer: measures outputs.
        judges: measuring networks.
        presence_of: what OpenFace saw.
        data: that the tasks are of.
        keep: is handed every answer.
    """
    found = Collected(judges)
    for task in tasks:
        driver = data.values_of(task.driving).attributes
        try:
            result = answer(task)
        except SourceError as error:
            found.refused.append(f"{task.name}: {error}")
            _count(found, task, driver, None, presence_of)
            continue
        if result.is_reference:
            baseline: Baseline | None = viewer.clip_baseline([result.source, *result.driving])
        else:
            baseline = viewer.baseline(result.neutral)
        found.neutral_unseen += baseline is None
        result.shown = viewer.measure(result.output, baseline)
        _count(found, task, driver, result.shown, presence_of)
        _collect(found, result)
        if same_person:
            _compare(found, result)
        if keep is not None:
            keep(result)
    return _numbers(found, len(tasks))


def _count(
    found: Collected, task: Task, driver: FloatArray, shown: FloatArray | None, presence_of: PresenceOf
) -> None:
    """Action Units present in the driver, and what became of them; a source that was refused shows none (None)."""
    wanted = _presence(found, "driver", task, driver, presence_of)
    nothing = np.full_like(wanted, -1)
    got = nothing if shown is None else _presence(found, "output", task, shown, presence_of)
    found.driving_frames += len(got)
    found.frames_with_face += int((got >= 0).any(axis=1).sum())
    counts = confusion(wanted, got)
    found.counts = counts if found.counts is None else found.counts + counts


def _presence(found: Collected, side: str, task: Task, own: FloatArray, presence_of: PresenceOf) -> Presence:
    # Gaps of OpenFace in a clip that it has seen are not filled with our surrogate: the two do not mix.
    openface = presence_of(side, task)
    found.measured_by.add(f"{side}: {'surrogate' if openface is None else 'OpenFace'}")
    return surrogate(own) if openface is None else openface


def _collect(found: Collected, result: Answer) -> None:
    judges = found.judges
    found.clips.append((result.asked, result.shown))
    found.add("cnniqa", judges.quality(result.output))
    found.add("deepiqa", judges.quality_against(result.output, result.source))
    found.add("csim", judges.likeness(result.output, result.source))


def _compare(found: Collected, result: Answer) -> None:
    pairs = list(zip(result.output, result.driving, strict=True))
    found.add("l1", (l1(*pair) for pair in pairs))
    found.add("psnr_db", (psnr_db(*pair) for pair in pairs))
    if result.source.shape[0] >= WINDOW_PX:
        found.add("ssim", (ssim(*pair) for pair in pairs))
    found.add("lpips", found.judges.distance(result.output, result.driving))


def _numbers(found: Collected, tasks: int) -> dict[str, Any]:
    result: dict[str, Any] = {
        "tasks": tasks,
        "refused": found.refused,
        "neutral_without_face": found.neutral_unseen,
        **{
            name: found.mean(name)
            for name in ("l1", "psnr_db", "ssim", "lpips", "csim", "cnniqa", "deepiqa")
            if name in found.scores
        },
    }
    if found.clips:
        result |= agreement(found.clips)
    if found.counts is not None:
        result["presence"] = {
            "measured_by": sorted(found.measured_by),
            "frames": found.driving_frames,
            "frames_with_face": found.frames_with_face,
            **summary(found.counts),
        }
    return result


def still_jitter(
    animator: Animator, crops: Sequence[Frame], viewer: ClipViewer, seed: int, frames: int = STILL_FRAMES
) -> dict[str, float | None]:
    """Landmark jitter, in distances of the eye corners, of the neutral face: held exactly, and with STILL_NOISE.

    The mean over sources; None where no face is seen.
    """
    noise = np.random.default_rng(seed).normal(0, STILL_NOISE, (frames, COUNT)).astype(np.float32)
    # Action Units begin at 0, so noise can only raise them.
    shaky = np.clip(neutral() + noise, 0, 1).astype(np.float32)
    found: dict[str, list[float]] = {"exact": [], "noisy": []}
    for crop in crops:
        try:
            animator.neutralise(crop)
        except SourceError:
            continue
        for kind, asked in (("exact", np.tile(neutral(), (2, 1))), ("noisy", shaky)):
            jitter = jitter_iod([viewer.look(frame) for frame in animator.animate(asked)])
            if jitter is not None:
                found[kind].append(jitter)
    return {kind: float(np.mean(values)) if values else None for kind, values in found.items()}
