"""Networks for CSIM: an ONNX file takes what is told, its vectors are those worked out by hand, others are refused."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from icface.errors import ConfigError
from icface.face.alignment import SCALE, align
from icface.face.landmarks import open_detector
from icface.images import cut_crop, load_photo
from tests.conftest import shared_file
from training.evaluation.embedding import OnnxEmbedder, Taken, cosines, load_embedder
from training.evaluation.judges import load_judges
from training.networks.lightcnn import LightCNN29

Shape = Sequence[int | str | None]


def network(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    taken: Shape,
    given: Shape,
    *,
    element: int = TensorProto.FLOAT,
    result: int = TensorProto.FLOAT,
    inputs: Sequence[str] = ("x",),
    outputs: Sequence[str] = ("y",),
    constants: Sequence[onnx.TensorProto] = (),
) -> Path:
    graph = helper.make_graph(
        nodes,
        "identity",
        [helper.make_tensor_value_info(name, element, taken) for name in inputs],
        [helper.make_tensor_value_info(name, result, given) for name in outputs],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def mean_colours(
    path: Path, taken: Shape = (1, 3, "height", "width"), element: int = TensorProto.FLOAT
) -> Path:
    """(1, 3): the mean of each channel, in the order and range in which they come."""
    axes = [1, 2] if taken[3] == 3 else [2, 3]
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f"], ["y"], axes=axes, keepdims=0),
    ]
    return network(path, nodes, taken, (1, 3), element=element)


def flat(*colours: tuple[int, int, int], size_px: int = 32) -> np.ndarray:
    return np.stack([np.full((size_px, size_px, 3), colour, dtype=np.uint8) for colour in colours])


PURPLE = flat((204, 0, 102))
"""In [0, 1]: .8, 0, .4; in [−1, 1]: .6, −1, −.2."""


@pytest.mark.parametrize(
    ("taken", "wanted"),
    [
        (Taken(), (0.6, -1.0, -0.2)),
        (Taken(range="signed", colour="rgb"), (0.6, -1.0, -0.2)),
        (Taken(range="unit"), (0.8, 0.0, 0.4)),
        (Taken(range="bytes"), (204, 0, 102)),
        (Taken(colour="bgr"), (-0.2, -1.0, 0.6)),
        (Taken(range="bytes", colour="bgr"), (102, 0, 204)),
    ],
)
@pytest.mark.parametrize("shape", [(1, 3, 24, 24), ("n", 3, "h", "w"), (1, 24, 24, 3), (None, 3, 24, 24)])
def test_colours_come_in_the_order_and_range_that_are_told(
    tmp_path: Path, shape: Shape, taken: Taken, wanted: tuple[float, ...]
) -> None:
    embedder = load_embedder(mean_colours(tmp_path / "a.onnx", shape), taken, crop_px=32)
    np.testing.assert_allclose(embedder.embed(PURPLE), [wanted], atol=1e-5)


def test_csim_by_hand(tmp_path: Path) -> None:
    path = mean_colours(tmp_path / "a.onnx")
    judges = load_judges(identity=path, taken=Taken(range="unit"), size_px=32)
    source = flat((51, 102, 0))[0]  # .2, .4, 0
    frames = flat((102, 204, 0), (0, 0, 255), (102, 0, 0), (0, 0, 0))
    # The same direction; at right angles; .08 / (.4 · √.2); nothing at all, which is like nobody.
    wanted = [1.0, 0.0, 0.2 * 0.4 / (0.4 * math.sqrt(0.2)), 0.0]
    found = judges.likeness(frames, source)
    assert found is not None and found.dtype == np.float64
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    signed = load_judges(identity=path, size_px=32).likeness(frames, source)
    a, b = np.array([-0.6, -0.2, -1.0]), np.array([-0.2, 0.6, -1.0])
    assert signed is not None
    assert signed[0] == pytest.approx(a @ b / math.sqrt(a @ a * (b @ b)), abs=1e-6)
    np.testing.assert_allclose(
        cosines(np.array([[3.0, 4.0], [-1.0, 0.0]]), np.array([[1.0, 0.0]])), [0.6, -1]
    )


def test_gray_is_luma_in_one_channel(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"], axis=1),
        helper.make_node("ReduceMean", ["f"], ["m"], axes=[1], keepdims=1),
        helper.make_node("ReduceMax", ["f"], ["h"], axes=[1], keepdims=1),
        helper.make_node("Concat", ["m", "h"], ["y"], axis=1),
    ]
    path = network(tmp_path / "a.onnx", nodes, (1, 1, 32, 32), (1, 2))
    embedder = load_embedder(path, Taken(range="unit"), crop_px=32)
    assert embedder.told == "ONNX, (1, 1, 32, 32) gray, unit, to 2 numbers"
    luma = (0.299 * 204 + 0.114 * 102) / 255
    np.testing.assert_allclose(embedder.embed(PURPLE), [[luma, luma]], atol=0.5 / 255)
    with pytest.raises(ConfigError, match=r"--identity-colour bgr does not fit .* 1 channels"):
        load_embedder(path, Taken(colour="bgr"), crop_px=32)


def test_bytes_are_taken_where_the_input_has_them(tmp_path: Path) -> None:
    path = mean_colours(tmp_path / "a.onnx", (1, 32, 32, 3), TensorProto.UINT8)
    embedder = load_embedder(path, Taken(), crop_px=32)
    assert "bytes" in embedder.told
    np.testing.assert_allclose(embedder.embed(PURPLE), [[204, 0, 102]])
    with pytest.raises(ConfigError, match=r"--identity-range unit does not fit .* takes bytes"):
        load_embedder(path, Taken(range="unit"), crop_px=32)


def test_crops_are_scaled_to_the_size_that_is_taken(tmp_path: Path) -> None:
    """The network gives back its pixels: left half black, right half white, whatever the size."""
    nodes = [helper.make_node("Flatten", ["x"], ["y"], axis=1)]
    crop = np.zeros((1, 64, 64, 3), dtype=np.uint8)
    crop[:, :, 32:] = 255
    fixed = network(tmp_path / "fixed.onnx", nodes, (1, 1, 16, 20), (1, 320))
    pixels = load_embedder(fixed, Taken(range="unit"), crop_px=64).embed(crop).reshape(16, 20)
    np.testing.assert_allclose(pixels[:, :9], 0, atol=0.01)
    np.testing.assert_allclose(pixels[:, 11:], 1, atol=0.01)
    free = network(tmp_path / "free.onnx", nodes, (1, 1, "h", "w"), (1, "d"))
    assert load_embedder(free, Taken(), crop_px=64).embed(crop).shape == (1, 64 * 64)
    assert load_embedder(free, Taken(size_px=112), crop_px=64).embed(crop).shape == (1, 112 * 112)
    with pytest.raises(ConfigError, match=r"--identity-size 112 does not fit .* takes 16 pixels"):
        load_embedder(fixed, Taken(size_px=112), crop_px=64)


def test_a_network_of_whole_batches_is_given_one_picture_at_a_time(tmp_path: Path) -> None:
    embedder = OnnxEmbedder(mean_colours(tmp_path / "a.onnx", (1, 3, 32, 32)), Taken(range="bytes"), 32)
    found = embedder.embed(flat((1, 2, 3), (40, 50, 60), (255, 0, 0)))
    np.testing.assert_allclose(found, [[1, 2, 3], [40, 50, 60], [255, 0, 0]], atol=1e-4)


MEAN = [helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)]


@pytest.mark.parametrize(
    ("nodes", "taken", "given", "more", "message"),
    [
        (MEAN, (1, 4, 32, 32), (1, 4), {}, r"takes \(1, 4, 32, 32\); \(1, C, H, W\)"),
        (MEAN, (1, "c", 32, 32), (1, "c"), {}, r"takes \(1, 'c', 32, 32\); \(1, C, H, W\)"),
        (MEAN, (8, 3, 32, 32), (8, 3), {}, r"takes \(8, 3, 32, 32\); \(1, C, H, W\)"),
        (MEAN, (1, 3, 4, 4), (1, 3), {}, "takes 4 × 4 pixels; 16 to 1024 are possible"),
        (MEAN, (1, 3, 32, 32), (1, 3), {"element": 11, "result": 11}, r"takes tensor\(double\)"),
        ([helper.make_node("Identity", ["x"], ["y"])], (1, 3, 32, 32), (1, 3, 32, 32), {}, r"gives \(1, 3, 32, 32\)"),
        ([helper.make_node("Flatten", ["x"], ["y"], axis=2)], (1, 3, 32, 32), (3, 1024), {}, r"gives \(3, 1024\)"),
        ([helper.make_node("ReduceMean", ["x"], ["m"], axes=[1, 2, 3], keepdims=0),
          helper.make_node("Reshape", ["m", "s"], ["y"])], (1, 3, 32, 32), (1, 1),
         {"constants": [helper.make_tensor("s", TensorProto.INT64, [2], [1, 1])]}, r"gives \(1, 1\)"),
        ([*MEAN, helper.make_node("ReduceMax", ["x"], ["z"], axes=[2, 3], keepdims=0)], (1, 3, 32, 32), (1, 3),
         {"outputs": ("y", "z")}, "has 1 inputs and 2 outputs"),
        ([helper.make_node("Add", ["x", "w"], ["s"]), helper.make_node("Flatten", ["s"], ["y"])], (1, 3, 32, 32),
         (1, 3072), {"inputs": ("x", "w")}, "has 2 inputs and 1 outputs"),
        ([*MEAN[:0], helper.make_node("Flatten", ["x"], ["f"]),
          helper.make_node("ArgMax", ["f"], ["y"], axis=1)], (1, 3, 32, 32), (1, 1),
         {"result": TensorProto.INT64}, r"gives"),
        ([helper.make_node("NoSuchThing", ["x"], ["y"])], (1, 3, 32, 32), (1, 3), {}, "cannot load"),
    ],
)  # fmt: skip
def test_networks_that_do_not_fit_are_refused_in_one_line(
    tmp_path: Path,
    nodes: list[onnx.NodeProto],
    taken: Shape,
    given: Shape,
    more: dict[str, object],
    message: str,
) -> None:
    path = network(tmp_path / "a.onnx", nodes, taken, given, **more)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message) as caught:
        load_embedder(path, Taken(), crop_px=32)
    assert str(path) in str(caught.value)


def test_a_network_that_fails_on_pictures_says_so(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "s"], ["y"]),
    ]
    shape = helper.make_tensor("s", TensorProto.INT64, [2], [1, 7])
    path = network(tmp_path / "a.onnx", nodes, (1, 3, "h", "w"), (1, 7), constants=[shape])
    with pytest.raises(ConfigError, match=r"a\.onnx cannot be run"):
        load_embedder(path, Taken(), crop_px=32)
    # The logarithm of black in [−1, 1].
    nodes = [helper.make_node("Log", ["x"], ["l"]), helper.make_node("Flatten", ["l"], ["y"])]
    path = network(tmp_path / "b.onnx", nodes, (1, 3, 32, 32), (1, 3072))
    with pytest.raises(ConfigError, match="values that are not numbers; look at --identity-range"):
        load_embedder(path, Taken(), crop_px=32).embed(PURPLE)


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    with pytest.raises(ConfigError, match=r"cannot read .*a\.onnx: No such file"):
        load_embedder(path, Taken(), crop_px=32)
    path.write_bytes(b"no network at all")
    with pytest.raises(ConfigError, match=r"a\.onnx"):
        load_embedder(path, Taken(), crop_px=32)


def test_weights_outside_the_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime reads them from the folder one stands in, and the file's hash does not cover them."""
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])]
    weights = helper.make_tensor(
        "w", TensorProto.FLOAT, [3072, 2], np.ones(6144, np.float32).tobytes(), raw=True
    )
    path = network(tmp_path / "whole.onnx", nodes, (1, 3, 32, 32), (1, 2), constants=[weights])
    assert load_embedder(path, Taken(), crop_px=32).embed(PURPLE).shape == (1, 2)
    onnx.save_model(
        onnx.load(path),
        tmp_path / "outside.onnx",
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"outside\.onnx has weights in another file; save it as one"):
        load_embedder(tmp_path / "outside.onnx", Taken(), crop_px=32)


