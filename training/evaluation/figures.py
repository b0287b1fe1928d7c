"""The paper's figures for any models: each is a sheet of labelled tiles.

A model that cannot use a source leaves its tiles empty.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from icface.arrays import Frame
from icface.attributes import (
    AU_NAMES,
    COUNT,
    GROUPS,
    INDEX,
    NAMES,
    POSE_LIMIT_RAD,
    POSE_NAMES,
    FloatArray,
    neutral,
)
from icface.errors import SourceError
from training.dataset.reading import FaceTracks
from training.evaluation.animators import Animator, resized
from training.evaluation.response import POSE_REACH
from training.evaluation.tasks import Task, expression, turn

TILE_PX: Final = 128
"""Smaller frames are enlarged to this."""
GAP_PX: Final = 4
FONT_PX: Final = 13
ROWS: Final = 6
"""At most so many sources in a figure."""
VIEWS: Final = 7
SWEEP_VALUES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
_PAPER: Final = (255, 255, 255)
_INK: Final = (20, 20, 20)
_EMPTY: Final = 225

EYES: Final = GROUPS["brows"] + GROUPS["eyes"]
MOUTH: Final = GROUPS["nose"] + GROUPS["mouth"]


def sheet(tiles: Sequence[Sequence[Frame | None]], columns: Sequence[str], rows: Sequence[str]) -> Frame:
    """Rows of square frames of one size, with labels over the columns and before the rows; None leaves a tile empty."""
    side = max([TILE_PX, *(tile.shape[0] for row in tiles for tile in row if tile is not None)])
    font = ImageFont.load_default(FONT_PX)
    letters = int(side / font.getlength("n"))
    heads = ["\n".join(textwrap.wrap(label, letters)) for label in columns]
    names = ["\n".join(textwrap.wrap(label, letters)) for label in rows]
    top = 2 * GAP_PX + max(label.count("\n") + 1 for label in heads) * (FONT_PX + 3)
    widths = [font.getlength(line) for label in names for line in label.split("\n")]
    left = 3 * GAP_PX + round(max(widths))
    step = side + GAP_PX
    picture = Image.new("RGB", (left + len(columns) * step, top + len(tiles) * step), _PAPER)
    pen = ImageDraw.Draw(picture)
    style: dict[str, Any] = {"fill": _INK, "font": font, "spacing": 2}
    for x, label in enumerate(heads):
        place = (left + x * step + side / 2, top - GAP_PX)
        pen.multiline_text(place, label, anchor="md", align="center", **style)
    for y, row in enumerate(tiles):
        pen.multiline_text((GAP_PX, top + y * step + side / 2), names[y], anchor="lm", **style)
        for x, tile in enumerate(row):
            shown = np.full((side, side, 3), _EMPTY, dtype=np.uint8) if tile is None else resized(tile, side)
            picture.paste(Image.fromarray(shown), (left + x * step, top + y * step))
    return np.asarray(picture, dtype=np.uint8)


def mixed(base: FloatArray, donor: FloatArray, names: Sequence[str]) -> FloatArray:
    """Attributes (20,) of `base`, with those named taken from `donor`. New array."""
    return np.where(np.isin(NAMES, names), donor, base)


class Shown(NamedTuple):
    """A frame of the data set and its attributes."""

    frame: Frame
    attributes: FloatArray


def shown(tracks: FaceTracks, row: int) -> Shown:
    """A frame by its row."""
    return Shown(tracks.frame(row), tracks.values_of([row]).attributes[0])


class Scene(NamedTuple):
    """One row of a figure: a source, and the frames of its driver that stand out."""

    label: str
    source: Shown
    turned: Shown
    """The driving frame with the strongest pose."""
    acting: Shown
    """The driving frame with the strongest expression among the others."""
    eyes: Shown
    """The driving frame with the strongest brows and lids."""
    mouth: Shown
    """The driving frame with the strongest mouth."""


def scenes_of(tracks: FaceTracks, tasks: Sequence[Task]) -> list[Scene]:
    """A row from each of the first tasks."""
    scenes = []
    for task in tasks[:ROWS]:
        values = tracks.values_of(task.driving).attributes
        turned, acting = turn(values), expression(values)
        if len(values) > 1:
            acting[np.argmax(turned)] = -1.0
        eyes, mouth = (values[:, np.isin(NAMES, names)].sum(axis=1) for names in (EYES, MOUTH))
        strongest = [int(np.argmax(strength)) for strength in (turned, acting, eyes, mouth)]
        label = tracks.tracks[tracks.track_of(task.source)].identity
        scenes.append(
            Scene(
                label, *(shown(tracks, row) for row in (task.source, *(task.driving[i] for i in strongest)))
            )
        )
    return scenes


def made_by(animator: Animator, source: Frame, attributes: FloatArray) -> list[Frame | None]:
    """The neutral picture and the frames for attributes (n, 20); all None where the model refuses the source."""
    try:
        first = animator.neutralise(source)
    except SourceError:
        return [None] * (1 + len(attributes))
    return [first, *animator.animate(attributes)]


def reenactment(animators: Sequence[Animator], scenes: Sequence[Scene]) -> Frame:
    """Source, driving frame, and each model's neutral picture and output; two driving frames a source."""
    tiles: list[list[Frame | None]] = []
    rows = []
    for scene in scenes:
        asked = np.stack([scene.turned.attributes, scene.acting.attributes])
        made = [made_by(animator, scene.source.frame, asked) for animator in animators]
        for i, driving in enumerate((scene.turned.frame, scene.acting.frame)):
            answers = [tile for frames in made for tile in (frames[0], frames[1 + i])]
            tiles.append([scene.source.frame, driving, *answers])
            rows.append(scene.label)
    heads = [f"{part} {animator.name}" for animator in animators for part in ("neutral", "output")]
    return sheet(tiles, ["source", "driving", *heads], rows)


