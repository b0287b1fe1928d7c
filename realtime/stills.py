"""One picture instead of a run: the photo as the state says, or a sheet of pictures that moves one attribute a row."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from icface.arrays import Frame
from icface.attributes import INDEX, LOWEST, MEANING, PLACE_NAMES, FloatArray, mirror
from icface.control import source as sources
from icface.control.groups import resolve
from icface.control.mixing import Inputs, mix
from icface.control.state import ControlState
from icface.control.units import read_value, show_value
from icface.errors import ConfigError
from realtime.choices import is_still
from realtime.config import LiveConfig
from realtime.disclosure import Mark, Provenance
from realtime.drawing import FAINT, INK, PAPER, save_picture, width_of, write
from realtime.drivers.still import read_still
from realtime.renderer import Renderer, Scene
from realtime.transparency import straight
from realtime.watermark import Watermark

logger = logging.getLogger(__name__)

COLUMNS: Final = 7
MOST_COLUMNS: Final = 25
MOST_ROWS: Final = 60
SHEET_MAX_PX: Final = 4096
"""Sheets are not wider; their pictures are reduced."""
USUAL_DEG: Final = {"pitch": 20.0, "yaw": 30.0, "roll": 20.0, "gaze_pitch": 20.0, "gaze_yaw": 30.0}
"""How far angles go to either side where nothing else is said."""
_GAP_PX: Final = 6


def make_still(
    config: LiveConfig,
    state: ControlState,
    renderer: Renderer,
    scenes: Sequence[Scene],
    provenance: Provenance,
) -> None:
    """Make the picture that the settings ask for, and write it.

    Args:
        config: its output is one picture.
        state: of control.
        renderer: without a mark.
        scenes: one for each source.
        provenance: goes into the picture.

    Raises:
        ICFaceError: a driver has no face, a track is to be shown, or the picture cannot be written.
    """
    path = next(path for path in config.outputs if is_still(path))
    if any(channel.source.kind == "track" for channel in state.named().values()):
        raise ConfigError(f"{path} is one picture, and a track makes many; give a name such as out-%05d.png")
    drivers = [read_still(each.path) for each in config.given if each.path is not None]
    drivers = [
        mirror(one) if number in state.mirrored else one for number, one in enumerate(drivers, start=1)
    ]
    stills = Stills(renderer, scenes, state, drivers, mark=config.mark, watermark=config.watermark)
    rows = read_sweeps(config.sweep, config.views)
    if not config.follow and any(row.name in PLACE_NAMES for row in rows):
        logger.info("the place in the picture (%s) is shown with --follow alone", ", ".join(PLACE_NAMES))
    picture = stills.sheet(rows) if rows else stills.portrait()
    save_picture(picture, path, provenance)
    logger.info("%s: %dx%d", path, picture.shape[1], picture.shape[0])


@dataclass(frozen=True)
class Sweep:
    """One row of a sheet."""

    name: str
    """An attribute, or one side of it (`left AU12`)."""
    values: tuple[float, ...]
    """In the attribute's range, from low to high."""

    @property
    def attribute(self) -> str:
        """Without the side."""
        return self.name.split()[-1]


def read_sweeps(sweep: str | None, views: str | None) -> tuple[Sweep, ...]:
    """The rows that `--sweep AU12,yaw=-20:20:5` and `--views -30:30:7` (yaw in degrees) ask for.

    Raises:
        ConfigError: an unknown name, a range that is none or runs backwards, too many rows or columns.
    """
    rows = [] if views is None else [Sweep("yaw", _range("yaw", views, f"--views {views}", degrees=True))]
    for part in () if sweep is None else sweep.split(","):
        name, _, span = (each.strip() for each in part.partition("="))
        for one in resolve(name):
            attribute = one.split()[-1]
            rows.append(Sweep(one, _range(attribute, span, f"--sweep {part}")))
    if len(rows) > MOST_ROWS:
        raise ConfigError(
            f"--sweep {sweep}: {len(rows)} rows are too many for a picture; {MOST_ROWS} are the most"
        )
    return tuple(rows)


def _range(name: str, span: str, flag: str, *, degrees: bool = False) -> tuple[float, ...]:
    """`LOW:HIGH`, `LOW:HIGH:COLUMNS` or nothing, as values of an attribute. Angles beyond 1 are degrees."""
    most = USUAL_DEG.get(name)
    usual = f"{LOWEST[INDEX[name]]:g}:1" if most is None else f"-{most:g}deg:{most:g}deg"
    low_text, _, rest = (span or usual).partition(":")
    high_text, _, columns = rest.partition(":")
    if not low_text or not high_text:
        raise ConfigError(f"{flag}: write LOW:HIGH or LOW:HIGH:COLUMNS, such as -30:30:7")
    degrees = degrees or (most is not None and any(abs(_float(text)) > 1 for text in (low_text, high_text)))
    low, high = (
        read_value(name, text if not degrees or text.endswith("deg") else f"{text}deg")
        for text in (low_text, high_text)
    )
    if low >= high:
        raise ConfigError(f"{flag} runs backwards; write the lower value first")
    columns = columns or str(COLUMNS)
    if not columns.isdecimal() or not 2 <= int(columns) <= MOST_COLUMNS:
        raise ConfigError(f"{flag}: {columns!r} columns; give 2 to {MOST_COLUMNS}")
    return tuple(float(value) for value in np.linspace(low, high, int(columns)))


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


