"""Bundles on disk: what is checked, and what is said when a check fails."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from icface.bundle import DEFAULT_BUNDLE, FORMAT_VERSION, MANIFEST, Bundle
from icface.errors import BundleError
from tests.export.geometry_alone import geometry_alone

Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(geometry_alone(), tmp_path / "model.icface"))


def edit(folder: Path, change: Edit) -> None:
    """Change the manifest in place; the files it names stay as they are."""
    path = folder / MANIFEST
    raw = json.loads(path.read_text(encoding="utf-8"))
    change(raw)
    path.write_text(json.dumps(raw), encoding="utf-8")


def test_the_shipped_bundle_says_what_it_is() -> None:
    bundle = Bundle.load(DEFAULT_BUNDLE)
    assert bundle.family == "edge" and bundle.attribute_scale == "full-shape"
    assert bundle.size_px is None and bundle.host_code == "icface.geometry"
    assert bundle.graph.graph == "animate.onnx"
    assert bundle.host is not None and bundle.host.graph is None
    assert [spec.name for spec in bundle.graph.cache] == ["skin", "plate", "inner"]
    assert [spec.name for spec in bundle.graph.outputs] == ["frame"]
    assert "ICT-FaceKit" in bundle.provenance and bundle.licence == "MIT"
    assert sum(file.stat().st_size for file in DEFAULT_BUNDLE.iterdir()) < 10_000_000


def test_the_golden_frame_has_the_shapes_that_the_manifest_states() -> None:
    bundle = Bundle.load(DEFAULT_BUNDLE)
    tensors = bundle.golden_tensors()
    assert bundle.host is not None
    sizes: dict[int | str, int] = {}
    for spec in (*bundle.graph.inputs, *bundle.host.inputs, *bundle.graph.outputs):
        tensor = tensors[spec.name]
        assert tensor.dtype == np.dtype(spec.dtype)
        for size, found in zip(spec.shape, tensor.shape, strict=True):
            assert (size if isinstance(size, int) else sizes.setdefault(size, found)) == found


@pytest.mark.parametrize("name", ["animate.onnx", "golden.safetensors"])
def test_a_changed_file_is_named(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[100] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name} is not the file that manifest\.json names"):
        Bundle.load(copy)


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "golden.safetensors").unlink()
    with pytest.raises(BundleError, match=r"lacks golden\.safetensors"):
        Bundle.load(copy)


def test_the_digest_follows_every_change(copy: Path) -> None:
    before = Bundle.load(copy).sha256
    edit(copy, lambda raw: raw.update(name="mine"))
    assert Bundle.load(copy).sha256 != before


def test_files_that_are_not_listed_do_no_harm(copy: Path) -> None:
    (copy / "README.md").write_text("mine")
    Bundle.load(copy)


def test_a_newer_format_asks_for_an_upgrade(copy: Path) -> None:
    """Whatever else the newer format changed: the version is looked at first."""
    (copy / MANIFEST).write_text(json.dumps({"format_version": FORMAT_VERSION + 1, "engine": "steam"}))
    with pytest.raises(BundleError, match="format 2, while this program reads 1; upgrade icface-live"):
        Bundle.load(copy)


@pytest.mark.parametrize("version", [0, -1])
def test_an_older_format_asks_for_another_bundle(copy: Path, version: int) -> None:
    edit(copy, lambda raw: raw.update(format_version=version))
    with pytest.raises(BundleError, match="get a newer bundle"):
        Bundle.load(copy)


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/hostname", "a/../../b", "a\\..\\b", "C:secret", "", ".", "a//b", "~root/x"]
)
def test_names_outside_the_bundle_are_refused(copy: Path, name: str) -> None:
    edit(copy, lambda raw: raw["files"].update({name: "0" * 64}))
    with pytest.raises(BundleError, match="is not the name of a file inside the bundle"):
        Bundle.load(copy)


@pytest.mark.parametrize("name", ["../../outside.onnx", "other.onnx"])
def test_a_graph_without_a_hash_is_refused(copy: Path, name: str) -> None:
    edit(copy, lambda raw: raw["variants"]["graph"].update(graph=name))
    with pytest.raises(BundleError, match=f"'files' gives no hash for {name}"):
        Bundle.load(copy)


BROKEN: dict[str, tuple[bytes | str, str]] = {
    "cut": ("{", "Input data was truncated"),
    "not text": (b"\xff\xfe\x00", "JSON is malformed"),
    "bottomless": ('{"format_version": 1, "x": ' + "[" * 100_000, "recursion"),
    "a list": ("[]", "Expected `object`, got `array`"),
    "empty": ("{}", "missing required field `format_version`"),
    "not a number": ('{"format_version": "1"}', r"Expected `int`, got `str` - at `\$\.format_version`"),
    "a truth": ('{"format_version": true}', r"Expected `int`, got `bool` - at `\$\.format_version`"),
    "too little": ('{"format_version": 1}', "missing required field `family`"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_manifest_is_one_line(copy: Path, kind: str) -> None:
    content, expected = BROKEN[kind]
    (copy / MANIFEST).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BundleError, match=expected) as caught:
        Bundle.load(copy)
    assert "\n" not in str(caught.value) and MANIFEST in str(caught.value)


CHANGES: dict[str, tuple[Edit, str]] = {
    "family": (lambda raw: raw.update(family="other"), "family 'other' is unknown; known: edge, paper"),
    "scale": (lambda raw: raw.update(attribute_scale="half"), "attribute_scale 'half' is unknown"),
    "extensions": (lambda raw: raw.update(extensions=["AU99"]), r"'extensions' names 'AU99', which is none; known: gaze"),
    "size": (lambda raw: raw.update(size_px="big"), r"Expected `int \| null`, got `str` - at `\$\.size_px`"),
    "licence": (lambda raw: raw.pop("licence"), "missing required field `licence`"),
    "provenance": (lambda raw: raw.update(provenance=None), r"Expected `str`, got `null` - at `\$\.provenance`"),
    "variants": (lambda raw: raw.update(variants=[]), r"Expected `object`, got `array` - at `\$\.variants`"),
    "no graph variant": (lambda raw: raw["variants"].pop("graph"), r"missing required field `graph` - at `\$\.variants`"),
    "hash": (lambda raw: raw["files"].update({"animate.onnx": "abc"}), r"hash of animate\.onnx is not a sha256"),
    "hash type": (lambda raw: raw["files"].update({"animate.onnx": 3}), r"Expected `str`, got `int` - at `\$\.files"),
    "spec": (lambda raw: raw["variants"]["graph"].update(cache=["skin"]), r"Expected `object`.*graph\.cache\[0\]"),
    "dtype": (lambda raw: raw["variants"]["graph"]["cache"][0].update(dtype="u7"), "skin has the unknown type 'u7'"),
    "shape": (lambda raw: raw["variants"]["graph"]["cache"][0].update(shape=[0, 3]), r">= 1 .*cache\[0\]\.shape\[0\]"),
    "size of none": (lambda raw: raw.update(size_px=0), r"Expected `int` >= 1 - at `\$\.size_px`"),
    "no neutralise": (lambda raw: raw.pop("neutralise"), "missing required field `neutralise`"),
    "neutralise": (lambda raw: raw.update(neutralise="neutralise.onnx"), r"Expected `object \| null`.*\$\.neutralise"),
    "its graph": (lambda raw: raw.update(neutralise={"graph": None}), r"Expected `str`.*\$\.neutralise\.graph"),
    "its inputs": (lambda raw: raw.update(neutralise={"graph": "animate.onnx"}), r"`inputs` - at `\$\.neutralise`"),
    "frames": (lambda raw: raw["variants"]["host"].update(outputs=[]), "should be one tensor, 'frame'"),
    "shape truth": (lambda raw: raw["variants"]["graph"]["cache"][0].update(shape=[True]), r"got `bool` .*shape\[0\]"),
}  # fmt: skip


def test_a_bundle_without_extensions_takes_none(copy: Path) -> None:
    assert {"gaze_yaw", "AU45_side", "AU18"} <= set(Bundle.load(copy).extensions)
    edit(copy, lambda raw: raw.pop("extensions"))
    assert Bundle.load(copy).extensions == ()


@pytest.mark.parametrize("what", CHANGES)
def test_every_entry_is_checked(copy: Path, what: str) -> None:
    change, expected = CHANGES[what]
    edit(copy, change)
    with pytest.raises(BundleError, match=expected) as caught:
        Bundle.load(copy)
    assert "\n" not in str(caught.value)


def personal(folder: Path, **entries: Any) -> None:
    """Give a bundle a person, with files of their own where the entries name none."""
    said = {"who": "Ada Lovelace", "when": "2026-11-30T10:00:00Z", "agreed": True}
    entries = {"person": "person.safetensors", "source": "source.png", "consent": said} | entries
    (folder / "person.safetensors").write_bytes(save({"neutral_shape": np.zeros((468, 3), dtype=np.float32)}))
    (folder / "source.png").write_bytes(b"\x89PNG")
    files = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("person.safetensors", "source.png")
    }
    edit(folder, lambda raw: (raw.update(entries), raw["files"].update(files)))


def test_a_bundle_of_one_person(copy: Path) -> None:
    before = Bundle.load(copy)
    assert before.person_tensors() is None and before.source_photo is None and before.consent is None
    personal(copy)
    bundle = Bundle.load(copy)
    tensors = bundle.person_tensors()
    assert tensors is not None and list(tensors) == ["neutral_shape"]
    assert bundle.source_photo == copy / "source.png"
    assert bundle.consent is not None and bundle.consent.who == "Ada Lovelace"


def consent(**change: Any) -> dict[str, Any]:
    return {"consent": {"who": "Ada", "when": "2026-11-30T10:00:00Z", "agreed": True} | change}


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"person": "someone.safetensors"}, r"'files' gives no hash for someone\.safetensors"),
        ({"person": "../person.safetensors"}, "'files' gives no hash for"),
        ({"person": "animate.onnx"}, r"'person' should name a \.safetensors file"),
        ({"person": 7}, r"Expected `str \| null`, got `int` - at `\$\.person`"),
        ({"source": "golden.safetensors"}, r"'source' should name a \.png file"),
        (consent(agreed=False), "Ada did not agree to this model"),
        (consent(agreed=1), r"Expected `bool`, got `int` - at `\$\.consent\.agreed`"),
        (consent(who=""), r"length >= 1 - at `\$\.consent\.who`"),
        (consent(who="a" * 201), r"length <= 200 - at `\$\.consent\.who`"),
        (consent(who="Ada\x1b[2J"), "'who' of 'consent' should be a name in one line"),
        (consent(when="yesterday"), r"matching regex .* at `\$\.consent\.when`"),
        ({"consent": {"who": "Ada"}}, r"missing required field `when` - at `\$\.consent`"),
    ],
)
def test_what_is_said_of_a_person_is_checked(copy: Path, entries: dict[str, Any], words: str) -> None:
    personal(copy, **entries)
    with pytest.raises(BundleError, match=words) as caught:
        Bundle.load(copy)
    assert "\n" not in str(caught.value)


def test_a_persons_file_has_a_bound(copy: Path) -> None:
    personal(copy)
    (copy / "person.safetensors").write_bytes(bytes(4_000_001))
    with pytest.raises(BundleError, match=r"person\.safetensors is larger than 4 MB"):
        Bundle.load(copy)


def neutralising(*outputs: dict[str, Any], graph: str = "animate.onnx") -> Edit:
    """A manifest without host code that has a graph to neutralise photos with."""
    step = {"graph": graph, "inputs": [], "outputs": list(outputs)}
    return lambda raw: raw.update(neutralise=step, motion=None)


NEUTRAL = {"name": "neutral", "dtype": "uint8", "shape": [64, 64, 3]}
SKIN = {"name": "skin", "dtype": "uint8", "shape": ["skin_h", "skin_w", 4]}
PLATE = {"name": "plate", "dtype": "uint8", "shape": ["height", "width", 3]}
INNER = {"name": "inner", "dtype": "uint8", "shape": ["inner_h", "inner_w", 3]}


def test_a_graph_that_neutralises_gives_what_the_frames_graph_takes(copy: Path) -> None:
    edit(copy, neutralising(INNER, NEUTRAL, PLATE, SKIN))
    step = Bundle.load(copy).neutralise
    assert step is not None and step.graph == "animate.onnx" and step.inputs == ()
    assert [spec.name for spec in step.outputs] == ["inner", "neutral", "plate", "skin"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (neutralising(SKIN, PLATE, INNER), "'outputs' of 'neutralise' lacks 'neutral'"),
        (
            neutralising(NEUTRAL, PLATE, SKIN),
            "'neutralise' does not give inner as the graph variant takes it",
        ),
        (neutralising(NEUTRAL, SKIN | {"dtype": "float32"}, PLATE, INNER), "does not give skin"),
        (neutralising(NEUTRAL, PLATE, SKIN, INNER | {"shape": [4, 4, 3]}), "does not give inner"),
        (neutralising(NEUTRAL, PLATE, SKIN, INNER, graph="n.onnx"), r"'files' gives no hash for n\.onnx"),
    ],
)
def test_steps_that_do_not_fit_together_are_refused(copy: Path, change: Edit, words: str) -> None:
    edit(copy, change)
    with pytest.raises(BundleError, match=words):
        Bundle.load(copy)


def test_the_golden_file_needs_the_tensors_of_every_step(copy: Path) -> None:
    edit(copy, neutralising(NEUTRAL, PLATE, SKIN, INNER))
    with pytest.raises(BundleError, match=r"golden\.safetensors lacks neutral$"):
        Bundle.load(copy).golden_tensors()


def test_a_bundle_without_a_host_variant(copy: Path) -> None:
    edit(copy, lambda raw: raw["variants"].update(host=None))
    assert Bundle.load(copy).host is None


def test_what_is_no_bundle(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing", Path(__file__)):
        with pytest.raises(BundleError, match="is not a model bundle"):
            Bundle.load(path)


def with_golden(folder: Path, content: bytes) -> Bundle:
    """Replace the golden file, hash and all."""
    (folder / "golden.safetensors").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    edit(folder, lambda raw: raw["files"].update({"golden.safetensors": digest}))
    return Bundle.load(folder)


def test_a_golden_file_of_another_kind(copy: Path) -> None:
    with pytest.raises(BundleError, match=r"cannot read .*golden\.safetensors"):
        with_golden(copy, b"nothing of ours").golden_tensors()


def test_a_golden_file_that_lacks_a_tensor(copy: Path) -> None:
    tensors = load((copy / "golden.safetensors").read_bytes())
    del tensors["inner_map"], tensors["frame"]
    with pytest.raises(BundleError, match=r"golden\.safetensors lacks inner_map, frame"):
        with_golden(copy, save(tensors)).golden_tensors()


# Half precision


def test_a_graph_in_half_precision_is_a_file_like_the_others(copy: Path) -> None:
    assert Bundle.load(copy).graph.graph_fp16 is None  # older manifests do not have the entry
    edit(copy, lambda raw: raw["variants"]["graph"].update(graph_fp16="animate.onnx"))
    assert Bundle.load(copy).graph.graph_fp16 == "animate.onnx"
    edit(copy, lambda raw: raw["variants"]["graph"].update(graph_fp16="half.onnx"))
    with pytest.raises(BundleError, match=r"'files' gives no hash for half\.onnx"):
        Bundle.load(copy)


# The network that corrects frames


def with_network(raw: dict[str, Any]) -> None:
    """Turn a manifest into one of a bundle with a network, whose graph is any file."""

    def spec(name: str, *shape: int) -> dict[str, Any]:
        return {"name": name, "dtype": "float32", "shape": list(shape)}

    told = [spec("patch_to_frame", 2, 3), spec("conditions", 1, 28), spec("gates", 1, 3)]
    raw["correct"] = {
        "graph": "animate.onnx",
        "inputs": [spec("patch", 1, 192, 192, 4), *told[1:]],
        "outputs": [spec("correction", 1, 192, 192, 4)],
    }
    for variant in raw["variants"].values():
        variant["motion"] += told


def test_a_bundle_with_a_network_and_one_without(copy: Path) -> None:
    assert Bundle.load(copy).correct is None
    edit(copy, lambda raw: raw.pop("correct", None))  # as in older manifests
    assert Bundle.load(copy).correct is None
    edit(copy, with_network)
    correct = Bundle.load(copy).correct
    assert correct is not None and correct.graph == "animate.onnx" and correct.cache == ()
    assert [spec.name for spec in correct.motion] == ["patch", "conditions", "gates"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda raw: raw["correct"].update(graph="other.onnx"), r"'files' gives no hash for other\.onnx"),
        (
            lambda raw: raw["correct"]["inputs"].pop(0),
            "'inputs' of 'correct' should be patch, conditions, gates",
        ),
        (lambda raw: raw["correct"].update(outputs=[]), "'outputs' of 'correct' should be correction"),
        (lambda raw: raw["variants"]["host"]["motion"].pop(), "should have gates among the motion of both"),
        (
            lambda raw: raw["variants"].update(host=None),
            "should have patch_to_frame, conditions, gates among",
        ),
        (lambda raw: raw["variants"]["host"].update(graph="animate.onnx"), "get a newer bundle"),
    ],
)
def test_a_network_that_the_manifest_describes_wrongly(
    copy: Path, change: Callable[[dict[str, Any]], object], expected: str
) -> None:
    edit(copy, with_network)
    edit(copy, change)
    with pytest.raises(BundleError, match=expected):
        Bundle.load(copy)


def test_golden_tensors_of_a_network_have_the_frame_of_geometry(copy: Path) -> None:
    edit(copy, with_network)
    with pytest.raises(BundleError, match="lacks conditions, gates, patch_to_frame, geometry"):
        Bundle.load(copy).golden_tensors()