def expression_only(animators: Sequence[Animator], scenes: Sequence[Scene]) -> Frame:
    """The driver's expression with the source's own pose."""
    asked = [mixed(s.acting.attributes, s.source.attributes, POSE_NAMES) for s in scenes]
    return _one_output(animators, scenes, asked, {"expression from": [s.acting for s in scenes]})


def mixed_pose_expression(animators: Sequence[Animator], scenes: Sequence[Scene]) -> Frame:
    """Pose of one driving frame, expression of another, which is of another person where there is one."""
    turned, acting = [s.turned for s in scenes], _next([s.acting for s in scenes])
    asked = [mixed(a.attributes, t.attributes, POSE_NAMES) for t, a in zip(turned, acting, strict=True)]
    return _one_output(animators, scenes, asked, {"pose from": turned, "expression from": acting})


def mixed_mouth_eyes(animators: Sequence[Animator], scenes: Sequence[Scene]) -> Frame:
    """Mouth and nose of one driving frame, brows and eyes of another, the source's own pose."""
    mouths, eyes = [s.mouth for s in scenes], _next([s.eyes for s in scenes])
    asked = [
        mixed(mixed(s.source.attributes, m.attributes, MOUTH), e.attributes, EYES)
        for s, m, e in zip(scenes, mouths, eyes, strict=True)
    ]
    return _one_output(animators, scenes, asked, {"mouth from": mouths, "eyes from": eyes})


def _next(shown: list[Shown]) -> list[Shown]:
    """Those of the next scene, for each scene."""
    return [*shown[1:], *shown[:1]]


def _one_output(
    animators: Sequence[Animator],
    scenes: Sequence[Scene],
    asked: Sequence[FloatArray],
    drivers: dict[str, list[Shown]],
) -> Frame:
    """A row a scene: source, the frames that drive it by heading, one output of each model."""
    tiles: list[list[Frame | None]] = []
    for scene, attributes, *frames in zip(scenes, asked, *drivers.values(), strict=True):
        outputs = [made_by(animator, scene.source.frame, attributes[None])[1] for animator in animators]
        tiles.append([scene.source.frame, *(shown.frame for shown in frames), *outputs])
    names = [f"output {animator.name}" for animator in animators]
    return sheet(tiles, ["source", *drivers, *names], [scene.label for scene in scenes])


