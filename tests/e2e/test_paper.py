"""A model of the paper family from its checkpoint to a video and through the live loop, by the commands a user types."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from export.pack_paper import main as pack_paper
from icface.arrays import Frame
from icface.attributes import FloatArray
from icface.images import load_photo
from icface.networks import ModelInfo, save_model
from icface.networks.config import GeneratorConfig, NetworksConfig
from icface.reenactor import Reenactor
from realtime.cli import main
from realtime.hotkeys import TerminalKeys
from realtime.scheduler import REPEAT
from tests.e2e.measuring import REPOSITORY, frames
from tests.export.models import random_model

FRAMES = 20
SOURCE, DRIVER = REPOSITORY / "examples/rendered.jpg", REPOSITORY / "examples/driver.mp4"

WITHOUT_TORCH = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
from realtime.cli import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed model; its pictures are noise that follows the attributes."""
    networks = NetworksConfig(size_px=64, generator=GeneratorConfig(width=8, blocks=1))
    path = tmp_path_factory.mktemp("run") / "best.safetensors"
    info = ModelInfo(networks=networks, provenance="random weights", licence="MIT", step=0)
    save_model(path, random_model(networks), info)
    assert pack_paper([str(path)]) == 0
    return path.with_suffix(".icface")


def run(*flags: str | Path, code: int = 0) -> None:
    assert main([str(flag) for flag in flags]) == code


def report_of(path: Path) -> dict[str, dict[str, object]]:
    report: dict[str, dict[str, object]] = json.loads(path.read_text())
    return report


@pytest.mark.parametrize(("size", "side"), [("256", 256), ("native", 64)])
def test_a_clip_drives_a_photo_from_file_to_file(model: Path, tmp_path: Path, size: str, side: int) -> None:
    """Where there is no torch; every driver frame once, none of them shown."""
    arguments = (
        "--source", SOURCE, "--model", model, "--camera", DRIVER, "--output", tmp_path / "out.mp4",
        "--size", size, "--frames", FRAMES, "--stats", tmp_path / "stats.json", "--mark", "off",
    )  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)],
        cwd=REPOSITORY, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    shown = list(frames(tmp_path / "out.mp4"))
    assert len(shown) == FRAMES and all(frame.shape == (side, side, 3) for frame in shown)
    assert any((a != b).any() for a, b in pairwise(shown)), "the driver moves it"
    for frame, raw in zip(shown, frames(DRIVER), strict=False):
        low = [cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA) for picture in (frame, raw)]
        assert abs(np.corrcoef(low[0].ravel(), low[1].ravel())[0, 1]) < 0.5
    report = report_of(tmp_path / "stats.json")
    assert report["frames"]["sent"] == FRAMES and report["about"]["crop_px"] == side
    assert "golden frame" in str(report["about"]["engine"])


def test_in_its_photo(model: Path, tmp_path: Path) -> None:
    """The photo around the crop stays as it is, at the photo's own size."""
    run(
        "--source", SOURCE, "--model", model, "--camera", DRIVER, "--output", tmp_path / "out.mp4",
        "--framing", "photo", "--frames", "4", "--mark", "off",
    )  # fmt: skip
    shown = list(frames(tmp_path / "out.mp4"))
    photo = load_photo(SOURCE).frame
    height, width = shown[0].shape[:2]
    assert len(shown) == 4 and abs(width / height - photo.shape[1] / photo.shape[0]) < 0.02
    still = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA).astype(int)
    corner = slice(0, height // 16), slice(0, width // 16)
    assert np.abs(shown[-1][corner].astype(int) - still[corner]).mean() < 6
    middle = slice(2 * height // 5, 3 * height // 5), slice(2 * width // 5, 3 * width // 5)
    assert np.abs(shown[-1][middle].astype(int) - still[middle]).mean() > 20


def test_live_with_two_sources_and_a_hotkey(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.png"
    Image.fromarray(255 - load_photo(SOURCE).frame[:, ::-1]).save(other)
    monkeypatch.setattr(TerminalKeys, "poll_key", lambda self: "2")
    run(
        "--source", SOURCE, "--source", other, "--model", model, "--camera", DRIVER, "--pace", "--loop",
        "--output", tmp_path / "out.mp4", "--duration", "3", "--stats", tmp_path / "stats.json",
        "--engine", "onnxruntime",
    )  # fmt: skip
    report = report_of(tmp_path / "stats.json")
    assert report["about"]["mode"] == "live" and "ONNX Runtime" in str(report["about"]["engine"])
    shown = list(frames(tmp_path / "out.mp4"))
    assert len(shown) == report["frames"]["sent"] and len(shown) > 20
    steps = [np.abs(a.astype(int) - b).mean() for a, b in pairwise(shown)]
    assert max(steps) > 4 * np.median(steps), "a cut from the first photo to the second"


def test_a_model_too_slow_for_the_camera(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop goes on at its rate, at the last level, with the one model that it opened."""
    animate, opened = Reenactor.animate, []
    initialise = Reenactor.__init__

    def slowly(self: Reenactor, attributes: FloatArray) -> Frame:
        time.sleep(0.06)
        return animate(self, attributes)

    def count(self: Reenactor, *args: object, **kwargs: object) -> None:
        opened.append(self)
        initialise(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Reenactor, "animate", slowly)
    monkeypatch.setattr(Reenactor, "__init__", count)
    run(
        "--source", SOURCE, "--model", model, "--camera", DRIVER, "--pace", "--loop", "--null",
        "--duration", "4", "--stats", tmp_path / "stats.json",
    )  # fmt: skip
    report = report_of(tmp_path / "stats.json")
    assert len(opened) == 1
    assert REPEAT in report["levels"], report["levels"]
    assert report["frames"]["sent"] > 30  # type: ignore[operator]


@pytest.mark.parametrize(
    ("flags", "words", "code"),
    [
        (("--model", "{model}.safetensors"), "is not a model bundle", 1),
        (("--model", "{model}.icface", "--engine", "host"), "no variant that runs on the host", 1),
        (("--model", "{changed}"), "trained on crops by 'mine', not by", 1),
        (("--model", "{damaged}"), "animate.onnx is not the file that manifest.json names", 1),
        (("--model", "{model}.icface", "--source", "{dark}"), "no face found in", 1),
    ],
)
def test_what_cannot_be_run_is_one_line(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
    words: str,
    code: int,
) -> None:
    changed, damaged = (Path(shutil.copytree(model, tmp_path / name)) for name in ("changed", "damaged"))
    manifest = json.loads((changed / "manifest.json").read_text())
    (changed / "manifest.json").write_text(json.dumps(manifest | {"alignment": "mine"}))
    with (damaged / "animate.onnx").open("r+b") as file:
        file.write(b"\x00\x01\x02")
    dark = tmp_path / "dark.png"
    Image.fromarray(np.full((120, 120, 3), 30, np.uint8)).save(dark)
    names = {"model": model.with_suffix(""), "changed": changed, "damaged": damaged, "dark": dark}
    given = [flag.format(**names) for flag in flags]
    if "--source" not in given:
        given += ["--source", str(SOURCE)]
    run("--camera", DRIVER, "--null", *given, code=code)
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and words in errors[0]
