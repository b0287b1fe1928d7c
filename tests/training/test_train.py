"""The training loop on a tiny data set: exact resume, what is kept and what is refused."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
import torch
from filelock import FileLock
from lightning_fabric import Fabric
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from icface.errors import ConfigError
from icface.networks import load_model
from tests.training.tiny_data import make_tiny_dataset
from training import train
from training.learning import trainer
from training.learning.checkpoints import State, load_state
from training.learning.config import load_config
from training.learning.ema import Average
from training.learning.paper.config import TrainConfig
from training.learning.paper.icface import IcfaceMethod
from training.learning.paper.task import PaperTask
from training.learning.runtime import Runtime
from training.learning.trainer import BEST, MODEL, STATE
from training.train import LOCK, main

TINY = """
steps = 6
batch_size = 2
workers = 0
ema = 0.9
log_every = 1
pictures_every = 3
save_every = 100
validate_every = 3
validation_pairs = 3

[networks]
size_px = 32

[networks.generator]
width = 4
blocks = 1

[networks.discriminator]
width = 4

[losses]
identity = 0.0
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def run(config: Path, data: Path, out: Path, *more: str) -> int:
    return main(
        ["--config", str(config), "--data", str(data), "--out", str(out), "--accelerator", "cpu", *more]
    )


def tensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict


