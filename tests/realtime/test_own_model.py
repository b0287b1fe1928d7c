"""A model of one person: it is shown with its own picture, and its consent can be required."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import cv2
import pytest

from icface.bundle import DEFAULT_BUNDLE, MANIFEST
from icface.errors import ConfigError
from realtime import consent
from realtime.cli import main
from realtime.flags import config_from, parser

AGREED = {"who": "Ada Lovelace", "when": "2026-11-30T10:00:00Z", "agreed": True}


def model(folder: Path, repository: Path, **entries: object) -> Path:
    """The model that ships, with a picture of its own."""
    shutil.copytree(DEFAULT_BUNDLE, folder)
    photo = cv2.imread(str(repository / "examples/source.jpg"))
    assert photo is not None
    cv2.imwrite(str(folder / "source.png"), photo)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"]["source.png"] = hashlib.sha256((folder / "source.png").read_bytes()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest | {"source": "source.png"} | entries))
    return folder


def test_its_own_picture_is_shown_where_no_photo_is_named(tmp_path: Path, repository: Path) -> None:
    own = model(tmp_path / "me.icface", repository, consent=AGREED)
    flags = parser().parse_args(["--model", str(own), "--null"])
    assert config_from(flags).sources == (own / "source.png",) and flags.agreed
    other = str(repository / "examples/source.jpg")
    flags = parser().parse_args([other, "--model", str(own), "--null"])
    assert config_from(flags).sources == (Path(other),) and not flags.agreed
    with pytest.raises(ConfigError, match="no photo"):
        config_from(parser().parse_args(["--model", str(DEFAULT_BUNDLE), "--null"]))


@pytest.mark.slow
def test_a_run_that_shows_it_asks_nobody(
    tmp_path: Path, repository: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = model(tmp_path / "me.icface", repository, consent=AGREED)
    asked: list[Path] = []
    monkeypatch.setattr(consent, "check_consent", lambda photos, *rest: asked.extend(photos))
    command = ["--model", str(own), "--require-consent", "--size", "256", "--output"]
    assert main([*command, str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").is_file() and not asked


def test_a_model_without_consent_is_refused_where_it_is_required(
    tmp_path: Path, repository: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = model(tmp_path / "me.icface", repository)
    photo = str(repository / "examples/source.jpg")
    command = [photo, "--model", str(own), "--require-consent", "--output", str(tmp_path / "a.png")]
    assert main(command) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("error: ") and "does not say that the person whom it shows agreed" in told
    assert not (tmp_path / "a.png").exists()
