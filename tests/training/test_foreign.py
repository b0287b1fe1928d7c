"""Files of others: only weights come out of them, whatever else is inside."""

from __future__ import annotations

import pickle
import pickletools
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from icface.errors import ConfigError
from tests.training.published import Command, save_with_code
from training.networks.foreign import read_published

WEIGHTS = {"module.a.weight": torch.arange(6.0).reshape(2, 3), "module.a.bias": torch.ones(2)}
NAMES = ["a.weight", "a.bias"]


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_published(path)
    line = str(caught.value)
    assert "\n" not in line and path.name in line and len(line) < len(str(path)) + 200
    # Torch's own advice.
    assert "weights_only" not in line
    return line


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "before torch 1.6"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_weights_by_name(wrapped: bool, archive: bool, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    held = {"state_dict": WEIGHTS, "epoch": 3, "optimizer": {"lr": 0.1, "state": {0: torch.zeros(2)}}}
    torch.save(held if wrapped else WEIGHTS, path, _use_new_zipfile_serialization=archive)
    found = read_published(path)
    assert list(found) == NAMES
    assert torch.equal(found["a.weight"], WEIGHTS["module.a.weight"])


def test_weights_that_were_trained_are_detached(tmp_path: Path) -> None:
    torch.save({"w": nn.Parameter(torch.ones(2))}, tmp_path / "weights.pth")
    assert not read_published(tmp_path / "weights.pth")["w"].requires_grad


def in_python_2(data: bytes) -> bytes:
    """Pickles with texts as Python 2 wrote them: byte strings."""
    result = bytearray()
    start = 0
    while start < len(data):
        try:
            steps = list(pickletools.genops(data[start:]))
        except ValueError:  # the numbers after the last pickle
            break
        places = [start + (place or 0) for _, _, place in steps]
        for (code, value, _), begin, end in zip(steps, places, [*places[1:], places[-1] + 1], strict=True):
            if code.name == "BINUNICODE":
                result += b"U" + bytes([len(str(value))]) + str(value).encode()
            else:
                result += data[begin:end]
        start = places[-1] + 1
    return bytes(result + data[start:])


def test_file_of_python_2(tmp_path: Path) -> None:
    """The oldest published weights are such files."""
    path = tmp_path / "weights.pth.tar"
    torch.save({"state_dict": WEIGHTS}, path, _use_new_zipfile_serialization=False)
    data = in_python_2(path.read_bytes())
    assert b"U\x0fmodule.a.weight" in data
    path.write_bytes(data)
    assert torch.equal(read_published(path)["a.weight"], WEIGHTS["module.a.weight"])


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "before torch 1.6"])
def test_code_is_never_run(archive: bool, tmp_path: Path) -> None:
    path, trace = tmp_path / "weights.pth", tmp_path / "trace"
    save_with_code(path, trace, {"state_dict": WEIGHTS}, archive=archive)
    line = refused(path)
    assert "refused" in line and "posix.system" in line
    assert not trace.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_bare_pickles_are_never_run(protocol: int, tmp_path: Path) -> None:
    path, trace = tmp_path / "weights.pkl", tmp_path / "trace"
    path.write_bytes(pickle.dumps(Command(trace), protocol=protocol))
    refused(path)
    assert not trace.exists()


def test_whole_networks_are_refused(tmp_path: Path) -> None:
    """They can only be read by calling their classes."""
    torch.save(nn.Linear(2, 2), tmp_path / "network.pth")
    assert "torch.nn.modules.linear.Linear" in refused(tmp_path / "network.pth")


@pytest.mark.parametrize(
    "held",
    [
        [torch.zeros(2)],
        torch.zeros(2),
        {},
        {"state_dict": {}},
        {"a": 3},
        {3: torch.zeros(2)},
        {"a": {"b": torch.zeros(2)}},
        {"a": torch.zeros(2), "module.a": torch.zeros(2)},
        {"a": torch.zeros(2).to_sparse()},
        {"a": torch.zeros(2, dtype=torch.complex64)},
        {"a": torch.zeros(1).expand(10**9, 10**3)},
    ],
    ids=[
        "list",
        "tensor",
        "empty",
        "empty inside",
        "number",
        "key",
        "nested",
        "twice",
        "sparse",
        "complex",
        "endless",
    ],
)
def test_other_contents(held: Any, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "weights.pth")
    refused(tmp_path / "weights.pth")


def test_other_files(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "missing.pth")
    assert "Is a directory" in refused(tmp_path)
    for number, data in enumerate((b"", b"hello world", b"\x89PNG\r\n\x1a\n", bytes(1000))):
        path = tmp_path / f"{number}.pth"
        path.write_bytes(data)
        refused(path)


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "before torch 1.6"])
def test_damage_anywhere_is_one_error(archive: bool, tmp_path: Path) -> None:
    """Bytes changed or cut off at random: weights or a ConfigError come out, nothing else."""
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": WEIGHTS, "epoch": 3}, path, _use_new_zipfile_serialization=archive)
    whole = path.read_bytes()
    rng = random.Random(8)
    errors = 0
    for _ in range(300):
        data = bytearray(whole)
        if rng.random() < 0.25:
            data = data[: rng.randrange(len(data))]
        else:
            for _ in range(rng.randrange(1, 4)):
                data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
        try:
            found: dict[str, Tensor] = read_published(path)
        except ConfigError as error:
            assert "\n" not in str(error)
            errors += 1
        else:
            assert all(isinstance(tensor, Tensor) for tensor in found.values())
    assert errors > 100
