"""From nothing to a bundle: each step gets what the one before made, and nothing is packed that is not finished."""

from __future__ import annotations

from pathlib import Path

import pytest

from icface.networks import CorrectorInfo, PatchConfig, PatchCorrector, save_corrector
from training import make_edge

SMALL = PatchConfig(channels=(4, 4, 4, 4), hidden=4)
CONFIG = """\
method = "patch"
steps = 7
[network]
channels = [4, 4, 4, 4]
hidden = 4
[sampling.shares]
london = 1.0
sfhq_made = 0.5
"""


class Steps:
    """The four commands, which only tell that they were called. Training reaches `step`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
        self.called: list[tuple[str, list[str]]] = []
        self.fails = ""
        for name in ("make_pairs", "train", "evaluate_patch", "pack_edge"):

            def run(argv: list[str], name: str = name) -> int:
                self.called.append((name, argv))
                if name == "train":
                    out = Path(argv[argv.index("--out") + 1])
                    out.mkdir(parents=True, exist_ok=True)
                    info = CorrectorInfo(network=SMALL, provenance="", licence="", step=step)
                    save_corrector(out / "model.safetensors", PatchCorrector(SMALL), info)
                return int(name == self.fails)

            monkeypatch.setattr(getattr(make_edge, name), "main", run)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.called]


def command(folder: Path) -> int:
    config = folder / "small.toml"
    config.write_text(CONFIG, encoding="utf-8")
    flags = ["--photos", folder, "--perceptual", folder / "taps.onnx", "--out", folder / "made"]
    flags += ["--corrector", config, "--neutraliser", config, "--folds", config]
    return make_edge.main([str(flag) for flag in flags])


def test_each_step_gets_what_the_one_before_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch, step=7)
    assert command(tmp_path) == 0
    one_network = ["make_pairs", "make_pairs", "train", "evaluate_patch", "pack_edge"]
    assert steps.names == one_network * 3
    weights, begins = {}, {}
    for number, name in enumerate(("corrector", "neutraliser", "folds")):
        made = tmp_path / "made" / name
        learned, held, begins[name], measured, _ = (
            " ".join(argv) for _, argv in steps.called[5 * number : 5 * number + 5]
        )
        assert learned.endswith(f"--out {made / 'pairs'} --only london --only sfhq_made")
        painted = " --only openpeople_painted --only london_painted" if name == "folds" else ""
        assert held.endswith(
            f"--out {made / 'pairs_eval'} --evaluation --only openpeople --only london{painted}"
        )
        assert f"--data {made / 'pairs'} --validation {made / 'pairs_eval'}" in begins[name]
        weights[name] = made / "run" / "model.safetensors"
        assert f"--data {made / 'pairs_eval'} --model {weights[name]}" in measured
    assert "--start" not in begins["corrector"] + begins["neutraliser"]
    assert f"--start {weights['corrector']}" in begins["folds"]
    packed = [" ".join(steps.called[place][1]) for place in (4, 9, 14)]
    bundles = [tmp_path / "made" / name / "bundle" for name in ("corrector", "neutraliser", "")]
    both = f"--weights {weights['corrector']} --neutraliser {weights['neutraliser']}"
    assert packed[0] == f"--weights {weights['corrector']} --no-neutraliser --out {bundles[0]}"
    assert packed[1] == f"{both} --out {bundles[1]}"
    assert (
        packed[2] == f"--weights {weights['folds']} --neutraliser {weights['neutraliser']} --out {bundles[2]}"
    )
    for number, bundle in ((5, bundles[0]), (10, bundles[1])):
        assert f"--bundle {bundle}" in " ".join(steps.called[number][1])


def test_a_training_that_was_stopped_is_not_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = Steps(monkeypatch, step=6)
    assert command(tmp_path) == 2
    assert steps.names[-1] == "train"
    assert "was stopped; the same command again goes on" in capsys.readouterr().err


def test_a_step_that_fails_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch, step=7)
    steps.fails = "make_pairs"
    assert command(tmp_path) == 2
    assert steps.names == ["make_pairs"]


def test_a_config_of_another_method_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_edge.CONFIGS / "small.toml"
    flags = ["--photos", tmp_path, "--perceptual", tmp_path, "--out", tmp_path, "--corrector", config]
    assert make_edge.main([str(flag) for flag in flags]) == 2
    assert "does not train a patch corrector" in capsys.readouterr().err
