"""Make the networks that ship with the geometric bundle, from nothing: the corrector, the neutraliser, and folds.

    python training/make_edge.py --photos FOLDER --perceptual SQUEEZENET_ONNX --out RUN

For each it makes those sets of pairs that its config draws from, trains, and measures the result on people that were
not trained on. The neutraliser's pairs are made with the corrector. Then the corrector learns folds, on photos whose
expression the neutraliser has painted away. The bundle is packed. Seeds are the configs'.
The same command again goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

if not __package__:  # started as a file: the repository takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from export import pack_edge
from icface.command import Parser, run_command
from icface.errors import ConfigError
from icface.networks import load_corrector
from training import evaluate_patch, make_pairs, train
from training.learning.config import load_config
from training.learning.patch.config import PatchTrainConfig

CONFIGS: Final = Path(__file__).parent / "configs"
EVALUATED: Final = ("openpeople", "london")
"""Sets of true pairs, whose held-out people the results are measured on."""
PAINTED: Final = ("openpeople_painted", "london_painted")
"""Those that folds are measured on, too."""


def parser() -> argparse.ArgumentParser:
    """The command's flags."""
    result = Parser(description="Make the networks that ship, from nothing. The same command again goes on.")
    add = result.add_argument
    add(
        "--photos",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="the material that the pairs' configs name",
    )
    add("--perceptual", type=Path, required=True, metavar="ONNX", help="SqueezeNet with taps")
    add("--out", type=Path, required=True, metavar="RUN", help="folder of the pairs, the runs and the bundle")
    for name, file in (
        ("corrector", "edge_face.toml"), ("neutraliser", "edge_neutral.toml"), ("folds", "edge_folds.toml"),
    ):  # fmt: skip
        ships = f"of the {name}'s training (default: what ships)"
        add(f"--{name}", type=Path, default=CONFIGS / file, metavar="TOML", help=ships)
    add("--threads", type=int, help="CPU threads (default: all)")
    add("-v", "--verbose", action="count", default=0, help="-vv shows tracebacks")
    return result


def make(flags: argparse.Namespace) -> None:
    """Run the command. Each step says itself what failed.

    Raises:
        ConfigError: a step failed.
    """
    configs = [_config(path) for path in (flags.corrector, flags.neutraliser, flags.folds)]
    sets, calm_sets = CONFIGS / "pairs.toml", CONFIGS / "pairs_neutral.toml"
    first = _trained(flags, "corrector", flags.corrector, configs[0], sets)
    bundle = flags.out / "corrector" / "bundle"
    _step(pack_edge.main, "--weights", first, "--no-neutraliser", "--out", bundle)
    calms = _trained(flags, "neutraliser", flags.neutraliser, configs[1], calm_sets, bundle=bundle)
    bundle = flags.out / "neutraliser" / "bundle"
    _step(pack_edge.main, "--weights", first, "--neutraliser", calms, "--out", bundle)
    measured = EVALUATED + PAINTED
    folds = _trained(
        flags, "folds", flags.folds, configs[2], sets, bundle=bundle, start=first, evaluated=measured
    )
    _step(pack_edge.main, "--weights", folds, "--neutraliser", calms, "--out", flags.out / "bundle")


def _config(path: Path) -> PatchTrainConfig:
    config = load_config(path)
    if not isinstance(config, PatchTrainConfig):
        raise ConfigError(f"{path} does not train a patch corrector; its method has to be patch")
    return config


def _trained(
    flags: argparse.Namespace,
    name: str,
    path: Path,
    config: PatchTrainConfig,
    sets: Path,
    *,
    bundle: Path | None = None,
    start: Path | None = None,
    evaluated: tuple[str, ...] = EVALUATED,
) -> Path:
    """The weights of one network.

    Args:
        flags: the command's.
        name: of its folder.
        path: of its config.
        config: what that says.
        sets: says which pairs there are.
        bundle: makes what some pairs need.
        start: weights that the training begins with.
        evaluated: sets whose held-out people it is measured on.
    """
    out: Path = flags.out / name
    pairs, held_out, run = out / "pairs", out / "pairs_eval", out / "run"
    material = ["--photos", flags.photos, "--config", sets, *(["--bundle", bundle] if bundle else [])]
    _step(make_pairs.main, *material, "--out", pairs, *_only(config.sampling.shares))
    _step(make_pairs.main, *material, "--out", held_out, "--evaluation", *_only(evaluated))
    with_networks = [
        "--perceptual",
        flags.perceptual,
        *(["--threads", flags.threads] if flags.threads else []),
    ]
    data = ["--data", pairs, "--validation", held_out]
    begins = ["--start", start] if start else []
    _step(train.main, "--config", path, *data, *with_networks, *begins, "--out", run)
    # The last step's, not the best: so nothing was chosen on the people it is measured on.
    weights = run / "model.safetensors"
    if not weights.exists() or load_corrector(weights)[1].step < config.steps:
        raise ConfigError(f"the training in {run} was stopped; the same command again goes on")
    measured = ["--data", held_out, "--model", weights, *with_networks]
    _step(evaluate_patch.main, *measured, "--out", run / "sheets")
    return weights


def _only(sets: Iterable[str]) -> list[str]:
    return [word for name in sets for word in ("--only", name)]


def _step(main: Callable[[list[str]], int], *argv: object) -> None:
    if main([str(word) for word in argv]) != 0:
        raise ConfigError("a step failed; what it said is above. The same command again goes on there")


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    return run_command(parser(), make, argv)


if __name__ == "__main__":
    sys.exit(main())
