"""Figures 1 and 4b of the paper: one source whose pose, mouth and eyes come from different frames, or from numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Final

import numpy as np

from icface.arrays import Frame
from icface.attributes import AU_NAMES, COUNT, INDEX, POSE_NAMES, FloatArray, neutral
from icface.control.units import read_value
from training.dataset.reading import FaceTracks
from training.evaluation.animators import Animator
from training.evaluation.figures import EYES, MOUTH, Scene, Shown, made_by, mixed, sheet, shown
from training.evaluation.tasks import Task, expression, spread

MOMENTS: Final = 5
"""Columns of figure 1."""
BY_NUMBERS: Final = (
    {"AU12": ".9", "AU25": ".5"},
    {"yaw": "-22deg", "AU02": ".8"},
    {"AU04": ".9", "AU15": ".7"},
    {"AU26": ".8", "AU05": ".8"},
    {"pitch": "14deg", "AU45": "1"},
)
"""What the last row of figure 1 asks for, as `--set` of the product takes it; all else is neutral."""
PARTS: Final = {"pose": POSE_NAMES, "mouth": MOUTH, "eyes": EYES}


def by_numbers(numbers: dict[str, str]) -> FloatArray:
    """(20,) neutral but for the named ones."""
    values = neutral(COUNT)
    for name, text in numbers.items():
        values[INDEX[name]] = read_value(name, text)
    return values


def figure_1(animator: Animator, tracks: FaceTracks, tasks: Sequence[Task]) -> Frame:
    """Every way of control, of the first task's source; d1, d2 and d3 are the clips of the next tasks.

    Columns are moments: d1 from one side to the other, d2 from the least expression to the most, d3 through its time.
    What no driver gives is the source's own.
    """
    source = shown(tracks, tasks[0].source)
    d1, d2, d3 = (_moments(tracks, tasks[i % len(tasks)], i) for i in (1, 2, 3))
    own = source.attributes
    rows = {
        "pose of d1": [mixed(own, a.attributes, POSE_NAMES) for a in d1],
        "expression of d2": [mixed(own, b.attributes, AU_NAMES) for b in d2],
        "mouth of d1, eyes of d2": [
            mixed(mixed(own, a.attributes, MOUTH), b.attributes, EYES) for a, b in zip(d1, d2, strict=True)
        ],
        "pose of d1, expression of d2": [
            mixed(b.attributes, a.attributes, POSE_NAMES) for a, b in zip(d1, d2, strict=True)
        ],
        "all of d3": [c.attributes for c in d3],
        "by numbers": [by_numbers(numbers) for numbers in BY_NUMBERS],
    }
    frames = made_by(animator, source.frame, np.stack([values for row in rows.values() for values in row]))[
        1:
    ]
    tiles: list[list[Frame | None]] = [[None, *(each.frame for each in clip)] for clip in (d1, d2, d3)]
    for i in range(len(rows)):
        tiles.append([source.frame, *frames[i * MOMENTS : (i + 1) * MOMENTS]])
    heads = ["source", *(str(number + 1) for number in range(MOMENTS))]
    return sheet(tiles, heads, ["d1", "d2", "d3", *rows])


def _moments(tracks: FaceTracks, task: Task, driver: int) -> list[Shown]:
    """MOMENTS frames of a driver; a clip that has fewer shows some of them again."""
    values = tracks.values_of(task.driving).attributes
    times = np.arange(len(values), dtype=np.float32)
    strength = {1: values[:, INDEX["yaw"]], 2: expression(values), 3: times}[driver]
    order = [task.driving[i] for i in np.argsort(strength, kind="stable")]
    rows = spread([row for row in order for _ in range(-(-MOMENTS // len(order)))], MOMENTS)
    return [shown(tracks, row) for row in rows]


def figure_4b(animator: Animator, scenes: Sequence[Scene]) -> Frame:
    """A source and two driving frames, d1 and d2: pose, mouth and eyes are each taken from another of the three.

    The driving frames are of the next people: the strongest expression of one, the strongest turn of the other.
    """
    tiles, columns = [], ["source", "d1", "d2"]
    for i, scene in enumerate(scenes):
        d1, d2 = scenes[(i + 1) % len(scenes)].acting, scenes[(i + 2) % len(scenes)].turned
        asked = []
        for donors in permutations((scene.source, d1, d2)):
            values = neutral(COUNT)
            for names, donor in zip(PARTS.values(), donors, strict=True):
                values = mixed(values, donor.attributes, names)
            asked.append(values)
        frames = made_by(animator, scene.source.frame, np.stack(asked))[1:]
        tiles.append([scene.source.frame, d1.frame, d2.frame, *frames])
    for order in permutations(("source", "d1", "d2")):
        columns.append(", ".join(f"{part} {donor}" for part, donor in zip(PARTS, order, strict=True)))
    return sheet(tiles, columns, [scene.label for scene in scenes])