class Stills:
    """Makes pictures of one or more photos. One thread owns it.

    Args:
        renderer: without a mark; here marks are drawn when the picture has its size.
        scenes: the photos.
        state: of control.
        drivers: (SIZE,) of each still driver, as it is to be shown.
        mark: draw the disclosure mark.
        watermark: add the invisible one.
    """

    def __init__(
        self,
        renderer: Renderer,
        scenes: Sequence[Scene],
        state: ControlState,
        drivers: Sequence[FloatArray] = (),
        *,
        mark: bool = True,
        watermark: bool = False,
    ) -> None:
        self._renderer = renderer
        self._scenes = scenes
        self._state = state
        self._drivers = drivers
        self._marked = mark
        self._watermark = Watermark() if watermark else None

    def portrait(self) -> NDArray[np.uint8]:
        """The first photo as the state says: (H, W, 3) RGB, or RGBA with straight colours of a transparent scene."""
        picture = self._render(self._scenes[0], self._state).copy()
        self._add_watermark(picture)
        self._mark(picture)
        return straight(picture) if picture.shape[2] == 4 else picture

    def sheet(self, rows: Sequence[Sweep]) -> Frame:
        """All rows of each photo: one attribute moves from left to right, the others stay as the state says.

        (H, W, 3) RGB on white.
        """
        columns = max(len(row.values) for row in rows)
        width_px, height_px = self._renderer.size_px
        labels = len(rows) > 1 or rows[0].name != "yaw"
        room_px = SHEET_MAX_PX * (0.88 if labels else 1.0) / columns - _GAP_PX
        scale = min(1.0, room_px / width_px)
        tile_px = round(width_px * scale), round(height_px * scale)
        mark = Mark(*tile_px) if self._marked else None
        tiles = [
            [self._tile(scene, row.name, value, tile_px, mark) for value in row.values]
            for scene in self._scenes
            for row in rows
        ]
        picture = _laid_out([*rows] * len(self._scenes), tiles, labels)
        self._add_watermark(picture)
        return picture

    def _tile(
        self, scene: Scene, name: str, value: float, size_px: tuple[int, int], mark: Mark | None
    ) -> Frame:
        state = self._state.with_channels(
            name, source=sources.value(value), gain=1.0, offset=0.0, low=None, high=None, locked=False
        )
        picture = self._render(scene, state)
        if picture.shape[2] == 4:
            picture = picture[..., :3] + (255 - picture[..., 3:])
        tile = picture.copy() if picture.shape[1::-1] == size_px else _reduced(picture, size_px)
        if mark is not None:
            mark.apply(tile)
        return tile

    def _render(self, scene: Scene, state: ControlState) -> Frame:
        if scene is not self._renderer.scene:
            self._renderer.show(scene)
        return self._renderer.render(mix(state, Inputs(drivers=self._drivers, photo=scene.source.own)))

    def _add_watermark(self, picture: Frame) -> None:
        if self._watermark is not None:
            self._watermark.apply(picture)

    def _mark(self, picture: Frame) -> None:
        if self._marked:
            Mark(*picture.shape[1::-1]).apply(picture)


def _reduced(picture: Frame, size_px: tuple[int, int]) -> Frame:
    return np.asarray(cv2.resize(picture, size_px, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _laid_out(rows: Sequence[Sweep], tiles: Sequence[Sequence[Frame]], labels: bool) -> Frame:
    """Tiles on paper: what each row moves at its left, the value under each picture."""
    height_px, width_px = tiles[0][0].shape[:2]
    text_px = int(np.clip(height_px * 0.06, 13, 40))
    small_px = round(text_px * 0.8)
    meanings = [MEANING.get(row.attribute) or MEANING[row.attribute.removesuffix("_side")] for row in rows]
    label_px = 0
    if labels:
        names = [width_of(row.name, text_px) for row in rows]
        label_px = round(max(*names, *(width_of(meaning, small_px) for meaning in meanings))) + 3 * _GAP_PX
    row_px = height_px + round(small_px * 1.7)
    columns = max(len(row) for row in tiles)
    size = label_px + columns * (width_px + _GAP_PX) + _GAP_PX, len(rows) * row_px + 2 * _GAP_PX
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for i, (row, meaning) in enumerate(zip(rows, meanings, strict=True)):
        top_px = _GAP_PX + i * row_px
        if labels:
            middle_px = top_px + height_px / 2
            write(draw, (2 * _GAP_PX, middle_px - text_px * 0.6), row.name, text_px)
            write(draw, (2 * _GAP_PX, middle_px + text_px * 0.6), meaning, small_px, FAINT)
        for column, (value, tile) in enumerate(zip(row.values, tiles[i], strict=True)):
            left_px = label_px + _GAP_PX + column * (width_px + _GAP_PX)
            sheet.paste(Image.fromarray(tile), (left_px, top_px))
            at_px = left_px + width_px / 2, top_px + height_px + small_px * 0.8
            write(draw, at_px, show_value(row.attribute, value), small_px, INK, "mm")
    return np.array(sheet, dtype=np.uint8)
