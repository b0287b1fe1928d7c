"""Runs a target on many inputs; the smallest input that breaks the contract is what hypothesis then shows."""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, Final

import hypothesis
from hypothesis import HealthCheck, Phase

from tests.fuzz.targets import TARGETS, Target

AT_ONCE: Final = 50
"""Inputs of one seed."""


def fuzz(target: Target, examples: int, seed: int | None = None, keep: Path | None = None) -> None:
    """Raise what an input broke.

    Args:
        target: what reads them.
        examples: how many inputs.
        seed: of the inputs; None: the same ones at every run.
        keep: is given the input that is being read, so that it is there when the process dies.
    """
    folder = Path(tempfile.mkdtemp(prefix="icface-fuzz-"))

    def check(given: Any) -> None:
        if keep is not None:
            keep.write_bytes(
                given if isinstance(given, bytes) else repr(given).encode(errors="backslashreplace")
            )
        inside = folder / "one"
        inside.mkdir()
        try:
            target.run(given, inside)
        finally:
            shutil.rmtree(inside)

    run = hypothesis.given(target.inputs())(check)
    if seed is not None:
        run = hypothesis.seed(seed)(run)
    limits = hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=seed is None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # thousands of damaged files are thousands of warnings
    try:
        limits(run)()
    finally:
        logging.disable(before)
        shutil.rmtree(folder, ignore_errors=True)


def turn(name: str, seed: int, until_s: float, keep: Path) -> None:
    """Fuzz a target with one seed after the other; the process ends with 1 where something was found."""
    while True:
        try:
            fuzz(TARGETS[name], AT_ONCE, seed, keep)
        except BaseException:
            keep.with_suffix(".txt").write_text(traceback.format_exc(), encoding="utf-8")
            sys.exit(1)
        if time.time() >= until_s:
            return
        seed += 1