def neutral_row(animators: Sequence[Animator], scenes: Sequence[Scene]) -> Frame:
    """Each person's source, most turned and most acting frame, and each model's neutral picture of it below."""
    nothing = neutral(COUNT)[None]
    hard = [(s.label, shown.frame) for s in scenes[: ROWS // 2] for shown in (s.source, s.turned, s.acting)]
    tiles: list[list[Frame | None]] = [[frame for _, frame in hard]]
    for animator in animators:
        tiles.append([made_by(animator, frame, nothing)[0] for _, frame in hard])
    return sheet(tiles, [label for label, _ in hard], ["source", *(f"neutral {a.name}" for a in animators)])


def _sweeps(
    animator: Animator, source: Frame, names: Sequence[str], values: Sequence[float] | FloatArray
) -> list[list[Frame | None]]:
    """A row of frames for each attribute, which takes the values while the others are neutral."""
    asked = np.tile(neutral(COUNT), (len(names), len(values), 1))
    for i, name in enumerate(names):
        asked[i, :, INDEX[name]] = values
    made = made_by(animator, source, asked.reshape(-1, COUNT))[1:]
    return [made[i : i + len(values)] for i in range(0, len(made), len(values))]


def multi_view(animator: Animator, scenes: Sequence[Scene]) -> Frame:
    """Each source turned from side to side, up and down, and about the view."""
    reach = np.linspace(-POSE_REACH, POSE_REACH, VIEWS, dtype=np.float32)
    axes = ("yaw", "pitch", "roll")
    tiles, rows = [], []
    for scene in scenes:
        sweeps = _sweeps(animator, scene.source.frame, axes, reach + np.float32(0.5))
        tiles += [[scene.source.frame, *sweep] for sweep in sweeps]
        rows += [f"{scene.label} {name}" for name in axes]
    degrees = np.degrees(2 * POSE_LIMIT_RAD * reach)
    return sheet(tiles, ["source", *(f"{angle:+.0f}°" if round(angle) else "0°" for angle in degrees)], rows)


def au_sweep(animator: Animator, scene: Scene) -> Frame:
    """Every Action Unit from none to whole, on one source."""
    tiles = _sweeps(animator, scene.source.frame, AU_NAMES, SWEEP_VALUES)
    # Two halves beside each other: 17 rows are taller than a screen.
    half = (len(AU_NAMES) + 1) // 2
    values = [f"{value:g}" for value in SWEEP_VALUES]
    first = sheet(tiles[:half], values, AU_NAMES[:half])
    second = sheet(tiles[half:], values, AU_NAMES[half:])
    below = np.full((first.shape[0] - second.shape[0], second.shape[1], 3), 255, dtype=np.uint8)
    return np.concatenate([first, np.concatenate([second, below])], axis=1)


def response_plot(results: dict[str, dict[str, Any]]) -> Frame | None:
    """Measured against asked, the mean over sources, one small plot an attribute and one line a model.

    Results are by model, as `training.evaluation.response.response` gives them.
    """
    swept = {model: result["attributes"] for model, result in results.items() if result["attributes"]}
    if not swept:
        return None
    names = list(next(iter(swept.values())))
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.5 * lines), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for number, name in enumerate(names):
        axes = figure.add_subplot(lines, columns, number + 1)
        for model, attributes in swept.items():
            asked, shown = attributes[name]["asked"], np.array(attributes[name]["shown_mean"], dtype=float)
            axes.plot(asked, shown, marker=".", label=model)
        axes.plot(asked, asked, color="0.75", linestyle=":", zorder=0)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
    figure.supxlabel("asked", fontsize=8)
    figure.supylabel("measured again", fontsize=8)
    figure.axes[0].legend(fontsize=7)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba(), dtype=np.uint8)[..., :3].copy()