def lines(out: Path) -> list[dict[str, float | str]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("method", ["icface", "unpaired"])
def test_resumed_run_equals_one_in_one_go(
    config: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """2N steps, against N, a stop, and N more: weights, averages, optimisers and losses are the same bits."""
    chosen = ["--set", f"method={method}"]
    assert run(config, data, tmp_path / "whole", *chosen) == 0

    interrupt_after(3, monkeypatch)
    assert run(config, data, tmp_path / "parts", *chosen) == 0
    monkeypatch.undo()
    assert header_of(tmp_path / "parts")["step"] == 3
    assert run(config, data, tmp_path / "parts", *chosen) == 0

    whole, parts = tensors(tmp_path / "whole" / STATE), tensors(tmp_path / "parts" / STATE)
    assert whole.keys() == parts.keys()
    assert any(name.startswith("optimizer/") for name in whole)
    different = [name for name in whole if not torch.equal(whole[name], parts[name])]
    assert different == []
    assert lines(tmp_path / "whole") == lines(tmp_path / "parts")


def interrupt_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C arrives when that many steps are done."""
    whole = trainer.Trainer._step

    def step(self: trainer.Trainer, number: int, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        if number > steps:
            raise KeyboardInterrupt
        return whole(self, number, batch)

    monkeypatch.setattr(trainer.Trainer, "_step", step)


def test_run_leaves_models_that_load(config: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert run(config, data, out, "--set", "provenance=rendered", "--set", "licence=MIT") == 0
    for name in (MODEL, BEST):
        model, info = load_model(out / name)
        assert (info.provenance, info.licence, info.attribute_scale) == ("rendered", "MIT", "full-shape")
        assert info.networks.size_px == 32
        assert not model.training
    assert load_model(out / MODEL)[1].step == 6
    # What is exported is the average.
    state = tensors(out / STATE)
    for name in model.state_dict():
        if name.endswith("weight"):
            assert torch.equal(tensors(out / MODEL)[name], state[f"average/{name}"])
    validated = {line["step"]: line for line in lines(out) if line["group"] == "validation"}
    assert set(validated) == {3, 6}
    best = min(validated.values(), key=lambda line: line["l1"])
    assert load_model(out / BEST)[1].step == best["step"]
    assert list((out / "tensorboard").iterdir())


def test_ablation_trains_no_neutraliser(config: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert run(config, data, out, "--set", "networks.neutraliser=false") == 0
    model, _ = load_model(out / MODEL)
    assert model.generator_neutral is None
    assert "neutral" not in lines(out)[0]


def test_first_version_trains_encoder_and_identity_head(config: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    settings = [
        "networks.image_encoder={width=4, depth=2, channels=4}",
        "networks.discriminator.identities=3",
        "losses.identity=1",
    ]
    assert run(config, data, out, *(part for setting in settings for part in ("--set", setting))) == 0
    assert {"identity", "d_identity"} <= set(lines(out)[0])
    model, _ = load_model(out / MODEL)
    fresh = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("image_encoder")}
    assert fresh


def test_first_version_as_released_keeps_openfaces_scale(config: Path, tmp_path: Path) -> None:
    data = make_tiny_dataset(tmp_path / "data", attribute_scale="openface")
    settings = [
        "steps=2",
        "attribute_scale=openface",
        "networks.image_encoder={kind='release', width=4, depth=0, channels=3}",
        "networks.discriminator.layers=release",
    ]
    flags = [part for setting in settings for part in ("--set", setting)]
    assert run(config, data, tmp_path / "run", *flags) == 0
    model, info = load_model(tmp_path / "run" / MODEL)
    assert info.attribute_scale == "openface"
    assert info.networks.discriminator.layers == "release" and model.image_encoder is not None


def test_failure_on_nan_keeps_the_last_state(
    config: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    interrupt_after(2, monkeypatch)
    assert run(config, data, out) == 0
    monkeypatch.undo()
    kept = (out / STATE).read_bytes()
    whole = IcfaceMethod.step

    def broken(self: IcfaceMethod, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            next(self.modules["generators"].parameters()).fill_(float("nan"))
        return whole(self, batch)

    monkeypatch.setattr(IcfaceMethod, "step", broken)
    assert run(config, data, out) != 0
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: step 3: the loss d_adversarial")
    assert "not a finite number" in said
    assert str(out / STATE) in said
    assert (out / STATE).read_bytes() == kept


def test_failure_on_an_infinite_gradient_keeps_the_last_state(
    config: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The losses of step 4 are finite, its state would be saved, and one step with the gradient makes weights NaN."""
    assert run(config, data, tmp_path / "whole") == 0
    out = tmp_path / "run"
    interrupt_after(3, monkeypatch)
    assert run(config, data, out) == 0
    monkeypatch.undo()
    kept = {name: (out / name).read_bytes() for name in (STATE, MODEL)}

    whole = IcfaceMethod.step

    def broken(self: IcfaceMethod, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        weight = next(self.modules["generators"].parameters())
        weight.register_hook(lambda gradient: gradient.fill_(float("inf")))
        return whole(self, batch)

    monkeypatch.setattr(IcfaceMethod, "step", broken)
    assert run(config, data, out, "--set", "save_every=4") == 2
    monkeypatch.undo()
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(
        "error: step 4: the gradient of the losses adversarial, attributes, reconstruction, "
    )
    assert f"the last good state is {out / STATE}" in said
    assert {name: (out / name).read_bytes() for name in kept} == kept
    load_model(out / MODEL)
    assert run(config, data, out) == 0
    ended, wanted = tensors(out / STATE), tensors(tmp_path / "whole" / STATE)
    assert all(torch.equal(ended[name], wanted[name]) for name in wanted)


def test_termination_amid_a_step_is_obeyed_after_it(
    config: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state in which D is a step further than the generators would not go on as the run in one go."""
    assert run(config, data, tmp_path / "whole") == 0
    out, whole = tmp_path / "run", IcfaceMethod._step_generators
    steps: list[None] = []

    def terminated(self: IcfaceMethod, *arguments: Any) -> dict[str, Tensor]:
        steps.append(None)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return whole(self, *arguments)

    monkeypatch.setattr(IcfaceMethod, "_step_generators", terminated)
    assert run(config, data, out) == 0
    monkeypatch.undo()
    assert len(steps) == 3
    assert header_of(out)["step"] == 3
    assert run(config, data, out) == 0
    ended, wanted = tensors(out / STATE), tensors(tmp_path / "whole" / STATE)
    assert all(torch.equal(ended[name], wanted[name]) for name in wanted)


def test_asked_twice_it_stops_at_once(
    config: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs(self: IcfaceMethod, *_: Any) -> dict[str, Tensor]:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("was not stopped")

    monkeypatch.setattr(IcfaceMethod, "_step_generators", hangs)
    before = signal.getsignal(signal.SIGTERM)
    assert run(config, data, tmp_path / "run") == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_no_time_is_no_step(
    config: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert run(config, data, tmp_path / "run", "--minutes", "0") == 0
    assert "stopped before the first step; nothing is kept yet" in caplog.messages
    assert not (tmp_path / "run" / STATE).exists()
    assert run(config, data, tmp_path / "run") == 0
    caplog.clear()
    assert run(config, data, tmp_path / "run", "--minutes", "0") == 0
    assert not [message for message in caplog.messages if message.startswith("stopped")]


def test_a_killed_runs_lines_are_written_once(
    config: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 leaves lines of steps that no state holds, the last one in half."""
    assert run(config, data, tmp_path / "whole") == 0
    out = tmp_path / "run"
    interrupt_after(3, monkeypatch)
    assert run(config, data, out) == 0
    monkeypatch.undo()
    with (out / "log.jsonl").open("a") as file:
        file.write('{"step": 4, "group": "train", "total": 1.0}\n{"step": 5, "gro')
    assert run(config, data, out) == 0
    assert lines(out) == lines(tmp_path / "whole")


def test_a_run_killed_before_its_first_state_starts_its_log_anew(
    config: Path, data: Path, tmp_path: Path
) -> None:
    assert run(config, data, tmp_path / "whole") == 0
    (tmp_path / "run").mkdir()
    (tmp_path / "run/log.jsonl").write_text('{"step": 1, "group": "train", "total": 1.0}\n')
    assert run(config, data, tmp_path / "run") == 0
    assert lines(tmp_path / "run") == lines(tmp_path / "whole")


@pytest.mark.parametrize(
    ("precision", "has", "warned"),
    [("bf16-mixed", False, True), ("bf16-mixed", None, False), ("32-true", False, False)],
)
def test_slow_bfloat16_is_said(
    precision: str,
    has: bool | None,
    warned: bool,
    config: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("WARNING")  # whatever a command set before
    monkeypatch.setattr(train, "has_bf16", lambda: has)
    assert run(config, data, tmp_path / "run", "--set", f"precision={precision}", "--minutes", "0") == 0
    assert ("precision=32-true is several times faster" in caplog.text) == warned


def test_two_trainings_do_not_share_a_folder(
    config: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    with FileLock(out / LOCK):
        assert run(config, data, out) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert said[-1].startswith(f"error: another training runs in {out}; ")
        assert [path.name for path in out.iterdir()] == [LOCK]
    assert run(config, data, out) == 0


def test_a_run_is_ended_by_a_falling_rate(
    config: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4 of 6 steps, then 3 to end it, with a stop in between: the same bits as with none, and the rate falls."""
    rates: list[float] = []
    whole = IcfaceMethod.step

    def step(self: IcfaceMethod, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        rates.append(self.optimizers["generators"].param_groups[0]["lr"])
        return whole(self, batch)

    monkeypatch.setattr(IcfaceMethod, "step", step)
    flags = ["--set", "optimizer.schedule=constant"]
    for stops, out in (((4,), "one"), ((4, 6), "two")):
        for number, stop in enumerate(stops):
            with monkeypatch.context() as patched:
                interrupt_after(stop, patched)
                assert run(config, data, tmp_path / out, *flags, *(["--finish", "3"] if number else [])) == 0
        rates.clear()
        assert run(config, data, tmp_path / out, *flags, "--finish", "3") == 0
        assert header_of(tmp_path / out)["step"] == 7
    one, two = tensors(tmp_path / "one" / STATE), tensors(tmp_path / "two" / STATE)
    assert all(torch.equal(one[name], two[name]) for name in one)
    # Of 3 steps the last one has cos² 60° = 1/4 of the way from the least rate, .02, to the whole one.
    assert rates == pytest.approx([2e-4 * (0.02 + 0.98 * 0.25)])


def header_of(out: Path) -> dict[str, Any]:
    with safe_open(out / STATE, framework="pt") as file:
        return json.loads(file.metadata()["icface-training"])  # type: ignore[no-any-return]


def test_another_number_of_processes_does_not_go_on(
    config: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A step's number says which pairs come next only together with how many a step takes."""
    out = tmp_path / "run"
    interrupt_after(1, monkeypatch)
    assert run(config, data, out) == 0
    monkeypatch.undo()
    header = header_of(out)
    assert header["processes"] == 1
    save_file(tensors(out / STATE), out / STATE, {"icface-training": json.dumps({**header, "processes": 2})})
    assert run(config, data, out) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(
        f"error: {out / STATE} is a run of 2 processes, not 1, which would see other pairs; "
    )


def test_a_folder_that_machines_do_not_share_is_refused(
    config: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first process has a state, this one on another machine has none and would begin anew."""
    monkeypatch.setattr(Fabric, "broadcast", lambda self, found: 3 if found == 0 else found)
    assert run(config, data, tmp_path / "run") == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"error: the processes find different states in {tmp_path / 'run'}; ")


class Processes:
    """Stands in for Fabric: remembers how it was started."""

    started: ClassVar[list[Processes]] = []

    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments
        self.launched = False
        self.world_size = int(os.environ.get("WORLD_SIZE", "1"))
        self.started.append(self)

    def launch(self) -> None:
        self.launched = True


@pytest.mark.parametrize(
    ("environment", "flags", "devices", "nodes", "launched"),
    [
        ({}, [], "auto", 1, True),
        ({}, ["--devices", "8", "--nodes", "2"], "8", 2, True),
        # torchrun --nproc_per_node 2, on one machine and on three.
        ({"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}, [], "2", 1, True),
        ({"WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "2"}, [], "2", 3, True),
        ({"WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "2"}, ["--devices", "2", "--nodes", "3"], "2", 3, True),
        # fabric run --devices 2: Fabric takes it from its own variables, and refuses to be launched again.
        ({"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "LT_CLI_USED": "1"}, [], "auto", 1, False),
    ],
)
def test_what_a_launcher_decided_is_kept(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    flags: list[str],
    devices: str,
    nodes: int,
    launched: bool,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(train, "Fabric", Processes)
    given = train.parser().parse_args(["--config", "c", "--data", "d", "--out", "o", *flags])
    train._launch(given, "32-true")
    started = Processes.started.pop()
    assert started.arguments == {
        "accelerator": "auto",
        "devices": devices,
        "num_nodes": nodes,
        "precision": "32-true",
    }
    assert started.launched == launched


def test_processes_that_would_train_alone_are_refused(
    config: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run(config, data, tmp_path / "run", "--devices", "1") == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(
        "error: a launcher started 2 processes, but --devices 1 --nodes 1 makes 1 train together"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("optimizer.rate=1e-3", "is a run with optimizer.rate = 0.0002, not 0.001"),
        ("networks.generator.width=8", "networks.generator.width = 4, not 8"),
        ("steps=7", "steps = 6, not 7"),
    ],
)
def test_other_settings_do_not_go_on(
    config: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: str,
    said: str,
) -> None:
    interrupt_after(1, monkeypatch)
    assert run(config, data, tmp_path / "run") == 0
    assert run(config, data, tmp_path / "run", "--set", change) == 2
    assert said in capsys.readouterr().err.strip().splitlines()[-1]


def test_what_changes_nothing_may_differ(
    config: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(2, monkeypatch)
    assert run(config, data, tmp_path / "run") == 0
    monkeypatch.undo()
    assert run(config, data, tmp_path / "run", "--set", "log_every=2", "--set", "licence=MIT") == 0
    assert load_model(tmp_path / "run" / MODEL)[1].licence == "MIT"


def test_other_data_do_not_go_on(
    config: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    interrupt_after(1, monkeypatch)
    assert run(config, data, tmp_path / "run") == 0
    other = make_tiny_dataset(tmp_path / "other", frames=5)
    assert run(config, other, tmp_path / "run") == 2
    assert "is a run with another --data; go on with the same" in capsys.readouterr().err


def test_other_portraits_do_not_go_on(
    config: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--set", "method=unpaired", "--set", "steps=1"]
    assert run(config, data, tmp_path / "run", *given) == 0
    other = make_tiny_dataset(tmp_path / "other", frames=5)
    assert run(config, data, tmp_path / "run", *given, "--portraits", str(other)) == 2
    assert "is a run with another --portraits" in capsys.readouterr().err


def test_damaged_state_is_refused(
    config: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    interrupt_after(1, monkeypatch)
    assert run(config, data, tmp_path / "run") == 0
    state = tmp_path / "run" / STATE
    state.write_bytes(state.read_bytes()[:-100])
    assert run(config, data, tmp_path / "run") == 2
    assert f"error: cannot read {state}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--set", "networks.size_px=64"], "holds crops of 32 pixels, the settings say 64"),
        (["--set", "losses.identity=10"], "no identity network is given: --identity LIGHTCNN_WEIGHTS"),
        (["--set", "networks.discriminator.identities=5"], "has 3 identities to train on, D's head 5"),
        (["--accelerator", "abacus"], "--accelerator abacus"),
        (["--devices", "zero"], "--devices zero"),
        (["--identity", "missing.pth"], "missing.pth"),
        (["--threads", "0"], "--threads is 0; it has to be at least 1"),
        (["--nodes", "-1"], "--nodes is -1; it has to be at least 1"),
        (["--minutes", "-1"], "--minutes is -1.0; it cannot be negative"),
        (["--minutes", "nan"], "--minutes is nan; it cannot be negative"),
        (
            ["--set", "attribute_scale=openface"],
            "has attributes on the scale full-shape, the settings say openface; prepare it with --scale openface",
        ),
        (["--set", "networks.image_encoder.depth=7"], "image_encoder.depth 7 is too deep for size_px 32"),
    ],
)
def test_one_line_for_what_does_not_fit(
    config: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert run(config, data, tmp_path / "run", *more) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert said in error[-1]
    assert error[-1].startswith("error: ")
    assert not any(line.startswith("Traceback") for line in error)


def test_full_disk_loses_nothing(
    config: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    interrupt_after(2, monkeypatch)
    assert run(config, data, tmp_path / "run") == 0
    monkeypatch.undo()
    kept = (tmp_path / "run" / STATE).read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("icface.networks.checkpoint.save_file", full)
    assert run(config, data, tmp_path / "run") != 0
    assert "No space left on device" in capsys.readouterr().err.strip().splitlines()[-1]
    assert (tmp_path / "run" / STATE).read_bytes() == kept
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]


def test_state_of_another_network_is_refused(config: Path, data: Path, tmp_path: Path) -> None:
    """A state is never loaded in part."""
    assert run(config, data, tmp_path / "run") == 0
    settings = load_config(config)
    assert isinstance(settings, TrainConfig)
    task = PaperTask(settings, data, Runtime(Fabric(accelerator="cpu", devices=1)))
    path = tmp_path / "other.safetensors"
    content = tensors(tmp_path / "run" / STATE)
    content.pop("module/generators/generator_neutral.stem.weight")
    with safe_open(tmp_path / "run" / STATE, framework="pt") as file:
        metadata = file.metadata()
    save_file(content, path, metadata)
    with pytest.raises(ConfigError, match=r"lacks the weight generator_neutral\.stem\.weight"):
        load_state(
            path,
            msgspec.json.decode(metadata["icface-training"], type=State),
            task,
            Average(task.model(), 0.9),
        )


def start(repository: Path, launcher: Sequence[str], arguments: Sequence[str]) -> None:
    """The command as a file, with a launcher in front or without."""
    command = [sys.executable, *launcher, str(repository / "training/train.py"), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, timeout=300, cwd=repository, env=environment)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "by",
    [
        "itself",
        pytest.param("torchrun", marks=pytest.mark.long),
        pytest.param("fabric", marks=pytest.mark.long),
    ],
)
def test_two_processes_train_as_one_with_twice_the_batch(
    config: Path, data: Path, tmp_path: Path, repository: Path, by: str
) -> None:
    """Without batch norm and dropout, which look at a process's own batch; gradients are averaged over processes."""
    same = ["networks.generator.norm=none", "networks.generator.dropout=0.0", "steps=3", "validate_every=3"]

    def arguments(out: str, batch_size: int) -> list[str]:
        settings = [part for setting in [*same, f"batch_size={batch_size}"] for part in ("--set", setting)]
        folders = ["--config", str(config), "--data", str(data), "--out", str(tmp_path / out)]
        return [*folders, "--threads", "1", *settings]

    cpu = ["--accelerator", "cpu"]
    assert main([*arguments("one", 4), *cpu]) == 0
    match by:
        case "itself":
            start(repository, [], [*arguments("two", 2), *cpu, "--devices", "2"])
        case "torchrun":
            torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
            start(repository, torchrun, [*arguments("two", 2), *cpu])
        case _:  # `fabric run` is this module
            fabric = ["-m", "lightning_fabric.cli", "--accelerator=cpu", "--devices=2"]
            start(repository, [*fabric, f"--main-port={free_port()}"], arguments("two", 2))
    one, two = tensors(tmp_path / "one" / STATE), tensors(tmp_path / "two" / STATE)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.allclose(tensor, two[name], atol=1e-5), name
    assert [line["step"] for line in lines(tmp_path / "two")] == [1, 2, 3, 3], "one process alone writes"
    assert header_of(tmp_path / "two")["processes"] == 2
