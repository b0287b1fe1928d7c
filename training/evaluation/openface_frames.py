"""Presence as OpenFace saw it: from the data set, or from CSV files of the frames that --save-frames wrote.

The frames of an answer go to a folder `frames/MODEL.KIND.NUMBER`, those that drove it to `frames/driver.KIND.NUMBER`.
`FeatureExtraction -fdir FOLDER` names its CSV after the folder, so we know what the CSV belongs to.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import cv2

from icface.errors import ConfigError
from icface.face.viewer import enlarged
from training.dataset.reading import FaceTracks
from training.evaluation.presence import Presence
from training.evaluation.protocol import Answer
from training.evaluation.tasks import Task
from training.preparation.openface_csv import read_presence

logger = logging.getLogger(__name__)


def _folder_name(model: str, kind: str, task: Task) -> str:
    """Folder of the frames of one answer; also the stem of its CSV."""
    return f"{model}.{kind}.{task.number:03d}"


def find_tables(sources: Sequence[Path]) -> dict[str, Path]:
    """CSV files by stem, from files and folders.

    Raises:
        ConfigError: one is missing, or two have the same name.
    """
    tables: dict[str, Path] = {}
    for source in sources:
        for path in sorted(source.glob("*.csv")) if source.is_dir() else [source]:
            if not path.is_file():
                raise ConfigError(f"there is no OpenFace CSV {path}")
            if path.stem in tables:
                raise ConfigError(f"{path} and {tables[path.stem]} have the same name; give one of them")
            tables[path.stem] = path
    return tables


def check_tables(
    tables: Mapping[str, Path], names: Iterable[str], tasks: Mapping[str, Sequence[Task]]
) -> None:
    """Say which tables belong to no frames of these models.

    Raises:
        ConfigError: none does.
    """
    known = {
        _folder_name(name, kind, task)
        for name in (*names, "driver")
        for kind, each in tasks.items()
        for task in each
    }
    strange = sorted(set(tables) - known)
    if not strange:
        return
    told = (
        f"{len(strange)} of {len(tables)} OpenFace CSVs belong to no frames of this evaluation, as {tables[strange[0]]}; "
        "give the models, the data and the flags that wrote the frames"
    )
    if len(strange) == len(tables):
        raise ConfigError(told)
    logger.warning("%s", told)


def openface_presence(
    tracks: FaceTracks, tables: Mapping[str, Path], model: str, kind: str, side: str, task: Task
) -> Presence | None:
    """Presence as OpenFace saw it, of one model and tasks of one kind; see `training.evaluation.protocol.PresenceOf`.

    Raises:
        ConfigError: a table has not one row a frame.
    """
    table = tables.get(_folder_name("driver" if side == "driver" else model, kind, task))
    if table is not None:
        found = read_presence(table)
        if len(found) != len(task.driving):
            raise ConfigError(
                f"{table} has {len(found)} rows for {len(task.driving)} frames; "
                "evaluate with the flags that wrote the frames"
            )
        return found
    known = tracks.values_of(task.driving).presence
    return known if side == "driver" and (known >= 0).any() else None


def save_frames(folder: Path, model: str, kind: str, answer: Answer) -> None:
    """Write an answer's frames, and those that drove it, enlarged so that OpenFace sees them."""
    for name, frames in ((model, answer.output), ("driver", answer.driving)):
        place = folder / _folder_name(name, kind, answer.task)
        if place.exists():
            continue
        place.mkdir(parents=True)
        for i, frame in enumerate(frames):
            cv2.imwrite(str(place / f"{i:05d}.png"), cv2.cvtColor(enlarged(frame), cv2.COLOR_RGB2BGR))
