"""That training teaches something: from clips to a live bundle with the real commands, in minutes.

A rendered avatar closes its eyes, parts its lips, drops its jaw, turns its head and talks, each in a clip of its own; and
there is a real speaker. Their even frames are trained on, their odd ones held out. Moments between these, of the talking
avatar, choose the best model.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.bundle import Bundle
from tests.conftest import SHARED
from tests.e2e.measuring import frames, icface_live
from training.avatars.render import Performance, Studio, View

# In pictures of 64 pixels the tracker reads his lids, lips and jaw along their whole way, and other avatars' in part.
AVATAR = SHARED / "data/valid_avatars/Asian_M_2_Casual.glb"
SPEAKER = SHARED / "data/clips/grid_s1/bbaf2n.mpg"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not (AVATAR.exists() and SPEAKER.exists()),
        reason="needs ../shared/data: an avatar to render and a clip of a speaker",
    ),
]

# Fewer steps, of more pairs or through more blocks, cost the same, but with some seeds they leave lids or lips unlearned.
# At twice the rate the last steps of a movement go back and forth. So does a widely open jaw with seeds 1 and 3, at this
# number of steps and at 3100: what few frames show is learned by chance.
CONFIG = """
steps = 2700
batch_size = 2
workers = 0
seed = 2
channels_last = true
ema = 0.995
log_every = 50
validate_every = 675
validation_pairs = 16

[networks]
size_px = 64

[networks.generator]
width = 16
blocks = 2
dropout = 0.0

[networks.discriminator]
width = 8

[losses]
adversarial = "lsgan"
attributes = 4.5
identity = 0.0
reconstruction = 80.0
anchor = 40.0

[optimizer]
name = "adam"
rate = 5e-4

[sampling]
mode = "uniform"
"""

FPS = 10


def lips(down: float, up: float = 0.0) -> dict[str, float]:
    return {"RlipDown": down, "LlipDown": down, "RlipUp": up, "LlipUp": up}


def smile(weight: float) -> dict[str, float]:
    return {"RsmileClose": weight, "LsmileClose": weight}


# Parting the lips, AU26 and AU12 are measured a little, too, and with a dropped jaw AU25: a generator would learn to
# move the lips by those. So the jaw is held against it, and drops with closed lips.
ACTS = {
    "eyes": {"ReyeClose": 1.1, "LeyeClose": 1.1},
    "lips": lips(1.7) | smile(-0.15) | {"MouthOpen": -0.1},
    "jaw": lips(-0.5, -0.5) | smile(0.5) | {"MouthOpen": 0.85, "Chew": 1.6},
}
"""Morph targets at the height of each clip."""


@dataclass(frozen=True)
class Run:
    """What the commands left."""

    data: Path
    run: Path
    report: Path
    bundle: Path


def acting(time_s: float) -> dict[str, Performance]:
    """By clip: one thing each, and talk, where what the lips do has nothing to do with anything else."""
    # It rises and falls slowly: where most frames show the end of a movement, a generator learns to jump there.
    level = float(np.interp(time_s, (0.5, 1.8, 2.0, 3.3), (0, 1, 1, 0)))

    def wave(period_s: float, phase: float = 0.0) -> float:
        return float(np.sin(2 * np.pi * time_s / period_s + phase))

    # Lids are read as closed long before they are. So they pass slowly through what is read as in between.
    lids = float(np.interp(level, (0, 0.75, 1), (0, 0.6, 1)))
    single = {
        name: Performance(
            morphs={target: (lids if name == "eyes" else level) * weight for target, weight in morphs.items()}
        )
        for name, morphs in ACTS.items()
    }
    talk = (
        lips(1.3 * level) | smile(0.2 + 0.2 * wave(0.7, 0.5)) | {"MouthOpen": 0.15 * level * wave(1.1) - 0.1}
    )
    return {
        **single,
        "turn": Performance(yaw_rad=np.radians(25) * wave(5.0)),
        # Each clip is drawn equally often, and a turn is the hardest thing to learn.
        "shake": Performance(yaw_rad=np.radians(25) * wave(3.6)),
        "talk": Performance(yaw_rad=np.radians(8) * wave(2.3), morphs=talk),
    }


def acted() -> tuple[dict[str, list[Frame]], list[Frame]]:
    """The avatar's clips, and moments of its talk that lie between the frames of them."""
    pytest.importorskip("meshoptimizer", reason="decoding avatars needs meshoptimizer")
    from training.avatars.glb import load_avatar

    view = View(width_px=192, height_px=192, head_px=92, centre=(0.5, 0.52))
    studio = Studio(load_avatar(AVATAR), view)
    frames_of = {name: 50 if name == "turn" else 36 for name in acting(0)}
    clips = {
        name: [studio.frame(acting(number / FPS)[name]) for number in range(count)]
        for name, count in frames_of.items()
    }
    return clips, [studio.frame(acting((number + 0.5) / FPS)["talk"]) for number in range(8, 24)]


