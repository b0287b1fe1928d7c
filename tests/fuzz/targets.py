"""What is fuzzed: each place where the product reads what others made. A new one is an entry in TARGETS."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final
from unittest import mock

import msgspec
import numpy as np
from hypothesis import strategies as st
from safetensors.numpy import save

from icface import signing
from icface.bundle import MANIFEST, Bundle
from icface.control import presets
from icface.control.state import ControlState
from icface.engines import backends, open_engine
from icface.geometry import contract
from icface.images import MAX_SIDE_PX, load_photo
from realtime import consent
from realtime.cameras.video_file import VideoFileCamera
from realtime.check import check
from realtime.config import LiveConfig
from realtime.drivers.table import load_table
from realtime.panel import commands
from realtime.panel.desk import ControlDesk
from realtime.panel.files import MAX_PHOTO_PIXELS, PHOTO_SUFFIXES, Files
from tests.fuzz.contract import holding
from tests.fuzz.mutations import PLAIN, WORDS, changed, changed_document

CORPUS: Final = Path(__file__).parent / "corpus"
_FRAMES: Final = 60
"""Of a video that are read. The corpus has clips of ten."""


@dataclass(frozen=True)
class Target:
    """A place that reads files."""

    name: str
    inputs: Callable[[], st.SearchStrategy[Any]]
    read: Callable[[Any, Path], None]
    """Reads an input, inside of an empty folder. It asserts what a result has to be."""
    needs: str = ""
    """A package that it cannot do without."""
    ready: Callable[[], object] = lambda: None
    """Makes what is used for all inputs. It is ours, so that an error of ours in it is none that an input may cause."""

    def run(self, given: Any, folder: Path) -> None:
        """Read an input under the contract; Broken where that does not hold."""
        self.ready()
        with holding(folder):
            self.read(given, folder)


@cache
def seeds(name: str) -> list[bytes]:
    """The files of the corpus for a target."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir()) if path.is_file()]


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def read_photo(content: bytes, folder: Path) -> None:
    frame = load_photo(written(folder, "me.jpg", content), MAX_PHOTO_PIXELS).frame
    assert frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3
    assert frame.size <= 3 * 2 * MAX_SIDE_PX**2


def read_video(content: bytes, folder: Path) -> None:
    camera = VideoFileCamera(written(folder, "clip.mp4", content))
    try:
        last_s = -1.0
        for _ in range(_FRAMES):
            captured = camera.read()
            if captured is None:
                break
            assert captured.frame.shape == (camera.info.height_px, camera.info.width_px, 3)
            assert captured.time_s > last_s
            last_s = captured.time_s
        assert "\n" not in camera.missing and camera.end_s >= last_s
    finally:
        camera.close()


def check_file(content: bytes, folder: Path) -> None:
    """What a picture or a video says of its making."""
    kinds = {b"\x89P": ".png", b"\xff\xd8": ".jpg"}
    report = check(written(folder, f"a{kinds.get(content[:2], '.mp4')}", content))
    assert -1 <= report.mark <= 1 and len(list(report.lines())) == 4


def read_table(content: bytes, folder: Path) -> None:
    track = load_table(written(folder, "talk.csv", content))
    assert len(track.times_s) == len(track.values) == len(track.present) > 0
    assert np.isfinite(track.values).all() and (np.diff(track.times_s) >= 0).all()


def read_preset(content: bytes, folder: Path) -> None:
    written(folder, "mine.toml", content)
    with mock.patch.object(presets, "folder", lambda: folder):
        state = presets.load("mine", ControlState.default(2))
        presets.save("again", state)
        assert presets.load("again", ControlState.default(2)) == state, "it is saved as it was read"


def bundle_of(
    folder: Path, *, change: Callable[[dict[str, Any]], None] | None = None, **files: bytes
) -> Path:
    """The corpus' bundle with other files (`graph`, `golden`), and with their right hashes."""
    names = {"graph": "animate.onnx", "golden": "golden.safetensors"}
    manifest = json.loads((CORPUS / "bundle" / MANIFEST).read_bytes())
    for what, name in names.items():
        content = files.get(what, (CORPUS / "bundle" / name).read_bytes())
        written(folder, name, content)
        manifest["files"][name] = hashlib.sha256(content).hexdigest()
    if change is not None:
        change(manifest)
    written(folder, MANIFEST, json.dumps(manifest).encode())
    return folder


def read_manifest(document: Any, folder: Path) -> None:
    bundle_of(folder)
    written(folder, MANIFEST, document if isinstance(document, bytes) else json.dumps(document).encode())
    bundle = Bundle.load(folder)
    assert all((folder / name).resolve().is_relative_to(folder.resolve()) for name in bundle.hashes)


def read_graph(content: bytes, folder: Path) -> None:
    Bundle.load(bundle_of(folder, graph=content))


