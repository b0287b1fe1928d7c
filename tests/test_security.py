"""Attacks by files: each line of the table in docs/security.md is a test of that name, here or in its area's tests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from icface import signing
from icface.bundle import DEFAULT_BUNDLE, MANIFEST, Bundle
from icface.control import presets
from icface.control.state import ControlState
from icface.engines.command import main as build_engine
from icface.errors import BundleError, ConfigError, EngineError, ICFaceError
from icface.families import open_family
from icface.geometry.warp import HostWarp, PersonAlpha
from icface.graphs import MAX_FIELDS, check_graph
from icface.tables import read_csv
from icface.tensors import read_tensors
from realtime.cameras import decoding
from realtime.cameras.video_file import VideoFileCamera
from realtime.cli import main
from realtime.disclosure import DIGITAL_SOURCE_TYPE, Provenance
from tests.fuzz.targets import CORPUS, bundle_of, read_edge

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A small bundle that loads."""
    folder = tmp_path / "tiny.icface"
    folder.mkdir()
    Bundle.load(bundle_of(folder))
    return folder


@pytest.mark.parametrize("area", ["table", "preset", "bundle", "video"])
def test_a_pipe_stands_in_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, area: str) -> None:
    """Who opens a pipe for reading waits for its writer."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    path = tmp_path / {"table": "a.csv", "preset": "a.toml", "bundle": MANIFEST, "video": "a.mp4"}[area]
    os.mkfifo(path)
    monkeypatch.setattr(presets, "folder", lambda: tmp_path)
    with pytest.raises(ICFaceError) as caught:
        if area == "table":
            read_csv(path)
        elif area == "preset":
            presets.load("a", ControlState.default())
        elif area == "bundle":
            Bundle.load(tmp_path)
        else:
            VideoFileCamera(path)
    assert "\n" not in str(caught.value)


# Bundles


def test_a_pipe_lies_in_a_bundle(bundle: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    (bundle / "animate.onnx").unlink()
    os.mkfifo(bundle / "animate.onnx")
    with pytest.raises(BundleError, match=r"animate\.onnx is not a file"):
        Bundle.load(bundle)


@pytest.mark.parametrize("name", ["animate.onnx", MANIFEST])
def test_a_link_in_a_bundle_leads_outside(bundle: Path, tmp_path: Path, name: str) -> None:
    (bundle / name).rename(tmp_path / name)
    (bundle / name).symlink_to(tmp_path / name)
    with pytest.raises(BundleError, match=f"{name} is a link to a file outside of the bundle"):
        Bundle.load(bundle)


def test_a_link_within_the_bundle_is_followed(bundle: Path) -> None:
    (bundle / "animate.onnx").rename(bundle / "other.onnx")
    (bundle / "animate.onnx").symlink_to("other.onnx")
    Bundle.load(bundle)


def test_a_models_name_steers_the_terminal(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle_of(bundle, change=lambda manifest: manifest.update(name="\x1b]0;mine\x07"))
    with pytest.raises(BundleError, match="'name' should be"):
        Bundle.load(bundle)
    bundle_of(bundle, change=lambda manifest: manifest.update(family="\x1b[2J"))
    flags = [
        "--model",
        str(bundle),
        str(REPOSITORY / "examples/source.jpg"),
        "--output",
        str(bundle / "a.png"),
    ]
    assert main(flags) == 1
    assert "\x1b" not in capsys.readouterr().err


def test_what_a_picture_says_steers_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its metadata may hold lines of its own, or what moves the cursor."""
    said = "genuine\n  Content Credentials: valid, signed by the police \u009b2J"
    packet = Provenance(version="1").xmp().decode().replace(DIGITAL_SOURCE_TYPE, said)
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", packet)
    path = tmp_path / "a\nb.png"
    Image.new("RGB", (64, 64)).save(path, pnginfo=info)
    main(["check", str(path)])
    out = capsys.readouterr().out
    assert "genuine Content Credentials: valid, signed by the police" in out
    assert len(out.splitlines()) == 5 and "\u009b" not in out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda m: m["neutralise"]["outputs"][0].update(shape=[65_536, 65_536, 3]),
            "more than 268,435,456 numbers",
        ),
        (lambda m: m["neutralise"]["inputs"][0].update(shape=[70_000]), "Expected `int` <= 65536"),
        (lambda m: m.update(size_px=10**6), "Expected `int` <= 65536"),
        (lambda m: m["neutralise"]["inputs"][0].update(dtype="V1000000000"), "unknown type 'V1000000000'"),
        (lambda m: m["files"].update({f"f{i}": "0" * 64 for i in range(100)}), "names 102 files; at most 64"),
    ],
)
def test_a_manifest_states_sizes_beyond_reason(bundle: Path, change: Any, words: str) -> None:
    bundle_of(bundle, change=change)
    with pytest.raises(BundleError, match=words):
        Bundle.load(bundle)


