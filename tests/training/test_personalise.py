"""`icface-live personalise`: what it refuses, how it asks, films, goes on after an interruption, and cleans up."""

from __future__ import annotations

import importlib.util
import io
import signal
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.errors import ConfigError, DeviceError, ICFaceError
from realtime.cameras import CapturedFrame
from realtime.cli import main as live
from realtime.process import signals
from tests.realtime.clips import length_s
from tests.realtime.fakes import ScriptedCamera
from tests.training.footage import PORTRAIT, driver_frames, write_clip
from training.personal import stages
from training.personal.agreeing import ask_consent
from training.personal.cutting import SOURCE
from training.personal.gather import FRAMES
from training.personal.recording import PROMPTS, Prompter, prompt_at, record
from training.personalise import main

AGREED = ("--consent", "yes", "--person", "Ada Lovelace")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rendered driver, 8 s at 5 FPS."""
    return write_clip(tmp_path_factory.mktemp("clip") / "me.mp4", driver_frames()[::2], fps=5)


class Made:
    """Stands in for the stages after `gather`, and tells which were done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.fails: BaseException | None = None
        self.packed: dict[str, Any] = {}
        monkeypatch.setattr(stages, "_usual_minutes", lambda: 1.0)
        self._module(monkeypatch, "training.personal.fit", fit_person=self._fit)
        self._module(monkeypatch, "training.personal.pairs", make_pairs=self._pairs)
        self._module(monkeypatch, "training.personal.tune", tune=self._tune)
        self._module(monkeypatch, "export.pack_edge", pack=self._pack)
        self._module(monkeypatch, "icface.networks.checkpoint", load_corrector=self._load)
        self._module(monkeypatch, "training.personal.start", neutraliser_of=lambda: "neutraliser")

    def _module(self, monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)

    def _fit(self, frames: list[Any]) -> dict[str, np.ndarray]:
        self.done.append(f"fit {len(frames) > 1}")
        return {"neutral_shape": np.zeros((468, 3), np.float32)}

    def _pairs(self, frames: list[Any], person: Any, out: Path, progress: Any) -> None:
        if self.fails is not None:
            raise self.fails
        assert list(person) == ["neutral_shape"]
        self.done.append("pairs")

    def _tune(self, pairs: Path, out: Path, minutes: float, progress: Any) -> str:
        self.done.append(f"tune {minutes:g}")
        out.with_suffix(".run").mkdir()  # a run that is there would go on
        return "the mouth came nearer by a tenth"

    def _load(self, path: Path) -> tuple[str, Any]:
        class Info:
            licence, provenance = "MIT", "one person"

        return "network", Info

    def _pack(self, out: Path, network: Any, neutraliser: Any, **given: Any) -> None:
        assert given["like"].path == DEFAULT_BUNDLE
        self.packed = given | {"source is": given["source"].read_bytes()[:4]}
        out.mkdir(exist_ok=True)
        (out / "manifest.json").write_text("{}")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    return Made(monkeypatch)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of an error."""
    text = capsys.readouterr().err
    lines = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in text
    return lines[0]


def test_a_video_becomes_a_generator_and_the_frames_are_deleted(
    clip: Path, tmp_path: Path, made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "me.icface"
    assert main([str(clip), "--output", str(out), "--minutes", "2", *AGREED]) == 0
    assert made.done == ["fit True", "pairs", "tune 2"]
    assert made.packed["consent"]["who"] == "Ada Lovelace" and made.packed["consent"]["agreed"] is True
    assert made.packed["source is"] == b"\x89PNG"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["me.coverage.png", "me.icface"]
    assert "the mouth came nearer by a tenth" in caplog.messages
    assert caplog.messages[-1].endswith(f"icface-live --model {out}")
    assert "no pout seen: say 'oo' once" in caplog.messages


def test_one_photo_alone_and_kept_frames(tmp_path: Path, made: Made) -> None:
    out = tmp_path / "me.icface"
    assert main([str(PORTRAIT), "--output", str(out), "--keep", *AGREED]) == 0
    assert made.done == ["fit False", "pairs", "tune 1"]
    assert (tmp_path / "me.icface.work" / FRAMES / "00000.png").is_file()


def test_an_interrupted_command_goes_on_after_the_last_finished_stage(
    clip: Path,
    tmp_path: Path,
    made: Made,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "me.icface"
    command = [str(clip), "--output", str(out), *AGREED]
    made.fails = KeyboardInterrupt()
    assert main(command) == 1
    assert f"what is done is kept in {out}.work: the same command goes on" in said(capsys)
    made.fails = RuntimeError("a defect")
    assert main(command) == 1
    assert "unexpected RuntimeError: a defect" in said(capsys)
    assert made.done == ["fit True"]
    made.fails = None
    monkeypatch.setattr(stages, "gather", None)  # it is finished
    assert main(command) == 0
    assert made.done == ["fit True", "pairs", "tune 1"]


def test_a_photo_beside_a_video_is_the_source(clip: Path, tmp_path: Path, made: Made) -> None:
    out = tmp_path / "me.icface"
    command = ["--video", str(clip), "--source", str(PORTRAIT), "--output", str(out), "--keep", *AGREED]
    assert main(command) == 0
    import cv2

    picture = cv2.imread(str(tmp_path / "me.icface.work" / SOURCE))
    assert picture is not None and picture.shape[:2] != (240, 320)


def test_a_job_that_was_kept_packs_again(tmp_path: Path, made: Made) -> None:
    """The bundle may be gone, or of another person's consent; only other minutes tune anew."""
    out = tmp_path / "me.icface"
    command = [str(PORTRAIT), "--output", str(out), "--keep", "--consent", "yes"]
    assert main([*command, "--person", "Ada"]) == 0
    out.rename(tmp_path / "moved.icface")
    assert main([*command, "--person", "Ada"]) == 0
    assert (out / "manifest.json").is_file()
    assert main([*command, "--person", "Bert", "--overwrite"]) == 0
    assert made.packed["consent"]["who"] == "Bert"
    assert made.done == ["fit False", "pairs", "tune 1"]
    assert main([*command, "--person", "Bert", "--overwrite", "--minutes", "2"]) == 0
    assert made.done[3:] == ["tune 2"]