def read_golden(content: bytes, folder: Path) -> None:
    tensors = Bundle.load(bundle_of(folder, golden=content)).golden_tensors()
    assert sum(tensor.nbytes for tensor in tensors.values()) <= len(content)


def an_edge_bundle() -> tuple[dict[str, Any], dict[str, tuple[str, list[int], list[int]]]]:
    """Entries of the manifest of a white frame by host code, and its golden tensors: type, shape and numbers."""
    sizes = {"height": 6, "width": 8, "skin_h": 5, "skin_w": 7, "inner_h": 3, "inner_w": 4, "count": 2}
    numbers = {"uint8": [255], "float32": [1], "int32": [1, 1, 7, 5]}
    variants = {
        name: {"graph": graph, "cache": contract.CACHE, "motion": motion, "outputs": contract.FRAME}
        for name, graph, motion in (
            ("graph", "animate.onnx", contract.MAPS),
            ("host", None, contract.MAPS + contract.BOXES),
        )
    }
    entries = {
        "family": "edge",
        "size_px": None,
        "attribute_scale": "full-shape",
        "motion": "icface.geometry",
    }
    golden = {
        spec.name: (
            spec.dtype,
            [sizes.get(str(size)) or int(size) for size in spec.shape],
            numbers[spec.dtype],
        )
        for spec in contract.CACHE + contract.MAPS + contract.BOXES + contract.FRAME
    }
    return {**entries, "neutralise": None, "variants": msgspec.to_builtins(variants)}, golden


def read_edge(given: Any, folder: Path) -> None:
    """Open the host engine on a bundle with other entries in its manifest, and other golden tensors."""
    document = json.loads(given) if isinstance(given, bytes) else given
    entries, golden = an_edge_bundle()
    tensors = {}
    for name, (dtype, shape, numbers) in {**golden, **document["golden"]}.items():
        values = np.array(numbers, dtype=np.float32 if dtype == "float32" else np.int64)
        tensors[name] = np.resize(values, shape).astype(dtype)
    entries.update(document["manifest"])
    path = bundle_of(folder, golden=save(tensors), change=lambda manifest: manifest.update(entries))
    open_engine("host", Bundle.load(path)).close()


def _edges() -> st.SearchStrategy[Any]:
    entries, golden = an_edge_bundle()
    side = st.sampled_from((0, 1, 2, 3, 4, 8, 300))
    whole = st.lists(st.integers(-(2**31), 2**31 - 1) | st.integers(-1, 9), min_size=1, max_size=8)
    real = st.lists(st.floats(width=32) | st.sampled_from((0.0, 5.0)), min_size=1, max_size=8)

    def changes(dtype: str, shape: list[int]) -> st.SearchStrategy[Any]:
        shapes = st.just(shape) | st.lists(side, max_size=4)
        return st.one_of(
            st.tuples(st.just(dtype), shapes, real if dtype == "float32" else whole),
            st.tuples(st.just("float32"), shapes, real),
        )

    others = {name: changes(dtype, shape) for name, (dtype, shape, _) in golden.items()}
    return st.fixed_dictionaries(
        {
            "manifest": st.just({}) | changed_document(entries),
            "golden": st.fixed_dictionaries({}, optional=others),
        }
    )


def read_signature(content: bytes, folder: Path) -> None:
    """Of the corpus' bundle by the corpus' key: what the file means stays the same, or it is refused."""
    bundle = Bundle.load(bundle_of(folder))
    written(folder, signing.SIGNATURE, content)
    signing.check_signature(folder, bundle.sha256, [CORPUS / "key.public.pem"])
    right, found = (msgspec.json.decode(each) for each in (seeds("signature")[0], content))
    assert bytes.fromhex(found["signature"]) == bytes.fromhex(right["signature"])


@cache
def a_desk() -> ControlDesk:
    """A panel's desk on a run of fakes."""
    from fractions import Fraction

    from realtime.disclosure import Provenance
    from realtime.drivers.crew import Crew
    from realtime.photos import Photos
    from realtime.recording import Recordings
    from realtime.renderer import make_scene
    from tests.realtime.fakes import Bench, source

    folder = Path(tempfile.mkdtemp(prefix="icface-fuzz-"))
    written(folder, "me.png", seeds("photo")[0])
    photos: Photos[Any] = Photos(
        [folder / "me.png"], lambda number: make_scene(number, source(), "crop", None)
    )
    bench = Bench(photos=photos)
    recordings = Recordings(
        bench.reenactment.control, bench.reenactment.renderer, Fraction(25), folder, Provenance()
    )
    config = LiveConfig(sources=(folder / "me.png",), null=True)
    crew = Crew(config, bench.reenactment.control, bench.metrics, threading.Event())
    desk = ControlDesk(config, bench.reenactment, photos, recordings, crew, Fraction(25))
    written(folder, "talk.csv", seeds("table")[0])
    return desk


_UNFUZZED: Final = ("render", "record", "stop_recording", "join")
"""They start processes and threads, with nothing of the page's in it but a track's name, which others have too, or a
camera's number."""