def test_lightcnn_has_flags_of_no_use(tmp_path: Path) -> None:
    torch.manual_seed(3)
    torch.save(LightCNN29().state_dict(), tmp_path / "light.pth")
    embedder = load_embedder(tmp_path / "light.pth", Taken(), crop_px=32)
    found = embedder.embed(np.concatenate([PURPLE] * 17))  # more than one batch
    assert found.shape == (17, 256) and embedder.told == "LightCNN-29 v2"
    np.testing.assert_allclose(found, np.repeat(found[:1], 17, axis=0), rtol=1e-4, atol=1e-6)
    with pytest.raises(ConfigError, match="whose input is known"):
        load_embedder(tmp_path / "light.pth", Taken(range="unit"), crop_px=32)


class _Dlib:
    """As much of dlib as is called. It sees the mean colour of a chip."""

    def face_recognition_model_v1(self, path: str) -> _Dlib:
        if not Path(path).exists():
            raise RuntimeError(f"Unable to open {path} for reading.")
        return self

    def compute_face_descriptor(self, chip: np.ndarray) -> list[float]:
        assert chip.shape == (150, 150, 3) and chip.flags.c_contiguous
        return [float(value) for value in chip.mean(axis=(0, 1))]


def test_dlib_sees_the_middle_of_a_crop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "network.dat"
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(ConfigError, match=r"network\.dat is run by dlib, .*: pip install dlib-bin$"):
        load_embedder(path, Taken(), crop_px=32)
    monkeypatch.setitem(sys.modules, "dlib", _Dlib())
    with pytest.raises(ConfigError, match=r"network\.dat is no face recognition network of dlib: Unable"):
        load_embedder(path, Taken(), crop_px=32)
    path.write_bytes(b"")
    frames = flat((204, 0, 102), (10, 20, 30), size_px=160)
    frames[:, :15] = frames[:, -15:] = frames[:, :, :15] = frames[:, :, -15:] = 255
    found = load_embedder(path, Taken(), crop_px=160).embed(frames)
    np.testing.assert_allclose(found, [[204, 0, 102], [10, 20, 30]])
    with pytest.raises(ConfigError, match="taken for dlib's network, whose input is known"):
        load_embedder(path, Taken(range="unit"), crop_px=32)


@pytest.mark.skipif("ICFACE_DLIB" not in os.environ, reason="ICFACE_DLIB names no network of dlib")
def test_dlib_tells_persons_apart() -> None:
    embedder = load_embedder(Path(os.environ["ICFACE_DLIB"]), Taken(), crop_px=256)
    crops = []
    for name in ("n_101_03", "s_101_08", "n_112_03"):
        frame = load_photo(shared_file(f"data/london/{name}.jpg")).frame
        with closing(open_detector(video=False)) as detector:
            face = detector.detect(frame)[0]
        crops.append(cut_crop(frame, align(face, 256, SCALE), 256))
    same, other = cosines(embedder.embed(np.stack(crops[1:])), embedder.embed(crops[0][None]))
    assert same > 0.97 > 0.95 > other
