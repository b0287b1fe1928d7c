"""Image translation by its commands: pictures on disk, training with exact resume, measuring, the rendered task."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from msgspec.structs import replace

from icface.arrays import Frame
from icface.errors import ConfigError
from icface.images import load_photo
from icface.quality import psnr_db
from tests.training.test_train import interrupt_after, lines, tensors
from training import evaluate_translation, render_translation, train
from training.learning.config import load_config
from training.learning.runtime import Runtime
from training.learning.trainer import BEST, MODEL, STATE, Trainer
from training.learning.translation.config import TranslationConfig
from training.learning.translation.pictures import TranslationPictures, find_pictures, write_picture
from training.learning.translation.task import TranslationTask
from training.networks.translation import load_translators

CONFIGS = Path(train.__file__).parent / "configs"
TINY = """
method = "translation"
steps = 6
batch_size = 2
workers = 0
ema = 0.5
log_every = 1
pictures_every = 3
save_every = 100
validate_every = 3
size_px = 32
load_px = 36
judge_width = 4
pool = 3
paired_first = 2
paired_later = 0.5

[generator]
width = 4
blocks = 1

[optimizer]
name = "adam"
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered faces and part maps: 3 pairs, 3 of each without a counterpart, 2 test pairs."""
    folder = tmp_path_factory.mktemp("translation") / "data"
    flags = ["--count", "6", "--pairs", "3", "--test", "2", "--size", "36"]
    assert render_translation.main(["--out", str(folder), *flags]) == 0
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def run(config: Path, data: Path, out: Path, *more: str) -> int:
    return train.main(
        ["--config", str(config), "--data", str(data), "--out", str(out), "--accelerator", "cpu", *more]
    )


def test_rendered_faces_and_maps_show_the_same(data: Path) -> None:
    counts = {
        room: len(list((data / room).glob("*.png")))
        for room in ("A", "B", "pairs/A", "pairs/B", "test/A", "test/B")
    }
    assert counts == {"A": 3, "B": 3, "pairs/A": 3, "pairs/B": 3, "test/A": 2, "test/B": 2}
    face, parts = render_translation.scene(20, 0, 36)
    assert np.array_equal(load_photo(data / "pairs/A/00000.png").frame, face)
    assert np.array_equal(load_photo(data / "pairs/B/00000.png").frame, parts)

    def shown(part: int) -> Frame:
        return np.asarray(face[(parts == render_translation.PART_COLOURS[part]).all(axis=2)])

    colours = {tuple(colour) for colour in parts.reshape(-1, 3)}
    assert colours <= {tuple(colour) for colour in render_translation.PART_COLOURS}
    skin, lips = shown(render_translation.SKIN).mean(axis=0), shown(render_translation.LIP).mean(axis=0)
    assert len(shown(render_translation.SKIN)) > 0.2 * 36 * 36
    assert lips[1] / lips[0] < skin[1] / skin[0], "lips are redder than skin"


def test_faces_without_a_map_are_not_those_of_the_maps_without_a_face(data: Path) -> None:
    names = [{path.name for path in (data / room).iterdir()} for room in ("pairs/A", "A", "B", "test/A")]
    assert len(set.union(*names)) == sum(map(len, names))


@pytest.mark.parametrize("flags", [["--pairs", "7"], ["--test", "-1"], ["--size", "8"]])
def test_numbers_that_make_no_task_are_refused(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        render_translation.main(["--out", str(tmp_path / "out"), "--count", "6", "--pairs", "3", *flags]) == 2
    )
    assert "pairs are at most as many as faces" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_older_task_is_not_mixed_with_a_new_one(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert render_translation.main(["--out", str(data)]) == 2
    assert "is not empty; choose another --out" in capsys.readouterr().err


def test_pairs_are_cut_and_mirrored_alike_and_kinds_follow_the_step(data: Path, tmp_path: Path) -> None:
    # Pairs whose pictures are the same, so that another cut of one of them would show.
    shutil.copytree(data, tmp_path / "data")
    for path in (tmp_path / "data/pairs/A").iterdir():
        shutil.copy(path, tmp_path / "data/pairs/B" / path.name)
    config = TranslationConfig(size_px=32, load_px=36, paired_first=2, paired_later=0.5, steps=40)
    found = TranslationPictures(find_pictures(tmp_path / "data"), config, step_items=3)
    items = [found[number] for number in range(120)]
    kinds = [bool(item["paired"]) for item in items]
    assert kinds[:6] == [True] * 6
    assert all(len(set(kinds[start : start + 3])) == 1 for start in range(0, 120, 3)), "one kind a step"
    assert 15 * 3 <= sum(kinds[6:]) <= 23 * 3
    same = [torch.equal(item["a"], item["b"]) for item in items]
    assert same == kinds
    first = [item["a"] for item in items if item["paired"]]
    assert len({tuple(image.flatten().tolist()) for image in first}) > 30, "cuts and mirrors differ"
    assert torch.equal(found[5]["a"], items[5]["a"])
    assert all(item["a"].shape == (3, 32, 32) and item["a"].abs().max() <= 1 for item in items)


def test_pictures_of_pairs_count_among_the_unpaired_ones(data: Path) -> None:
    found = find_pictures(data)
    assert (len(found.a), len(found.b), len(found.pairs), len(found.test)) == (6, 6, 3, 2)


def test_data_that_do_not_fit_are_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no pictures of A; put them into"):
        find_pictures(tmp_path)
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    (copy / "pairs/B/00001.png").unlink()
    with pytest.raises(ConfigError, match=r"pairs/A has 00001, but .*pairs/B has no picture of that name"):
        find_pictures(copy)


def test_resumed_run_equals_one_in_one_go(
    config: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool of older outputs, too, which is full by then."""
    assert run(config, data, tmp_path / "whole") == 0
    interrupt_after(3, monkeypatch)
    assert run(config, data, tmp_path / "parts") == 0
    monkeypatch.undo()
    assert run(config, data, tmp_path / "parts") == 0
    whole, parts = tensors(tmp_path / "whole" / STATE), tensors(tmp_path / "parts" / STATE)
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []
    assert int(whole["module/pool_a/held"]) == 3
    assert lines(tmp_path / "whole") == lines(tmp_path / "parts")
    told = {line["group"] for line in lines(tmp_path / "whole")}
    assert told == {"train", "validation"}
    _, info = load_translators(tmp_path / "whole" / MODEL)
    assert (info.size_px, info.step) == (32, 6)
    assert (tmp_path / "whole" / BEST).exists()