def test_frames_that_are_damaged_are_chosen_again(tmp_path: Path, made: Made) -> None:
    """And with them what was made of them; the job goes on all the same."""
    command = [str(PORTRAIT), "--output", str(tmp_path / "me.icface"), "--keep", "--overwrite", *AGREED]
    assert main(command) == 0
    (tmp_path / "me.icface.work" / FRAMES / "00000.png").write_bytes(b"")
    assert main(command) == 0
    assert made.done == ["fit False", "pairs", "tune 1"] * 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "nothing to learn from"),
        (["missing.mp4"], "missing.mp4 is not there"),
        (["text.mp4"], "text.mp4 is not a video that can be read"),
        (["a.jpg", "b.jpg"], "2 photos are given"),
        (["--record", "5"], "20 to 600 seconds are filmed"),
        (["--record", "60", "a.mp4"], "give one of them"),
        (["a.mp4", "--minutes", "0"], "must be more than 0"),
        (["--source", "text.mp4"], "is not a picture that can be read"),
        (["a.mp4", "--output", "there.icface"], "there.icface is there already; give --overwrite"),
        (["a.mp4", "--output", "text.mp4", "--overwrite"], "is there and is no generator"),
        (["a.mp4", "--output", "none/me.icface"], "the folder none does not exist"),
        (["a.mp4", "--video", "b.mp4", "--camra", "1"], "there is no flag --camra (did you mean --camera?)"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line(
    flags: list[str],
    words: str,
    tmp_path: Path,
    made: Made,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.mp4").write_text("no video")
    Path("there.icface").mkdir()
    Path("there.icface/manifest.json").write_text("{}")
    output = [] if "--output" in flags else ["--output", "me.icface"]
    assert main([*flags, *output, *AGREED]) in (1, 2)
    assert words in said(capsys)
    assert not made.done and not Path("me.icface.work").exists()


def test_missing_packages_are_named_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "training.personalise.find_spec", lambda name: None if name == "torch" else found(name)
    )
    assert main(["missing.mp4", "--output", str(tmp_path / "me.icface")]) == 2
    assert said(capsys) == 'error: this needs torch; run: pip install "icface-live[train]"'


class Terminal(io.StringIO):
    """A terminal that answers."""

    def isatty(self) -> bool:
        return True


def answering(monkeypatch: pytest.MonkeyPatch, *answers: str) -> Terminal:
    monkeypatch.setattr(sys, "stdin", Terminal("".join(f"{answer}\n" for answer in answers)))
    asked = Terminal()
    monkeypatch.setattr(sys, "stderr", asked)
    return asked


def test_the_person_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, "  Ada   Lovelace ", "y")
    consent = ask_consent("ask", None)
    assert consent.who == "Ada Lovelace" and consent.agreed
    assert "Ada Lovelace: are you this person, or did this person agree" in asked.getvalue()
    answering(monkeypatch, "no")
    with pytest.raises(ConfigError, match="nothing is made without the consent of Ada"):
        ask_consent("ask", "Ada")
    answering(monkeypatch, "")
    with pytest.raises(ConfigError, match="a name of up to 200 characters is needed"):
        ask_consent("yes", None)


