"""Pictures of measured figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from icface.errors import ICFaceError

WIDTH_IN: Final = 8.0
ROW_IN: Final = 0.34
PERCENTILES: Final = (("p50_ms", 1.0), ("p95_ms", 0.5), ("p99_ms", 0.25))
"""The parts of a bar, and how dark each is."""


def save_stages(path: Path, figures: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
    """Every leg of every variant: a bar a stage up to its p50, fainter on to p95 and p99.

    Args:
        path: of the picture; its ending tells the format (.png, .svg, .pdf).
        figures: by variant and leg, as `benchmarks.fps` has them.

    Raises:
        ICFaceError: matplotlib is not installed, knows no such format, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ICFaceError(f'a plot needs matplotlib ({error}); pip install ".[train]"') from error
    rows = [len(leg["stages"]) for leg in figures.values()]
    figure = Figure(figsize=(WIDTH_IN, sum(rows) * ROW_IN + 0.9 * len(rows)), layout="constrained")
    places = figure.subplots(len(rows), 1, squeeze=False, height_ratios=rows, sharex=True)[:, 0]
    for place, ((variant, leg), values) in zip(places, figures.items(), strict=True):
        stages = values["stages"]
        for key, shade in reversed(PERCENTILES):
            place.barh(
                list(stages), [s[key] for s in stages.values()], color="tab:blue", alpha=shade, label=key[:3]
            )
        place.invert_yaxis()
        place.set_title(
            f"{variant}, {leg}: {values['fps']:.1f} FPS, {values['cpu_share']:.0%} of the CPU", fontsize=9
        )
    places[0].legend(fontsize=8)
    places[-1].set_xlabel("ms")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise ICFaceError(f"cannot write {path}: {error}") from error