def test_pair_discriminators_learn_at_half_the_rate(config: Path, data: Path, tmp_path: Path) -> None:
    settings = load_config(config, ["steps=2", "optimizer.rate=1e-3"])
    assert isinstance(settings, TranslationConfig)
    runtime = Runtime(Fabric(accelerator="cpu", devices=1))
    task = TranslationTask(settings, data, runtime)
    Trainer(task, tmp_path / "run", runtime).run()
    rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in task.optimizers.items()}
    # In the second of two steps the rate has not begun to fall.
    assert rates == pytest.approx(
        {"translators": 1e-3, "judge_a": 1e-3, "judge_b": 1e-3, "pair_judge_a": 5e-4, "pair_judge_b": 5e-4}
    )


def test_cycles_alone_need_no_pairs_and_pairs_are_asked_for(
    config: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for room in "AB":
        shutil.copytree(data / room, tmp_path / "data" / room)
    assert run(config, tmp_path / "data", tmp_path / "run") == 2
    assert "pairs has no pairs, which the settings ask for" in capsys.readouterr().err
    cycles = ["--set", "paired_first=0", "--set", "paired_later=0", "--set", "steps=2"]
    assert run(config, tmp_path / "data", tmp_path / "run", *cycles) == 0
    (validation,) = (line for line in lines(tmp_path / "run") if line["group"] == "validation")
    assert set(validation) == {"step", "group", "cycle"}
    assert (tmp_path / "run" / BEST).exists()


def test_a_new_run_takes_up_a_trained_model(config: Path, data: Path, tmp_path: Path) -> None:
    settings = load_config(config)
    assert isinstance(settings, TranslationConfig)
    runtime = Runtime(Fabric(accelerator="cpu", devices=1))
    first = TranslationTask(settings, data, runtime)
    first.save(tmp_path / "model.safetensors", first.model(), 5)
    torch.manual_seed(1)
    second = TranslationTask(settings, data, runtime)
    second.start_from(tmp_path / "model.safetensors")
    assert all(map(torch.equal, first.model().state_dict().values(), second.model().state_dict().values()))
    other = TranslationTask(replace(settings, generator=replace(settings.generator, width=6)), data, runtime)
    with pytest.raises(ConfigError, match="has other networks than the settings"):
        other.start_from(tmp_path / "model.safetensors")


@pytest.mark.parametrize("name", ["unpaired_translation", "translation_small"])
def test_configs_can_be_read(name: str) -> None:
    settings = load_config(CONFIGS / f"{name}.toml")
    assert isinstance(settings, TranslationConfig)
    assert settings.paired_first < settings.steps


def test_pictures_larger_than_they_are_loaded_are_refused(config: Path) -> None:
    with pytest.raises(ConfigError, match="load_px is 32; it has to be at least size_px, 64"):
        load_config(config, ["load_px=32", "size_px=64"])


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is not trained."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "tiny.toml").write_text(TINY)
    settings = load_config(folder / "tiny.toml")
    assert isinstance(settings, TranslationConfig)
    task = TranslationTask(settings, data, Runtime(Fabric(accelerator="cpu", devices=1)))
    path = folder / "run" / "model.safetensors"
    path.parent.mkdir()
    task.save(path, task.model(), 0)
    return path


def test_measures_are_those_of_the_outputs(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        write_picture(tmp_path / "data/test/A" / f"{name}.png", np.full((32, 32, 3), 100, dtype=np.uint8))
        write_picture(tmp_path / "data/test/B" / f"{name}.png", np.full((32, 32, 3), 110, dtype=np.uint8))
    out = tmp_path / "out"
    flags = ["--data", str(tmp_path / "data"), "--model", str(model), "--out", str(out)]
    assert evaluate_translation.main(flags) == 0
    report = (out / "report.md").read_text()
    assert capsys.readouterr().out == report
    _, _, of_input, of_model = (
        [cell.strip() for cell in line.split("|")[1:-1]] for line in report.splitlines()
    )
    # 10 log10(255² / 10²), and 10 / 255.
    assert of_input[0] == "the input itself"
    assert (of_input[1], of_input[3]) == ("28.13", "0.0392")
    assert of_input[1:4] == of_input[4:]
    made = load_photo(out / "run/model/B/one.png").frame
    assert of_model[0] == "run/model"
    assert of_model[1] == f"{psnr_db(made, np.full_like(made, 110)):.2f}"
    sheet = cv2.imread(str(out / "sheet.png"))
    assert sheet is not None
    assert sheet.shape == (6 * 192, 2 * 192, 3)


def test_other_pictures_are_translated_under_their_names(model: Path, data: Path, tmp_path: Path) -> None:
    flags = [
        "--pictures",
        str(data / "test"),
        "--to",
        "b",
        "--model",
        str(model),
        "--out",
        str(tmp_path / "out"),
    ]
    assert evaluate_translation.main(flags) == 0
    names = {path.relative_to(data / "test").as_posix() for path in (data / "test").rglob("*.png")}
    made = {
        path.relative_to(tmp_path / "out/run/model").as_posix() for path in (tmp_path / "out").rglob("*.png")
    }
    assert made == names


def test_what_cannot_be_measured_ends_in_one_line(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = {
        "--pictures needs --to a or --to b": ["--pictures", str(data)],
        "has no pictures": ["--pictures", str(tmp_path), "--to", "a", "--out", str(tmp_path / "out")],
        "test has no pairs": ["--data", str(tmp_path)],
        "two models are named alike": ["--data", str(data), "--model", str(model), str(model)],
        "is not a model of image translation": [
            "--data",
            str(data),
            "--model",
            str(CONFIGS.parent / "weights/edge_face.safetensors"),
        ],
    }
    for message, flags in cases.items():
        given = flags if "--model" in flags else ["--model", str(model), *flags]
        assert evaluate_translation.main(given) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1