def command(repository: Path, script: str, *arguments: str | Path) -> None:
    """One of the commands, as a user types it."""
    result = subprocess.run(
        [sys.executable, str(repository / script), *map(str, arguments)],
        cwd=repository,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert result.returncode == 0, f"{script}: {result.stdout[-1000:]}\n{result.stderr[-3000:]}"


def write_clip(path: Path, shown: Sequence[NDArray[np.uint8]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "12", "threads": "1"})
        stream.height, stream.width = shown[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for number, frame in enumerate(shown):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Run:
    folder = tmp_path_factory.mktemp("training")
    clips, data, run = folder / "clips", folder / "data", folder / "run"
    avatar, between = acted()
    write_clip(clips / "between/avatar/talk.mp4", between)
    for name, filmed in (("avatar", avatar), ("speaker", {"speech": list(frames(SPEAKER))})):
        for clip, shown in filmed.items():
            write_clip(clips / name / f"even/{clip}.mp4", shown[0::2])
            write_clip(clips / "held_out" / name / f"{clip}.mp4", shown[1::2])
    command(repository, "training/prepare.py", clips, "--out", data, "--workers", "0", "--size", "64",
            "--test-identity", "held_out", "--validation-identity", "between")  # fmt: skip
    config = folder / "tiny.toml"
    config.write_text(CONFIG)
    # One thread adds in one order on any machine, and does not wait for another one where the cores are busy.
    command(
        repository, "training/train.py", "--config", config, "--data", data, "--out", run, "--threads", "1"
    )
    report, bundle = folder / "report", run / "model.icface"
    model = run / "model.safetensors"
    # Sweeps are what is looked at here; of the tables little, of the figures nothing.
    command(
        repository, "training/evaluate.py", "--data", data, "--model", model, "--out", report,
        "--only", "tables", "--max-tracks", "4", "--max-frames", "4", "--source-frame", "neutral",
    )  # fmt: skip
    command(repository, "export/pack_paper.py", model, "--out", bundle)
    return Run(data, run, report, bundle)


def test_held_out_frames_were_not_trained_on(made: Run) -> None:
    splits = json.loads((made.data / "index.json").read_text())["splits"]
    assert splits == {"train": ["avatar", "speaker"], "validation": ["between"], "test": ["held_out"]}


def test_losses_fall(made: Run) -> None:
    lines = [json.loads(line) for line in (made.run / "log.jsonl").read_text().splitlines()]
    for name in ("reconstruction", "d_attributes", "anchor"):
        # A pair without a calm frame has no anchor.
        values = [line[name] for line in lines if line["group"] == "train" and line[name] > 0]
        assert np.mean(values[-5:]) < 0.7 * np.mean(values[:5]), name
    validated = [line["l1"] for line in lines if line["group"] == "validation"]
    assert validated[-1] < validated[0]


def test_attributes_move_the_face(made: Run) -> None:
    """Swept on held-out frames and measured again in the output."""
    swept = json.loads((made.report / "report.json").read_text())["response"]["model"]["attributes"]
    for name in ("yaw", "AU25", "AU26", "AU45"):
        found = swept[name]
        assert found["faces_found"] == found["frames"], name
        # What is measured in the clips hardly goes beyond .75.
        shown = np.array(found["shown_mean"])[: 9 if name == "yaw" else 7]
        assert np.diff(shown).min() > -0.05, (name, shown)
        assert shown[-1] - shown[0] > 0.08, (name, shown)


def test_trained_model_is_driven(made: Run, repository: Path, tmp_path: Path) -> None:
    assert Bundle.load(made.bundle).family == "paper"
    out = tmp_path / "out.mp4"
    result = icface_live(
        "--source", repository / "examples/rendered.jpg", "--model", made.bundle,
        "--camera", repository / "examples/driver.mp4", "--output", out, "--frames", "30",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    shown = list(frames(out))
    assert len(shown) == 30
    assert shown[0].shape == (512, 512, 3)