def test_ctrl_c_at_the_question_ends_it_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch)

    def interrupted() -> str:
        signal.raise_signal(signal.SIGINT)
        return "y"

    monkeypatch.setattr(sys.stdin, "readline", interrupted)
    stop = threading.Event()
    with signals(stop):
        mine = signal.getsignal(signal.SIGINT)
        with pytest.raises(ICFaceError, match="stopped at the question; nothing was made"):
            ask_consent("ask", "Ada")
        assert signal.getsignal(signal.SIGINT) is mine


@pytest.mark.parametrize("given", [("ask", None), ("ask", "Ada"), ("yes", None)])
def test_nobody_can_be_asked_without_a_terminal(
    given: tuple[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(ConfigError, match='give --consent yes --person "NAME"'):
        ask_consent(*given)


class Watched(Prompter):
    """Keeps what is shown, without a screen; the user ends it at a time."""

    def __init__(self, ends_s: float = 1e9) -> None:
        self.shown: list[str] = []
        self._ends_s = ends_s

    def open(self, width_px: int, height_px: int) -> None:
        pass

    def show(self, frame: np.ndarray, text: str, left_s: float) -> bool:
        self.shown.append(text)
        return left_s > self._ends_s or self._ends_s > 1e8

    def __exit__(self, *error: object) -> None:
        pass


class Webcam(ScriptedCamera):
    """Ten frames a second, larger than the scripted camera's, which no encoder takes."""

    def __init__(self, script: Iterable[int | Exception]) -> None:
        super().__init__(script, is_file=True)

    def read(self) -> CapturedFrame | None:
        captured = super().read()
        if captured is None:
            return None
        return CapturedFrame(np.full((49, 64, 3), captured.index, np.uint8), captured.index, captured.time_s)


@pytest.fixture
def webcam() -> Webcam:
    camera = Webcam(range(250))
    object.__setattr__(camera.info, "width_px", 64)
    object.__setattr__(camera.info, "height_px", 49)
    return camera


def test_a_recording_shows_every_prompt_and_lasts_as_long_as_asked(webcam: Webcam, tmp_path: Path) -> None:
    shown = Watched()
    record(tmp_path / "f.mp4", 20, "0", threading.Event(), camera=webcam, prompter=lambda: shown)
    assert list(dict.fromkeys(shown.shown)) == [text for _, text in PROMPTS]
    assert shown.shown.count(PROMPTS[-1][1]) == pytest.approx(len(shown.shown) / 4, abs=1)
    assert length_s(tmp_path / "f.mp4") == pytest.approx(20, abs=0.15)
    assert webcam.closed
    assert prompt_at(0) == PROMPTS[0][1] and prompt_at(1) == PROMPTS[-1][1]


def test_a_recording_that_ends_early_leaves_no_file(webcam: Webcam, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        record(
            tmp_path / "f.mp4", 20, "0", threading.Event(), camera=webcam, prompter=lambda: Watched(ends_s=12)
        )
    with pytest.raises(DeviceError, match="ended before 60 s were filmed"):
        record(tmp_path / "f.mp4", 60, "0", threading.Event(), camera=webcam, prompter=Watched)
    assert not list(tmp_path.iterdir())


def test_a_camera_that_is_missing_is_one_line(
    tmp_path: Path, made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "me.icface"
    assert main(["--record", "20", "--camera", "/dev/none", "--output", str(out), *AGREED]) == 1
    assert "/dev/none" in said(capsys)
    assert not list(tmp_path.iterdir())


def test_the_word_personalise_is_this_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert live(["personalise", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: icface-live personalise")


@pytest.mark.long
def test_a_short_video_becomes_a_bundle_that_shows_its_person(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "me.icface"
    assert main([str(clip), "--output", str(out), "--minutes", "0.02", *AGREED]) == 0, capsys.readouterr().err
    bundle = Bundle.load(out)
    assert bundle.consent is not None and bundle.consent.who == "Ada Lovelace"
    assert sum(path.stat().st_size for path in out.rglob("*")) < stages.LARGEST_BYTES
    picture = tmp_path / "smile.png"
    flags = ["--model", str(out), "--require-consent", "--set", "AU12=.8", "--size", "256"]
    assert live([*flags, "--output", str(picture)]) == 0
    assert picture.is_file()
