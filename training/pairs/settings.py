"""All settings of the pairs: a TOML file under training/configs, checked key by key."""

from __future__ import annotations

import csv
import itertools
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from icface.errors import ConfigError
from icface.networks.config import read_settings

Kind = Literal["true", "made", "opened", "self", "calmed", "talk", "render"]
Share = Annotated[float, Meta(ge=0, lt=1)]
Natural = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]


class SetConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One set: which files it takes, and what is made of them."""

    name: str
    kind: Kind
    files: tuple[str, ...]
    """Patterns of paths below the folder of photos, as `people/*/*`."""
    person: str = "^(.*)$"
    """Regular expression whose first group, in a file's path, says who it shows. Files of one person are together."""
    leave_out: tuple[str, ...] = ()
    """Patterns of paths: hands before the face, tongues that stick out, what shows no face."""
    max_turn_deg: Positive = 25.0
    """Photos with more yaw or pitch are left out."""
    min_iod_px: Positive = 50.0
    """Photos with a smaller distance of the outer eye corners are left out."""
    min_side_px: Natural = 0
    """Pictures with a shorter side are left out."""
    mouth: Literal["any", "open"] = "any"
    """`open`: of the photos, those with parted lips or a smile."""
    expressive: bool = False
    """Only photos with an expression that the product takes out."""
    painted: bool = False
    """For the kind `made`: the bundle's neutraliser paints the neutral photo, without folds. Else geometry makes it."""
    calm: tuple[str, ...] = ()
    """Patterns of paths: photos that are known to be calm. Of the pairs of one person's photos only those are made whose
    target is among them, and their sources may have shut eyes. For the kind `calmed`: what else is measured as calm is
    taken too."""
    repeats: Annotated[int, Meta(ge=1)] = 1
    """How many pairs are made of the same two pictures. Every other one has noise."""
    most: Natural = 0
    """At most so many files, drawn by the seed; 0: all of them."""


class PairsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One folder of pairs."""

    sets: tuple[SetConfig, ...]
    seed: Natural = 20
    iod_px: Annotated[float, Meta(ge=60, le=400)] = 110.0
    """Pixels from one outer eye corner to the other in the frames that are made."""
    noise: Annotated[float, Meta(ge=0, le=0.5)] = 0.05
    """Standard deviation that is added to each Action Unit of every other pair of photos."""
    drop_worst: Share = 0.04
    """Share of a set that is left out: where picture and geometry differ most."""
    bundle: str = ""
    """Path of the bundle whose networks make the expressions of the kind `calmed`, and paint the neutral photos of sets
    that are `painted`; empty: the one that ships."""
    held_out: tuple[str, ...] = ()
    """Patterns of paths of people who are for evaluation. No training pair shows them."""
    held_out_lists: tuple[str, ...] = ()
    """CSV files, from the folder of these settings; what their column `file` names is for evaluation too."""
    held_out_tenth: tuple[str, ...] = ()
    """Patterns of paths. A tenth of these, drawn by the CRC-32 of the file's name, is for evaluation too."""


def load_config(path: Path) -> PairsConfig:
    """Read a TOML file.

    Raises:
        ConfigError: unreadable, a setting that is unknown or out of range, or two sets of one name.
    """
    try:
        config = read_settings(PairsConfig, tomllib.loads(path.read_text(encoding="utf-8")))
        listed = [_listed(path.parent / name) for name in config.held_out_lists]
        config = msgspec.structs.replace(config, held_out=(*config.held_out, *itertools.chain(*listed)))
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    names = [each.name for each in config.sets]
    for name in names:
        if names.count(name) > 1 or not name.isidentifier():
            raise ConfigError(f"{path}: sets: {name!r} has to be a word of its own, as london_train")
    return config


def _listed(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return [row["file"] for row in csv.DictReader(file)]