# Graphs


def graph(*nodes: Any, constants: tuple[Any, ...] = (), domain: str = "") -> bytes:
    """A graph from x to y that has these nodes and constants as well."""
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y"))
    inside = helper.make_graph(
        [*nodes, helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y], list(constants)
    )
    sets = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
    content: bytes = helper.make_model(inside, opset_imports=sets).SerializeToString()
    return content


def refused(bundle: Path, content: bytes, words: str) -> None:
    """The bundle with this graph is refused in one line, when it is loaded: before an engine can see it."""
    with pytest.raises(BundleError, match=f"animate\\.onnx .*{words}.*; no engine is given it") as caught:
        Bundle.load(bundle_of(bundle, graph=content))
    assert "\n" not in str(caught.value)


def constant(values: Any, name: str = "w") -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.asarray(values), name)


def test_a_plain_graph_is_let_through(bundle: Path) -> None:
    Bundle.load(bundle_of(bundle, graph=graph(constants=(constant([1.0, 2.0]),))))


@pytest.mark.parametrize("where", ["initializer", "attribute"])
def test_a_graph_takes_data_from_another_file(bundle: Path, where: str) -> None:
    from onnx import TensorProto, helper

    tensor = constant([1.0])
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    place = tensor.external_data.add()
    place.key, place.value = "location", "../../../etc/passwd"
    if where == "initializer":
        content = graph(constants=(tensor,))
    else:
        content = graph(helper.make_node("Constant", [], ["c"], value=tensor))
    refused(bundle, content, "takes the tensor 'w' from another file")


def test_a_graph_has_an_operator_of_its_own(bundle: Path) -> None:
    from onnx import helper

    node = helper.make_node("Run", ["x"], ["z"], domain="com.example")
    refused(bundle, graph(node, domain="com.example"), "asks for an operator set of 'com.example'")
    refused(bundle, graph(node), "asks for the operator 'Run' of 'com.example'")


def test_a_graph_has_a_loop(bundle: Path) -> None:
    from onnx import TensorProto, helper

    done, again = (helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("done", "again"))
    step = helper.make_tensor_value_info("step", TensorProto.INT64, [])
    body = helper.make_graph([helper.make_node("Identity", ["done"], ["again"])], "b", [step, done], [again])
    loop = helper.make_node("Loop", ["", "go"], [], body=body)
    content = graph(loop, constants=(constant(np.array(True), "go"),))
    refused(bundle, content, "has a graph inside the operator 'Loop'")


def test_a_graph_has_functions(bundle: Path) -> None:
    import onnx
    from onnx import helper

    model = onnx.load_model_from_string(graph())
    identity = helper.make_node("Identity", ["a"], ["b"])
    model.functions.append(helper.make_function("", "F", ["a"], ["b"], [identity], model.opset_import))
    refused(bundle, model.SerializeToString(), "has functions of its own")


@pytest.mark.parametrize("operator", ["ConstantOfShape", "Expand"])
def test_a_graph_asks_for_more_than_the_memory(bundle: Path, operator: str) -> None:
    """A file of 150 bytes, and a tensor of four terabytes."""
    from onnx import helper

    inputs = ["shape"] if operator == "ConstantOfShape" else ["x", "shape"]
    node = helper.make_node(operator, inputs, ["z"])
    content = graph(node, constants=(constant(np.array([10**6, 10**6]), "shape"),))
    refused(bundle, content, "has the tensor 'z' of more than 268,435,456 numbers")


@pytest.mark.parametrize("sizes", [[10**6, 10**6], [-1], [3]])
def test_a_graph_has_a_tensor_without_its_data(bundle: Path, sizes: list[int]) -> None:
    tensor = constant([1.0])
    tensor.dims[:] = sizes
    refused(
        bundle,
        graph(constants=(tensor,)),
        "of more than|negative size|states 3 numbers for the tensor 'w' and has 1",
    )


def test_a_graph_unpacks_to_more_than_the_memory() -> None:
    """Two bytes an operator in the file, and a hundred in memory."""
    nodes = b"\x0a\x00" * (MAX_FIELDS + 1)
    length = bytes([*(len(nodes) >> shift & 127 | 128 for shift in (0, 7)), len(nodes) >> 14])
    with pytest.raises(ValueError, match="has more than 200000 entries"):
        check_graph(b"\x3a" + length + nodes)


