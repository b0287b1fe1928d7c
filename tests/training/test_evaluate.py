"""The command: reports from checkpoints and bundles, whole or not at all, and errors in one line."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from icface.attributes import AU_NAMES, COUNT, NAMES, neutral
from icface.bundle import DEFAULT_BUNDLE
from icface.images import cut_crop, load_photo
from icface.networks import (
    DiscriminatorConfig,
    GeneratorConfig,
    ICface,
    ModelInfo,
    NetworksConfig,
    save_model,
)
from tests.training.clip_data import make_clip_dataset
from tests.training.test_evaluation_embedding import mean_colours
from tests.training.tiny_data import make_tiny_dataset
from training.dataset.reading import FaceTracks
from training.evaluate import main
from training.evaluation.animators import (
    BundleAnimator,
    CheckpointAnimator,
    data_to_bundle,
    to_frames,
    to_images,
)
from training.evaluation.picture_networks import CNNIQA, WaDIQaM
from training.evaluation.tasks import self_tasks, tracks_of
from training.networks.lightcnn import LightCNN29


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_dataset(tmp_path_factory.mktemp("data"), identities=8, tracks=1, frames=4)


def model(
    path: Path, *, size_px: int = 32, seed: int = 0, scale: str = "full-shape", **networks: Any
) -> Path:
    torch.manual_seed(seed)
    config = NetworksConfig(
        size_px=size_px,
        generator=GeneratorConfig(width=4, blocks=1),
        discriminator=DiscriminatorConfig(width=4),
        **networks,
    )
    info = ModelInfo(networks=config, attribute_scale=scale, provenance="no data", licence="MIT", step=7)
    save_model(path, ICface(config), info)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model(tmp_path_factory.mktemp("model") / "model.safetensors")


def evaluate(data: Path, out: Path, *models: Path, more: tuple[str | Path, ...] = ()) -> dict[str, Any]:
    arguments = ["--data", data, *(a for m in models for a in ("--model", m)), "--out", out, *more]
    assert main([str(a) for a in arguments]) == 0
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return report


@pytest.fixture
def few_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of something else: each swept attribute is nine pictures to measure."""
    monkeypatch.setattr("training.evaluation.response.SWEPT", ("yaw", "AU12"))


QUICK = ("--max-frames", "2", "--max-tracks", "2", "--sweep-sources", "1")


# Reports