def a_command() -> st.SearchStrategy[Any]:
    """What a page may say: right commands with odd fields, and anything else."""
    name = st.one_of(st.sampled_from(("talk", *WORDS)), PLAIN)
    number = st.one_of(st.integers(-3, 3), st.floats(-10, 10), PLAIN)
    fields = {
        **dict.fromkeys(("name", "attribute"), name),
        "names": st.one_of(st.lists(name, max_size=3), PLAIN),
        "values": st.one_of(st.lists(st.floats(), max_size=4), PLAIN),
        "changes": st.dictionaries(
            st.sampled_from(("source", "gain", "offset", "low", "high", "locked", "smoothing_s", "x")),
            number | name,
        ),
        **dict.fromkeys(("number", "start", "position_s", "driver", "from_s", "to_s"), number),
        **dict.fromkeys(("on", "playing", "paused"), st.booleans() | number),
    }
    right: list[st.SearchStrategy[Any]] = []
    for kind in commands.Command.__subclasses__():
        tag = kind.__struct_config__.tag
        if tag not in _UNFUZZED:
            own = {each: fields[each] for each in kind.__struct_fields__}
            right.append(st.fixed_dictionaries({"does": st.just(tag), **own}))
    return st.one_of(*right, PLAIN)


def perform(command: Any, folder: Path) -> None:
    desk = a_desk()
    inside = desk.tracks.folder
    with mock.patch.object(presets, "folder", lambda: inside / "presets"), holding(inside):
        msgspec.json.encode(desk.perform(command))
    json.dumps(desk.news({}), allow_nan=False)


def upload(given: tuple[str, bytes], folder: Path) -> None:
    """A photo under any name: its file lies in the folder, or nowhere."""
    name, content = given
    inner = folder / "uploads"
    inner.mkdir()
    added: list[Path] = []
    desk = mock.Mock(spec=ControlDesk)

    def add(path: Path) -> int:
        added.append(path)
        return 0

    desk.photos = mock.Mock(paths=[], add=add)
    desk.config = LiveConfig(sources=(inner,), null=True, consent="yes")

    async def on_desk(function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    async def ask() -> list[dict[str, Any]]:
        from urllib.parse import quote

        from starlette.applications import Starlette

        said: list[dict[str, Any]] = []
        asked = iter([{"type": "http.request", "body": content, "more_body": False}])

        async def receive() -> dict[str, Any]:
            return next(asked, {"type": "http.disconnect"})

        async def send(message: Any) -> None:
            said.append(message)

        query = f"name={quote(name, errors='replace')}".encode()
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/api/photos",
            "query_string": query,
            "headers": [],
        }
        await Starlette(routes=Files(desk, on_desk, inner).routes())(scope, receive, send)
        return said

    loop = _loop()
    with mock.patch.object(consent, "cache_folder", lambda: folder / "cache"):
        start, *body = loop.run_until_complete(ask())
    text = b"".join(part.get("body", b"") for part in body).decode()
    assert start["status"] in (200, 413, 422) and "\n" not in text and str(folder) not in text
    assert [path.parent for path in added] == ([inner] if start["status"] == 200 else [])
    assert sorted(inner.iterdir()) == added, "what was refused is gone"


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()  # it opens a socket pair, which the contract would take for a connection


def _manifests() -> st.SearchStrategy[Any]:
    content = (CORPUS / "bundle" / MANIFEST).read_bytes()
    return st.one_of(changed_document(json.loads(content)), changed([content]))


def _of(name: str) -> Callable[[], st.SearchStrategy[Any]]:
    return lambda: changed(seeds(name))


def _in_bundle(name: str) -> Callable[[], st.SearchStrategy[Any]]:
    return lambda: changed([(CORPUS / "bundle" / name).read_bytes()])


def _uploads() -> st.SearchStrategy[Any]:
    suffixes = st.sampled_from((*PHOTO_SUFFIXES, ".exe", "", "."))
    names = st.tuples(st.one_of(st.sampled_from(WORDS), st.text(max_size=20)), suffixes).map("".join)
    return st.tuples(names, changed(seeds("photo")))


TARGETS: Final = {
    target.name: target
    for target in (
        Target("photo", _of("photo"), read_photo),
        Target("video", _of("video"), read_video),
        Target("table", _of("table"), read_table),
        Target("preset", _of("preset"), read_preset),
        Target("manifest", _manifests, read_manifest),
        Target("graph", _in_bundle("animate.onnx"), read_graph),
        Target("golden", _in_bundle("golden.safetensors"), read_golden),
        Target("edge", _edges, read_edge, ready=lambda: backends.load("host")),
        Target("signature", _of("signature"), read_signature, needs="cryptography"),
        Target("command", a_command, perform, ready=a_desk),
        Target("upload", _uploads, upload),
        Target("check", _of("check"), check_file),
    )
}