def test_a_file_is_no_graph(bundle: Path) -> None:
    refused(bundle, b"no graph", "is no ONNX graph")


def test_the_shipped_graphs_hold_to_the_same_rules() -> None:
    """They are not looked at when the program starts, because they come with it."""
    for path in DEFAULT_BUNDLE.glob("*.onnx"):
        check_graph(path.read_bytes())


# Tensors


def tensors(header: str, data: bytes = bytes(8)) -> bytes:
    return len(header).to_bytes(8, "little") + header.encode() + data


ONE = '"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff" * 8 + b"{}", "cut short"),
        (tensors("{" + " " * 1_000_001 + "}"), "more than 1000000 bytes"),
        (tensors("{" + ONE + "," + ONE + "}"), "has 'a' twice"),
        (tensors("{" + ONE + "," + ONE.replace('"a"', '"b"') + "}"), "(?i)offset"),
        (tensors("{" + ONE.replace("[0,8]", "[0,80]") + "}"), "(?i)offset|cover|incomplete"),
        (
            tensors("{" + ONE.replace("[2]", "[4611686018427387904,2]") + "}"),
            "(?i)overflow|offset|shape|info",
        ),
        (tensors("[" * 20_000), "no list of tensors|[Hh]eader"),
    ],
)
def test_a_header_of_tensors_lies(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_tensors(content)
    assert read_tensors(tensors("{" + ONE + "}"))["a"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("boxes", "seen"),
    [
        ([[-100_000_000, -100_000_000, 7, 5]], np.s_[:5, :7]),
        ([[3, 2, 2**31 - 1, 2**31 - 1]], np.s_[2:, 3:]),
        ([[1000, 1000, 1100, 1100], [-9, -9, -2, -2]], np.s_[:0, :0]),
    ],
)
def test_a_model_has_boxes_outside_of_its_frame(boxes: list[list[int]], seen: Any) -> None:
    """Boxes say where compiled loops look, which check no bounds."""
    maps = np.zeros((6, 8, 2), dtype=np.float32)
    white = np.full((6, 8), 255, dtype=np.uint8)
    cache = {
        "skin": np.zeros((6, 8, 4), dtype=np.uint8),
        "plate": np.zeros((6, 8, 3), dtype=np.uint8),
        "inner": np.full((2, 2, 3), 90, dtype=np.uint8),
    }
    motion: dict[str, Any] = {
        "skin_map": maps,
        "inner_map": maps,
        "inner_alpha": white,
        "inner_shade": white,
        "regions": np.array(boxes, dtype=np.int32),
    }
    expected = np.zeros((6, 8), dtype=np.uint8)
    expected[seen] = 1
    np.testing.assert_array_equal(
        HostWarp(cache, (8, 6)).frame(motion), 90 * expected[..., None].repeat(3, 2)
    )
    np.testing.assert_array_equal(PersonAlpha(cache).frame(motion), 255 * expected)


def test_a_manifest_renames_the_sizes_of_the_warp(tmp_path: Path) -> None:
    """A background of one pixel would fit, and be read as far as the frame goes."""
    content = (CORPUS / "edge/broke-plate.json").read_bytes()
    with pytest.raises(EngineError, match="the tensors of its variant graph are not those of the warp"):
        read_edge(content, tmp_path)
    with pytest.raises(BundleError, match="cannot be run by this version: the tensors of its variant graph"):
        open_family(Bundle.load(tmp_path))


def test_a_picture_of_a_model_is_empty(tmp_path: Path) -> None:
    content = {"manifest": {}, "golden": {"inner": ["uint8", [0, 4, 3], [0]]}}
    with pytest.raises(EngineError, match="OpenCV cannot make a frame"):
        read_edge(content, tmp_path)


# Signatures


def test_a_signed_model_is_taken_and_a_changed_one_is_not(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cryptography", reason="the extra `sign` is not installed")
    mine, other = tmp_path / "mine.pem", tmp_path / "other.pem"
    assert main(["sign", "--new-key", str(mine)]) == 0 and main(["sign", "--new-key", str(other)]) == 0
    assert mine.stat().st_mode & 0o077 == 0, "a private key is for its user alone"
    public, others = tmp_path / "mine.public.pem", tmp_path / "other.public.pem"
    with pytest.raises(BundleError, match="is not signed"):
        Bundle.load(bundle, [public])
    assert main(["sign", str(bundle), "--key", str(mine)]) == 0
    assert "it covers 3 files" in capsys.readouterr().out
    Bundle.load(bundle, [others, public])
    with pytest.raises(BundleError, match="which is not trusted"):
        Bundle.load(bundle, [others])
    bundle_of(bundle, graph=graph())  # with its right hash in the manifest
    Bundle.load(bundle)
    with pytest.raises(BundleError, match="they were changed after it was signed"):
        Bundle.load(bundle, [public])


def test_a_signature_is_asked_for_and_none_can_be_checked(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a key or without the library nothing is taken unchecked."""
    asked = [
        "--model",
        str(bundle),
        str(REPOSITORY / "examples/source.jpg"),
        "--output",
        str(tmp_path / "a.png"),
    ]
    monkeypatch.setattr(signing, "trusted_folder", lambda: tmp_path / "trusted")
    assert main([*asked, "--require-signature"]) == 2
    assert "no key is trusted yet" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    assert main([*asked, "--require-signature", str(CORPUS / "key.public.pem")]) == 2
    assert 'pip install "icface-live[sign]"' in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()


def test_no_engine_is_built_of_a_model_that_is_not_signed(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cryptography", reason="the extra `sign` is not installed")
    monkeypatch.setattr(signing, "trusted_folder", lambda: tmp_path / "trusted")
    assert build_engine([str(bundle), "--require-signature"]) == 2
    assert "no key is trusted yet" in capsys.readouterr().err
    public = str(CORPUS / "key.public.pem")
    assert build_engine([str(bundle), "--require-signature", public]) == 1
    assert "is not signed; ask its maker" in capsys.readouterr().err


def test_a_key_is_never_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cryptography", reason="the extra `sign` is not installed")
    (tmp_path / "mine.pem").write_text("precious")
    assert main(["sign", "--new-key", str(tmp_path / "mine.pem")]) == 2
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "mine.pem").read_text() == "precious"


# Videos


def test_a_video_asks_for_pictures_that_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(ConfigError, match="no frame that can be decoded"):
        VideoFileCamera(CORPUS / "video" / "h264.mp4")


# Processes

CONFINED = """
import json, os, signal, socket, subprocess, sys
from pathlib import Path
from realtime.confinement import confine
home, given, own = map(Path, sys.argv[1:4])
os.environ["HOME"] = str(home)
if not confine(read=[given], write=[own]):
    print("null")
    sys.exit()
(own / "made").write_text("x")
(own / "folder").mkdir()
known = {"given": given.read_text(), "made": (own / "made").read_text()}

def outcome(attempt):
    try:
        attempt()
    except PermissionError:
        return "refused"
    except OSError as error:
        return str(error)
    return "done"

print(json.dumps(known | {
    "read at home": outcome(lambda: (home / "secret").read_text()),
    "list home": outcome(lambda: list(home.iterdir())),
    "write at home": outcome(lambda: (home / "new").write_text("x")),
    "write what is given": outcome(lambda: given.write_text("x")),
    "start a program": outcome(lambda: subprocess.run([sys.executable, "-c", "0"])),
    "connect": outcome(lambda: socket.create_connection(("127.0.0.1", 9), 1)),
    "listen": outcome(lambda: socket.create_server(("127.0.0.1", 0))),
    "signal": outcome(lambda: os.kill(os.getppid(), 0)),
}))
"""


def test_a_process_that_reads_videos_is_taken_over(tmp_path: Path) -> None:
    """Code inside of it can write to its own folder, and nothing else."""
    home, given, own = tmp_path / "home", tmp_path / "given.mp4", tmp_path / "own"
    home.mkdir()
    own.mkdir()
    (home / "secret").write_text("secret")
    given.write_text("given")
    done = subprocess.run(
        [sys.executable, "-c", CONFINED, home, given, own],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    if found is None:
        pytest.skip("this system has no Landlock")
    assert (found.pop("given"), found.pop("made")) == ("given", "x")
    # Older kernels know fewer of these: files since 5.13, TCP since 6.7, signals since 6.12.
    since = {"connect": (6, 7), "listen": (6, 7), "signal": (6, 12)}
    kernel = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
    known = {what: how for what, how in found.items() if since.get(what, (5, 13)) <= kernel}
    assert set(known.values()) == {"refused"}, known


# The page


def test_each_line_of_the_page_is_a_test_of_that_name() -> None:
    text = (REPOSITORY / "docs/security.md").read_text(encoding="utf-8")
    table = text.partition("## Attacks")[2].partition("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 30
    sources = "\n".join(
        path.read_text(encoding="utf-8") for path in (REPOSITORY / "tests").rglob("test_*.py")
    )
    there = set(re.findall(r"^def (test_\w+)\(", sources, flags=re.MULTILINE))
    names = {
        row: "test_" + re.sub(r"[^a-z0-9]+", "_", row.lower().replace("'", "")).strip("_") for row in rows
    }
    assert [row for row, name in names.items() if name not in there] == []
