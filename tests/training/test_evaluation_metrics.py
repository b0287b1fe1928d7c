"""Numbers by hand and by independent formulas: picture metrics, measuring networks, Action Unit presence."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.nn import functional

from icface.arrays import Array
from icface.attributes import ACTION_UNITS, AU_NAMES, COUNT, FULL_SHAPE_GAIN, INDEX, neutral
from icface.errors import ConfigError
from icface.quality import psnr_db
from training.evaluation.picture_networks import (
    CNNIQA,
    LPIPS,
    WaDIQaM,
    load_cnniqa,
    load_lpips,
    load_wadiqam,
    local_normalisation,
    patches,
)
from training.evaluation.presence import confusion, summary, surrogate
from training.evaluation.similarity import l1, ssim
from training.preparation.openface_csv import read_presence


def flat(level: int, size_px: int = 16) -> np.ndarray:
    return np.full((size_px, size_px, 3), level, dtype=np.uint8)


# Pictures


def test_l1_and_psnr_of_flat_pictures() -> None:
    assert l1(flat(51), flat(102)) == pytest.approx(0.2)
    assert psnr_db(flat(51), flat(102)) == pytest.approx(-10 * math.log10(0.04))  # 13.98 dB
    assert psnr_db(flat(7), flat(7)) == math.inf
    # No wrap-around of uint8.
    assert l1(flat(0), flat(255)) == 1.0
    assert psnr_db(flat(255), flat(0)) == pytest.approx(0.0)


def test_ssim_of_flat_pictures_is_the_luminance_term() -> None:
    a, b = 51 / 255, 204 / 255
    wanted = (2 * a * b + 0.0001) / (a * a + b * b + 0.0001)
    assert ssim(flat(51), flat(204)) == pytest.approx(wanted, abs=1e-9)
    assert ssim(flat(99), flat(99)) == pytest.approx(1.0)


def test_ssim_agrees_with_scipys_gaussian(rng: np.random.Generator) -> None:
    a = rng.integers(0, 256, (37, 37, 3), dtype=np.uint8)
    b = np.clip(a.astype(int) + rng.integers(-40, 40, a.shape), 0, 255).astype(np.uint8)

    def blur(x: Array) -> Array:
        return np.asarray(gaussian_filter(x, 1.5, truncate=3.5)[5:-5, 5:-5])  # radius 5

    scores = []
    for channel in range(3):
        x, y = a[..., channel] / 255, b[..., channel] / 255
        mx, my = blur(x), blur(y)
        vx, vy, c = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
        scores.append(
            ((2 * mx * my + 1e-4) * (2 * c + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))).mean()
        )
    assert ssim(a, b) == pytest.approx(np.mean(scores), abs=1e-9)
    assert 0.3 < ssim(a, b) < 0.99


def test_ssim_refuses_what_is_smaller_than_its_window() -> None:
    with pytest.raises(ValueError, match="11 pixels"):
        ssim(flat(0, 10), flat(0, 10))


# CNNIQA


def dot(row: int, column: int) -> torch.Tensor:
    patch = torch.zeros(1, 1, 32, 32)
    patch[0, 0, row, column] = 1
    return patch


def test_local_normalisation_of_a_dot_by_hand() -> None:
    inside = local_normalisation(dot(16, 16))[0, 0]
    spread = math.sqrt(1 / 9 - 1 / 81)
    assert inside[16, 16].item() == pytest.approx((1 - 1 / 9) / (1 + spread), abs=1e-6)  # .676
    assert inside[15, 16].item() == pytest.approx((0 - 1 / 9) / (1 + spread), abs=1e-6)
    assert inside[16, 18].item() == 0
    # In a corner the mirrored border shows the dot four times.
    corner = local_normalisation(dot(0, 0))[0, 0]
    assert corner[0, 0].item() == pytest.approx((1 - 4 / 9) / (1 + math.sqrt(4 / 9 - 16 / 81)), abs=1e-6)


def test_cnniqa_has_the_papers_size() -> None:
    # 50 kernels of 7 × 7, (50 max + 50 min) → 800 → 800 → 1: “7.2 × 10^5 parameters”.
    count = sum(p.numel() for p in CNNIQA().parameters())
    assert count == (49 + 1) * 50 + (100 + 1) * 800 + (800 + 1) * 800 + 801 == 724_901


def test_cnniqa_scores_a_dot_by_hand() -> None:
    network = CNNIQA().eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.zero_()
    network.conv1.weight[0, 0, 3, 3] = 1  # the pixel itself
    network.fc1.weight[0, 0] = 1  # largest answer
    network.fc1.weight[1, 50] = -1  # smallest answer, turned round
    network.fc2.weight[0, 0] = network.fc2.weight[1, 1] = 1
    network.fc3.weight[0, :2] = torch.tensor([1.0, 10.0])
    image = -torch.ones(2, 3, 32, 64)
    image[0, :, 16, 16] = 1  # white on black, in the first of two patches
    dotted = (8 / 9 + 10 / 9) / (1 + math.sqrt(8) / 9)
    torch.testing.assert_close(network(image), torch.tensor([dotted / 2, 0.0]))


def test_patches_lie_side_by_side_row_by_row() -> None:
    image = torch.arange(2 * 70 * 66, dtype=torch.float32).view(1, 2, 70, 66)
    found = patches(image)
    assert found.shape == (4, 2, 32, 32)
    for number, (row, column) in enumerate(((0, 0), (0, 32), (32, 0), (32, 32))):
        assert torch.equal(found[number], image[0, :, row : row + 32, column : column + 32])


# DeepIQA


def test_wadiqam_has_the_papers_size() -> None:
    # “6.3 million parameters” with both heads.
    widths = [3, 32, 32, 64, 64, 128, 128, 256, 256, 512, 512]
    convolutions = sum(9 * a * b + b for a, b in pairwise(widths))
    head = 1536 * 512 + 512 + 512 + 1
    assert sum(p.numel() for p in WaDIQaM().parameters()) == convolutions + 2 * head == 6_287_138


def test_wadiqam_weighs_patches() -> None:
    torch.manual_seed(1)
    network = WaDIQaM().eval().requires_grad_(False)
    image, reference = torch.rand(2, 2, 3, 64, 32) * 2 - 1
    seen, known = (network.features(patches((x + 1) / 2)) for x in (image, reference))
    fused = torch.cat([seen - known, seen, known], 1)
    assert fused.shape == (4, 1536)
    quality = network.fc2_q(functional.relu(network.fc1_q(fused))).view(2, 2)
    weight = network.fc2_w(functional.relu(network.fc1_w(fused))).view(2, 2).clamp(min=0) + 1e-6
    torch.testing.assert_close(network(image, reference), (quality * weight).sum(1) / weight.sum(1))
    # Without weights every patch counts alike.
    network.fc2_w.weight.zero_()
    network.fc2_w.bias.fill_(-1)
    torch.testing.assert_close(network(image, reference), quality.mean(1))


def test_both_published_layouts_load_with_their_range(tmp_path: Path) -> None:
    torch.manual_seed(2)
    network = WaDIQaM()
    tensors = network.state_dict()
    torch.save(tensors, tmp_path / "li.pth")
    other = {"fc1_q": "fc1", "fc2_q": "fc2", "fc1_w": "fc1_a", "fc2_w": "fc2_a"}
    renamed = {
        f"module.{other.get(name.split('.')[0], name.split('.')[0])}.{name.split('.')[1]}": tensor
        for name, tensor in tensors.items()
    }
    torch.save({"state_dict": renamed}, tmp_path / "authors.pth")
    first, second = load_wadiqam(tmp_path / "li.pth"), load_wadiqam(tmp_path / "authors.pth")
    assert (first.peak, second.peak) == (1.0, 255.0)
    assert torch.equal(first.fc1_w.weight, second.fc1_w.weight)
    assert torch.equal(first.state_dict()["conv10.bias"], second.state_dict()["conv10.bias"])


# LPIPS


def test_lpips_is_the_published_computation() -> None:
    torch.manual_seed(3)
    network = LPIPS().eval().requires_grad_(False)
    a, b = torch.rand(2, 3, 3, 64, 64) * 2 - 1
    w = network.state_dict()

    def features(x: torch.Tensor) -> list[torch.Tensor]:
        shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
        x = (x - shift.view(1, 3, 1, 1)) / scale.view(1, 3, 1, 1)
        found = []
        for part, place, stride, padding, pool in ((1, 0, 4, 2, False), (2, 3, 1, 2, True), (3, 6, 1, 1, True),
                                                   (4, 8, 1, 1, False), (5, 10, 1, 1, False)):  # fmt: skip
            x = functional.max_pool2d(x, 3, 2) if pool else x
            name = f"net.slice{part}.{place}"
            x = functional.relu(functional.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride, padding))
            found.append(x)
        return found

    wanted = torch.zeros(3)
    for number, (x, y) in enumerate(zip(features(a), features(b), strict=True)):
        difference = (x / x.norm(dim=1, keepdim=True) - y / y.norm(dim=1, keepdim=True)) ** 2
        weight = w[f"lin{number}.model.1.weight"]
        wanted += (difference * weight.view(1, -1, 1, 1)).sum(1).mean((1, 2))
    torch.testing.assert_close(network(a, b), wanted, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(network(a, a), torch.zeros(3))


def test_lpips_reads_the_packages_table(tmp_path: Path) -> None:
    tensors = LPIPS().state_dict()
    # The package lists the heads twice and the colour constants besides.
    table = dict(tensors) | {f"lins.{n}.model.1.weight": tensors[f"lin{n}.model.1.weight"] for n in range(5)}
    table |= {"scaling_layer.shift": torch.zeros(1, 3, 1, 1), "scaling_layer.scale": torch.ones(1, 3, 1, 1)}
    torch.save(table, tmp_path / "alex.pth")
    loaded = load_lpips(tmp_path / "alex.pth")
    assert torch.equal(loaded.state_dict()["net.slice3.6.weight"], tensors["net.slice3.6.weight"])


# Weights from elsewhere


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return print, ("run",)


@pytest.mark.parametrize("load", [load_cnniqa, load_wadiqam, load_lpips])
def test_a_file_that_runs_code_is_refused(
    load: Callable[[Path], nn.Module], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"conv1.weight": Evil()}, path)
    with pytest.raises(ConfigError, match="refused"):
        load(path)
    path.write_bytes(b"no weights at all")
    with pytest.raises(ConfigError, match=r"evil\.pth"):
        load(path)
    assert "run" not in capsys.readouterr().out


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save(nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(ConfigError, match=r"lacks the weight conv1"):
        load_cnniqa(path)
    spoiled = CNNIQA().state_dict()
    spoiled["fc3.bias"] = torch.tensor([math.nan])
    torch.save(spoiled, path)
    with pytest.raises(ConfigError, match=r"fc3\.bias"):
        load_cnniqa(path)
    with pytest.raises(ConfigError, match="cannot read"):
        load_cnniqa(tmp_path / "missing.pth")


# Presence


def presence(**units: list[int]) -> np.ndarray:
    """(n, 17): the named Action Units as given, all others absent."""
    n = len(next(iter(units.values())))
    result = np.zeros((n, 17), dtype=np.int8)
    for name, values in units.items():
        result[:, AU_NAMES.index(name)] = values
    return result


def test_presence_against_the_driver_by_hand() -> None:
    # AU12: TP 2, FN 1, FP 1, TN 1. AU25: TP 1, FN 0, FP 3, TN 1.
    driver = presence(AU12=[1, 1, 1, 0, 0], AU25=[1, 0, 0, 0, 0])
    output = presence(AU12=[1, 1, 0, 1, 0], AU25=[1, 1, 1, 1, 0])
    found = summary(confusion(driver, output))
    assert found["per_au"]["AU12"]["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["per_au"]["AU12"]["f"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert found["per_au"]["AU25"]["balanced_accuracy"] == pytest.approx((1 + 1 / 4) / 2)
    assert found["per_au"]["AU25"]["f"] == pytest.approx(2 / (2 + 3))
    # The other 15 are absent on both sides: neither number is defined, and the macro mean leaves them out.
    assert found["per_au"]["AU01"] == {
        "balanced_accuracy": None, "f": None, "in_driver": 0, "in_output": 0, "frames": 5,
    }  # fmt: skip
    assert found["macro"]["balanced_accuracy"] == pytest.approx((7 / 12 + 5 / 8) / 2)
    assert found["macro"]["f"] == pytest.approx((2 / 3 + 2 / 5) / 2)
    # All together: TP 3, FN 1, FP 4, TN 2 + 75.
    assert found["micro"]["balanced_accuracy"] == pytest.approx((3 / 4 + 77 / 81) / 2)
    assert found["micro"]["f"] == pytest.approx(6 / (6 + 4 + 1))


def test_a_unit_that_the_driver_always_or_never_shows() -> None:
    found = summary(confusion(presence(AU12=[1, 1]), presence(AU12=[1, 0], AU04=[1, 0])))
    assert found["per_au"]["AU12"]["balanced_accuracy"] is None  # no frame without it
    assert found["per_au"]["AU12"]["f"] == pytest.approx(2 / 3)
    assert found["per_au"]["AU04"]["balanced_accuracy"] is None  # no frame with it
    assert found["per_au"]["AU04"]["f"] == 0.0
    assert found["macro"]["balanced_accuracy"] is None


def test_frames_of_an_unknown_driver_do_not_count() -> None:
    driver, output = presence(AU12=[1, 1, 0, 0]), presence(AU12=[1, 0, 0, 1])
    driver[1] = driver[3] = -1
    found = summary(confusion(driver, output))
    assert found["per_au"]["AU12"] == {
        "balanced_accuracy": 1.0, "f": 1.0, "in_driver": 1, "in_output": 1, "frames": 2,
    }  # fmt: skip


def test_an_output_without_a_face_shows_nothing() -> None:
    # With the lost frames: TP 1, FN 2 (one lost), FP 1, TN 2 (one lost).
    driver, output = presence(AU12=[1, 1, 1, 0, 0, 0]), presence(AU12=[1, 0, 1, 0, 1, 1])
    output[2] = output[5] = -1
    found = summary(confusion(driver, output))
    assert found["per_au"]["AU12"] == {
        "balanced_accuracy": pytest.approx((1 / 3 + 2 / 3) / 2), "f": pytest.approx(2 * 1 / (2 * 1 + 1 + 2)),
        "in_driver": 3, "in_output": 2, "frames": 6,
    }  # fmt: skip
    gone = summary(confusion(driver, np.full_like(output, -1)))
    assert gone["per_au"]["AU12"] == {
        "balanced_accuracy": 0.5, "f": 0.0, "in_driver": 3, "in_output": 0, "frames": 6,
    }  # fmt: skip
    # In the others driver and output agree in every frame, lost or not: nothing to miss.
    assert gone["micro"]["balanced_accuracy"] == pytest.approx(0.5)


def test_the_surrogate_is_an_intensity_of_one_on_openfaces_scale() -> None:
    rows = np.tile(neutral(COUNT), (3, 1))
    rows[0, ACTION_UNITS] = FULL_SHAPE_GAIN * 0.21  # 1.05 of 5
    rows[1, ACTION_UNITS] = FULL_SHAPE_GAIN * 0.19  # .95 of 5
    rows[2, INDEX["AU12"]] = np.nan
    found = surrogate(rows)
    assert (found[0] == 1).all() and (found[1] == 0).all()
    assert found[2, AU_NAMES.index("AU12")] == -1 and found[2, AU_NAMES.index("AU25")] == 0


def openface_csv(path: Path, rows: list[str]) -> Path:
    header = "frame, success, " + ", ".join(f"{name}_c" for name in (*AU_NAMES, "AU28"))
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_openface_presence_is_read_by_name(tmp_path: Path) -> None:
    one = ["0.00"] * 18
    one[AU_NAMES.index("AU12")] = "1.00"
    path = openface_csv(tmp_path / "a.csv", ["1, 1, " + ", ".join(one), "2, 0, " + ", ".join(["0.00"] * 18)])
    found = read_presence(path)
    assert found.shape == (2, 17)
    assert found[0].sum() == 1 and found[0, AU_NAMES.index("AU12")] == 1
    assert (found[1] == -1).all()  # OpenFace saw no face


@pytest.mark.parametrize("cell", ["0.5", "x", "nan"])
def test_openface_presence_that_is_neither_0_nor_1_is_refused(tmp_path: Path, cell: str) -> None:
    path = openface_csv(tmp_path / "a.csv", ["1, 1, " + ", ".join([cell, *["0"] * 17])])
    with pytest.raises(ConfigError, match="line 2"):
        read_presence(path)
    path.write_text("frame,AU01_r\n1,0\n")
    with pytest.raises(ConfigError, match="AU01_c"):
        read_presence(path)
