"""Decides who is trained on, who chooses the best model (validation) and who is reported (test). Nobody is in two."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from icface.errors import ConfigError
from training.dataset.index import SPLITS
from training.preparation.clips import Clip

KEPT: Final = ("test", "validation")
"""The splits that are not trained on, in the order in which they get persons where there are few."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the user says of the splits that are not trained on."""

    shares: Mapping[str, float]
    """By split: its part of the persons, from 0 to below 1."""
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By split: patterns of names, as `id0*`. They take the place of the split's share."""


def split_clips(clips: Sequence[Clip], wanted: Wanted, seed: int) -> dict[str, tuple[str, ...]]:
    """Persons by split. Those with clips and those with portraits are drawn apart, so that each split gets both.

    Raises:
        ConfigError: see `split_identities`.
    """
    moving = {clip.identity for clip in clips if not clip.is_portrait}
    still = {clip.identity for clip in clips} - moving
    return split_identities([sorted(moving), sorted(still)], wanted, seed)


def split_identities(
    groups: Sequence[Sequence[str]], wanted: Wanted, seed: int
) -> dict[str, tuple[str, ...]]:
    """Persons by split, drawn group by group. The splits hardly change when persons come or go.

    Each split whose share is not 0 gets at least one person of a group, as long as one is left to train on: of three
    persons one goes to each split, of two one to testing and none to validation.

    Raises:
        ConfigError: a pattern fits nobody, two splits want the same person, or nobody is left to train on.
    """
    people = [name for group in groups for name in group]
    found = {split: _named(people, split, wanted.names.get(split, ())) for split in KEPT}
    twice = found["test"] & found["validation"]
    if twice:
        raise ConfigError(f"--test-identity and --validation-identity both name {min(twice)}")
    named = found["test"] | found["validation"]
    for group in groups:
        left = sorted(set(group) - named, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
        count = len(left)
        for split in KEPT:
            share = 0.0 if wanted.names.get(split) else wanted.shares[split]
            taken = min(max(round(count * share), int(share > 0)), max(len(left) - 1, 0))
            found[split].update(left[:taken])
            left = left[taken:]
    found["train"] = set(people) - found["test"] - found["validation"]
    if not found["train"]:
        flags = " and ".join(f"--{split}-identity" for split in KEPT if wanted.names.get(split))
        raise ConfigError(f"{flags}: nobody is left to train on")
    return {split: tuple(sorted(found[split])) for split in SPLITS}


def _named(people: Sequence[str], split: str, patterns: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        fitting = [name for name in people if fnmatchcase(name, pattern)]
        if not fitting:
            raise ConfigError(
                f"--{split}-identity {pattern}: there is no such person; there are {', '.join(sorted(people)[:5])} …"
            )
        found.update(fitting)
    return found


def too_few(splits: Mapping[str, Sequence[str]], wanted: Wanted) -> str | None:
    """One line where a split that was asked for has nobody; None where all is well."""
    empty = [split for split in KEPT if wanted.shares[split] > 0 and not splits[split]]
    if not empty:
        return None
    meant = {
        "validation": "train.py will choose best.safetensors on people whom it trains on",
        "test": "evaluate.py will need --split train",
    }
    return (
        f"nobody is left for {' and '.join(empty)} ({'; '.join(meant[split] for split in empty)}): there are only "
        f"{len(splits['train'])} persons to train on and {len(splits['test'])} to test on; add clips of others"
        + (", or name fewer with --test-identity" if wanted.names.get("test") else "")
    )