def test_a_report_of_pictures_without_any_face(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    """Random networks on coloured squares: nothing to measure, and that is what the report says."""
    torch.manual_seed(1)
    torch.save(CNNIQA().state_dict(), tmp_path / "cnniqa.pth")
    torch.save(WaDIQaM().state_dict(), tmp_path / "deepiqa.pth")
    torch.save(LightCNN29().state_dict(), tmp_path / "light.pth")
    judges = ("--cnniqa", tmp_path / "cnniqa.pth", "--deepiqa", tmp_path / "deepiqa.pth")
    identity = ("--identity", tmp_path / "light.pth")
    report = evaluate(data, tmp_path / "out", checkpoint, more=(*QUICK, *judges, *identity))
    found = report["self"]["model"]
    assert (found["frames"], found["faces_found"], found["neutral_without_face"]) == (4, 0, 2)
    assert found["apd_deg"] is None and found["presence"]["macro"]["f"] == 0.0
    assert (found["presence"]["frames"], found["presence"]["frames_with_face"]) == (4, 0)
    assert 0 < found["l1"] < 1 and 0 < found["psnr_db"] < 40 and found["ssim"] < 1
    assert isinstance(found["cnniqa"], float) and isinstance(found["deepiqa"], float)
    assert report["self"]["source kept (does nothing)"]["csim"] == pytest.approx(1.0, abs=1e-5)
    assert report["models"]["model"]["step"] == 7
    assert report["data"]["identities"] == 2 and len(report["data"]["sha256"]) == 64
    assert set(report["judges"]) == {"cnniqa", "deepiqa", "identity"}
    light = (tmp_path / "light.pth").read_bytes()
    assert report["judges"]["identity"] == {
        "network": "LightCNN-29 v2", "file": "light.pth", "sha256": hashlib.sha256(light).hexdigest(),
    }  # fmt: skip
    assert report["response"]["model"]["attributes"]["yaw"]["faces_found"] == 0
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| ICface (paper) | 25.02 | 33.08 |" in text
    assert "| DAE (paper) | OpenFace | – | 59.86 | 0.3734 |" in text
    assert "| model, self | driver: surrogate; output: surrogate | 0.0 % | 50.00 | 0.0000 |" in text
    # What the driver shows is known, whatever the first model makes of it.
    table = text.split("Self-reenactment, per Action Unit:")[1].split("\n\n")[1].splitlines()[2:]
    driven = [found["presence"]["per_au"][name]["in_driver"] for name in AU_NAMES]
    assert [int(line.split("|")[2]) for line in table] == driven and sum(driven) > 0
    assert "features of `light.pth` (LightCNN-29 v2)" in text
    assert "0/4" in text and "LPIPS: not measured; give --lpips" in text and "FID is not measured" in text
    for name in report["figures"]:
        assert cv2.imread(str(tmp_path / "out" / name)) is not None
        assert f"({name})" in text
    wanted = ["neutral", "reenactment_self", "reenactment_cross", "expression_only", "mixed_mouth_eyes",
              "figure_1.model", "figure_4b.model",
              "mixed_pose_expression", "multi_view.model", "au_sweep.model"]  # fmt: skip
    assert {f"{name}.png" for name in wanted} <= set(report["figures"])


@pytest.mark.usefixtures("few_sweeps")
def test_csim_by_a_network_of_ones_own(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    path = mean_colours(tmp_path / "means.onnx")
    more = (*QUICK, "--only", "tables", "--identity", path, "--identity-range", "bytes")
    report = evaluate(data, tmp_path / "out", checkpoint, more=more)
    assert report["self"]["source kept (does nothing)"]["csim"] == pytest.approx(1.0)
    # The driving frames' mean colours against those of their source, from the data.
    tracks = FaceTracks(data)
    tasks = self_tasks(tracks, tracks_of(tracks, "test", 2, 20), 2, "random", 20)
    wanted = []
    for task in tasks:
        a = tracks.frame(task.source).mean(axis=(0, 1))
        for row in task.driving:
            b = tracks.frame(row).mean(axis=(0, 1))
            wanted.append(a @ b / math.sqrt(a @ a * (b @ b)))
    assert report["self"]["driving frames (the answer itself)"]["csim"] == pytest.approx(
        np.mean(wanted), abs=1e-6
    )
    assert report["judges"]["identity"] == {
        "network": "ONNX, (1, 3, 32, 32) rgb, bytes, to 3 numbers",
        "file": "means.onnx",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    text = (tmp_path / "out/report.md").read_text()
    assert "features of `means.onnx` (ONNX, (1, 3, 32, 32) rgb, bytes, to 3 numbers)" in text
    assert report["judges"]["identity"]["sha256"][:16] in text


@pytest.mark.usefixtures("few_sweeps")
def test_the_same_command_gives_the_same_numbers(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    more = (*QUICK, "--only", "tables")
    first, second = (evaluate(data, tmp_path / name, checkpoint, more=more) for name in "ab")
    first.pop("command"), second.pop("command")
    assert first == second
    assert "not measured; give --cnniqa" in (tmp_path / "a" / "report.md").read_text()


def test_only_figures_measures_nothing(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    report = evaluate(data, tmp_path / "out", checkpoint, more=(*QUICK, "--only", "figures"))
    assert "self" not in report and "neutral.png" in report["figures"]
    assert "Table 1" not in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.usefixtures("few_sweeps")
def test_openface_tables_of_saved_frames_find_their_way_back(
    data: Path,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    more = (*QUICK, "--only", "tables")
    evaluate(data, tmp_path / "first", checkpoint, more=(*more, "--save-frames"))
    folders = sorted((tmp_path / "first" / "frames").iterdir())
    assert [f.name for f in folders] == [
        f"{who}.{kind}.{n:03d}" for who in ("driver", "model") for kind in ("cross", "self") for n in (0, 1)
    ]
    tables = tmp_path / "tables"
    tables.mkdir()
    for folder in folders:
        frames = sorted(folder.glob("*.png"))
        assert load_photo(frames[0]).frame.shape == (256, 256, 3)
        # The driver shows AU12 in its first frame, the output in both.
        shown = [[1 if name == "AU12" and (i == 0 or "model" in folder.name) else 0 for name in AU_NAMES]
                 for i in range(len(frames))]  # fmt: skip
        lines = [",".join(f"{name}_c" for name in AU_NAMES), *(",".join(map(str, row)) for row in shown)]
        (tables / f"{folder.name}.csv").write_text("\n".join(lines))
    report = evaluate(data, tmp_path / "second", checkpoint, more=(*more, "--openface-source", tables))
    presence = report["self"]["model"]["presence"]
    assert presence["measured_by"] == ["driver: OpenFace", "output: OpenFace"]
    assert presence["per_au"]["AU12"] == {
        "balanced_accuracy": 0.5, "f": pytest.approx(2 / 3), "in_driver": 2, "in_output": 4, "frames": 4,
    }  # fmt: skip
    (tables / "driver.self.000.csv").write_text(lines[0] + "\n" + lines[1])
    assert main([str(a) for a in ("--data", data, "--model", checkpoint, "--out", tmp_path / "third", *more,
                                  "--openface-source", tables)]) == 2  # fmt: skip
    other = tables / "other.self.000.csv"
    other.write_text(lines[0])
    for sources, told in (([other], "1 of 1 OpenFace CSVs"), ([tables], "1 of 9 OpenFace CSVs")):
        capsys.readouterr()
        caplog.clear()
        assert main([str(a) for a in ("--data", data, "--model", checkpoint, "--out", tmp_path / "fourth", *more,
                                      "--openface-source", *sources)]) == 2  # fmt: skip
        line = f"{told} belong to no frames of this evaluation, as {other}; give the models"
        assert line in capsys.readouterr().err + caplog.text


@pytest.mark.usefixtures("few_sweeps")
def test_openface_presence_of_the_data_is_taken_for_the_driver(checkpoint: Path, tmp_path: Path) -> None:
    folder = make_tiny_dataset(tmp_path / "data", identities=8, tracks=1, frames=4, presence=1)
    report = evaluate(folder, tmp_path / "out", checkpoint, more=(*QUICK, "--only", "tables"))
    assert report["self"]["model"]["presence"]["measured_by"] == ["driver: OpenFace", "output: surrogate"]


def test_an_older_report_is_replaced_and_nothing_else(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    evaluate(data, out, checkpoint, more=(*QUICK, "--only", "figures"))
    (out / "old.txt").write_text("old")
    evaluate(data, out, checkpoint, more=(*QUICK, "--only", "figures"))
    assert not (out / "old.txt").exists()
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("mine")
    arguments = ["--data", data, "--model", checkpoint, "--out", precious, *QUICK]
    assert main([str(a) for a in arguments]) == 2
    assert (precious / "thesis.txt").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_run_that_fails_leaves_the_older_report(
    data: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    evaluate(data, out, checkpoint, more=(*QUICK, "--only", "figures"))
    before = (out / "report.json").read_bytes()

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.evaluation.evaluation.write_report", full)
    assert (
        main(
            [
                str(a)
                for a in ("--data", data, "--model", checkpoint, "--out", out, *QUICK, "--only", "figures")
            ]
        )
        == 1
    )
    assert (out / "report.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


# Other methods


def test_other_methods_are_scored_by_their_pictures(
    data: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One answers with the driving frames, enlarged, and leaves out three; it does so by the list alone."""
    table = tmp_path / "list" / "cases.csv"
    assert main([str(a) for a in ("--data", data, *QUICK, "--list-cases", table)]) == 0
    lines = list(csv.DictReader(table.read_text().splitlines()))
    wanted = [f"{kind}-00{n}" for kind in ("self", "cross") for n in (0, 0, 1, 1)]
    assert [line["case"].rpartition("-")[0] for line in lines] == wanted
    for number, line in enumerate(lines):
        source, driving = (load_photo(table.parent / line[name]).frame for name in ("source", "driving"))
        assert source.shape == driving.shape == (32, 32, 3)
        target = tmp_path / "other" / line["output"]
        target.parent.mkdir(parents=True, exist_ok=True)
        if number not in (0, 6, 7):
            cv2.imwrite(
                str(target), cv2.resize(driving, (64, 64), interpolation=cv2.INTER_NEAREST)[..., ::-1]
            )
    more = (*QUICK, "--only", "tables", "--frames", f"Other={tmp_path / 'other'}")
    report = evaluate(data, tmp_path / "out", more=more)
    found = report["self"]["Other"]
    assert (found["frames"], found["missing"], found["presence"]["frames"]) == (4, 1, 4)
    assert found["l1"] == 0 and "l1" not in report["cross"]["Other"]
    assert report["cross"]["Other"]["missing"] == 2
    assert set(report["self"]) == {
        "Other",
        "driving frames (the answer itself)",
        "source kept (does nothing)",
    }
    assert report["response"] == {}
    facts = report["models"]["Other"]
    assert (facts["kind"], facts["missing"], facts["wanted"]) == ("frames", 3, 8)
    text = (tmp_path / "out/report.md").read_text()
    assert "| Other | – | – | 1/4 |" in text and "3 of 8 are missing" in text
    # Other frames of other flags are other cases: pictures never count for a case that they were not made for.
    arguments = ["--data", data, "--out", tmp_path / "out", *more]
    capsys.readouterr()
    assert main([str(a) for a in (*arguments, "--max-frames", "3")]) == 2
    assert "has no picture of a case" in capsys.readouterr().err
    first = next((tmp_path / "other").glob("*/00001.png"))
    cv2.imwrite(str(first), np.zeros((20, 30, 3), np.uint8))
    assert main([str(a) for a in arguments]) == 2
    assert f"{first} has 30×20 pixels; square pictures" in capsys.readouterr().err
    first.write_bytes(b"no picture")
    assert main([str(a) for a in arguments]) == 2
    assert f"--frames Other: {first} is not a picture" in capsys.readouterr().err
    assert main([str(a) for a in (*arguments, "--model", checkpoint, "--frames", "model=x")]) == 2


# Errors


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--model", "nothing.safetensors"), "nothing.safetensors"),
        (("--model", "."), "is not a model"),
        (("--max-frames", "0"), "--max-frames is 0"),
        (("--max-tracks", "-3"), "--max-tracks is -3"),
        (("--sweep-sources", "0"), "--sweep-sources is 0"),
        (("--threads", "0"), "--threads is 0; a whole number from 1"),
        (("--threads", "99999999999"), "--threads is 99999999999"),
        (("--seed", "-1"), "--seed is -1; a whole number from 0"),
        (("--identity-size", "0"), "--identity-size is 0"),
        (("--identity-range", "unit"), "need --identity NETWORK.onnx"),
        (("--identity", "nothing.onnx"), "cannot read nothing.onnx"),
        (("--cnniqa", "nothing.pth"), "nothing.pth"),
        (("--openface-source", "nothing.csv"), "nothing.csv"),
        (("--device", "abacus"), "--device abacus"),
        (("--split", "holdout"), "holdout"),
        (("--data", "nowhere"), "nowhere"),
        (("--source", "first"), "did you mean --source-frame?"),
        (("--source-frame", "last"), "invalid choice: 'last'"),
        (("--frames", "x2face"), "write NAME=FOLDER"),
        (("--frames", "a/b=x2face"), "write NAME=FOLDER"),
        (("--frames", "X2Face=nowhere"), "nowhere has no picture of a case, such as self-000-"),
        (("--list-cases", "cases.txt"), "has to end in .csv"),
    ],
)
def test_errors_are_one_line(
    flags: tuple[str, str],
    told: str,
    data: Path,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = {"--data": str(data), "--model": str(checkpoint), "--out": str(tmp_path / "out")}
    arguments |= dict([flags])
    assert main([part for pair in arguments.items() for part in pair]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and told in lines[0]
    assert not (tmp_path / "out").exists()


def test_what_is_missing_from_the_command_is_said(
    data: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for flags, told in (
        (["--out", tmp_path / "out"], "nothing to measure; give --model PATH, or --frames"),
        (["--model", checkpoint], "give --out FOLDER"),
        (["--frames", "a=b", "--only", "figures", "--out", tmp_path / "out"], "--only figures draws models"),
    ):
        assert main([str(a) for a in ("--data", data, *flags)]) == 2
        assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# Models


def test_a_checkpoint_animates_as_its_networks_do(
    data: Path, checkpoint: Path, rng: np.random.Generator
) -> None:
    animator = CheckpointAnimator(checkpoint, "model", 32)
    crop = FaceTracks(data).frame(0)
    asked = rng.uniform(0, 1, (11, 20)).astype(np.float32)  # more than one batch
    network = animator._model
    first = network.neutralise(to_images(crop[None]))
    np.testing.assert_array_equal(animator.neutralise(crop), to_frames(first)[0])
    wanted = to_frames(network.animate(first.expand(11, -1, -1, -1), torch.from_numpy(asked)))
    assert np.abs(animator.animate(asked).astype(int) - wanted).max() <= 1


def test_a_checkpoint_on_openfaces_scale_gets_it(tmp_path: Path, data: Path) -> None:
    ours = CheckpointAnimator(model(tmp_path / "a.safetensors"), "a", 32)
    theirs = CheckpointAnimator(model(tmp_path / "b.safetensors", scale="openface"), "b", 32)
    crop = FaceTracks(data).frame(0)
    asked = neutral(COUNT)[None].copy()
    asked[0, NAMES.index("AU12")] = 0.88
    for animator in (ours, theirs):
        animator.neutralise(crop)
    smaller = asked.copy()
    smaller[0, NAMES.index("AU12")] = 0.4  # gain 2.2
    np.testing.assert_array_equal(theirs.animate(asked), ours.animate(smaller))
    asked[0, NAMES.index("AU12")] = 1.76  # OpenFace reads more than the whole movement
    smaller[0, NAMES.index("AU12")] = 0.8
    np.testing.assert_array_equal(theirs.animate(asked), ours.animate(smaller))
    smaller[0, NAMES.index("AU12")] = 1.0
    np.testing.assert_array_equal(ours.animate(asked), ours.animate(smaller))


def test_a_checkpoint_of_another_size_is_scaled_and_says_so(tmp_path: Path, data: Path) -> None:
    animator = CheckpointAnimator(model(tmp_path / "a.safetensors", size_px=64, neutraliser=False), "a", 32)
    crop = FaceTracks(data).frame(0)
    assert np.abs(animator.neutralise(crop).astype(int) - crop).mean() < 3  # without G_N the source itself
    assert animator.animate(np.tile(neutral(COUNT), (2, 1))).shape == (2, 32, 32, 3)
    assert "64 pixels" in str(animator.facts["notes"]) and "no neutraliser" in str(animator.facts["notes"])


def test_a_bundles_frame_goes_back_to_its_place(rng: np.random.Generator) -> None:
    blurred = cv2.GaussianBlur(rng.integers(0, 256, (256, 256, 3), dtype=np.uint8), (0, 0), 6)
    whole = np.asarray(blurred, dtype=float)
    smooth = np.round(np.interp(whole, (whole.min(), whole.max()), (0, 255))).astype(np.uint8)
    crop_to_photo = np.array([[1.5, 0, 20.25], [0, 1.5, 33.25]])
    frame = cut_crop(smooth, crop_to_photo, 128)  # what a bundle saw of the photo
    back = cut_crop(frame, data_to_bundle(crop_to_photo, 256, 64), 64)
    wanted = cv2.resize(smooth, (64, 64), interpolation=cv2.INTER_AREA)
    inside = (slice(10, 50), slice(7, 45))
    error = np.abs(back[inside].astype(int) - wanted[inside])
    assert error.max() <= 6 and error.mean() < 1.5


# Bundles


@pytest.mark.slow
def test_the_shipped_bundle_follows_what_it_is_asked(repository: Path, tmp_path: Path) -> None:
    folder = make_clip_dataset(tmp_path / "data", [repository / "examples/driver.mp4"], every=5)
    more = ("--max-frames", "20", "--sweep-sources", "1", "--source-frame", "neutral")
    report = evaluate(folder, tmp_path / "out", DEFAULT_BUNDLE, more=more)
    found = report["self"]["edge"]
    assert found["faces_found"] == found["frames"] == 40 and not found["refused"]
    assert found["apd_deg"] < 4
    assert min(found["pose_correlation"].values()) > 0.9
    assert found["l1"] < report["self"]["source kept (does nothing)"]["l1"]
    answer = report["self"]["driving frames (the answer itself)"]["au_correlation"]
    for name in ("AU01", "AU02", "AU04", "AU12", "AU26", "AU45"):  # what the driver acts
        assert answer[name] > 0.85, name
    for name, values in report["response"]["edge"]["attributes"].items():
        assert values["spearman_least"] >= 0.9, name
    assert report["jitter"]["edge"]["exact"] < 1e-4
    for name in report["figures"]:
        assert (tmp_path / "out" / name).is_file()


@pytest.mark.slow
def test_the_shipped_bundle_refuses_what_is_no_face(data: Path) -> None:
    from icface.errors import SourceError

    animator = BundleAnimator(DEFAULT_BUNDLE, "edge", 32)
    try:
        with pytest.raises(SourceError, match="no face"):
            animator.neutralise(FaceTracks(data).frame(0))
    finally:
        animator.close()
