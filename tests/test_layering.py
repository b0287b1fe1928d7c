"""Who may import whom, read from the source: the house rules of docs/architecture.md."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("icface", "realtime", "export", "training")

# Package -> our packages that it may import besides itself.
MAY_IMPORT = {
    "icface": set(),
    "realtime": {"icface"},
    "export": {"icface"},
    "training": {"icface"},
}

# A generator of one's own is made by one command: it reads videos as the product does, trains, and packs a bundle.
# The one that ships is made by another, which packs as well.
MAY_ALSO_IMPORT = {
    "realtime/cli.py": {"training"},
    "training/personalise.py": {"realtime"},
    "training/make_edge.py": {"export"},
    "training/personal/": {"realtime", "export"},
}

# The rooms of icface, from the lowest up. A room may import itself and what its line names, so no arrow leads upward.
BASE = {
    *("arrays", "attributes", "bundle", "cells", "command", "cpu", "errors", "files", "images", "quality"),
    *(
        "bundle_checks",
        "compiled",
        "consent",
        "editing",
        "graphs",
        "openvino_core",
        "pyramid",
        "signing",
        "source_cache",
        "tables",
        "tensors",
        "variants",
    ),
}
ROOMS = {
    **dict.fromkeys(BASE, BASE),
    "face": BASE,
    "segmentation": BASE,
    "control": BASE | {"face"},
    "geometry": BASE | {"face", "segmentation"},
    "networks": BASE | {"face", "geometry"},
    "families": BASE | {"face", "geometry"},
    "engines": BASE | {"face", "geometry", "families"},
    "prepared_source": BASE | {"families"},
    "preparation": BASE | {"face", "geometry", "families", "engines", "prepared_source"},
    "reenactor": BASE | {"families", "engines", "prepared_source", "preparation"},
}

# The same inside icface/engines. `__init__` holds the public names only, so no module of the folder imports it.
_RUNNING = {"base", "cache", "nvidia", "backends", "opening"}
_CHECKING = {"precision", "parity", "samples"}
ENGINE_ROOMS = {
    "base": set(),
    "cache": {"base"},
    "nvidia": {"base", "cache"},
    "backends": {"base", "cache", "nvidia"},
    "opening": {"base", "cache", "backends"},
    **dict.fromkeys(_CHECKING, _RUNNING | _CHECKING),
    "building": _RUNNING | _CHECKING,
    "background": _RUNNING | {"building", "samples"},
    "command": _RUNNING | _CHECKING | {"building"},
}

# Packages that are large, optional or bound to a device -> the only places that may import them.
KEPT_INSIDE = {
    "torch": ("icface/networks/", "export/", "training/"),
    "torch.onnx": ("export/",),
    "lightning_fabric": ("training/",),
    "ray": ("training/",),
    "tensorboard": ("training/",),
    "pandas": (),
    "pyarrow": ("training/",),
    "webdataset": (),
    "cuda": ("icface/engines/nvidia/",),
    "tensorrt": ("icface/engines/backends/tensorrt.py", "icface/engines/nvidia/"),
    "tensorrt_rtx": ("icface/engines/backends/tensorrt_rtx.py", "icface/engines/nvidia/"),
    "openvino": (
        *("icface/openvino_core.py", "icface/engines/backends/openvino.py"),
        "icface/face/landmarker.py",
    ),
    "onnxruntime": ("icface/engines/backends/onnxruntime.py", "icface/engines/precision.py"),
    "cryptography": ("icface/signing.py", "realtime/credentials.py"),
    "onnx": (
        *(f"icface/engines/{name}.py" for name in ("parity", "precision")),
        "icface/graphs.py",
        *("export/", "training/assets/derive_segmenters.py", "training/networks/squeezenet.py"),
        "training/personal/start.py",
    ),
    "mediapipe": (),
    "pyvirtualcam": ("realtime/sinks/virtual_camera.py",),
    "argparse": (
        *(
            "icface/command.py",
            "icface/engines/command.py",
            "realtime/attributes_command.py",
            "realtime/check_command.py",
            "realtime/cli.py",
            "realtime/flags.py",
            "realtime/sign_command.py",
            "realtime/doctor/command.py",
        ),
        *("export/", "training/"),
    ),
    "scipy": ("training/",),
    "matplotlib": ("training/",),
    "meshoptimizer": ("training/",),
    "aiortc": ("realtime/panel/calls.py",),
    "c2pa": ("realtime/credentials.py",),
    "starlette": ("realtime/panel/",),
    "uvicorn": ("realtime/panel/",),
    "websockets": ("realtime/panel/",),
}

SOURCES = [
    path.relative_to(REPOSITORY).as_posix()
    for package in PACKAGES
    for path in sorted((REPOSITORY / package).rglob("*.py"))
]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of all that a file imports absolutely, inside functions too.

    `from a.b import c` gives `a.b.c`, whether c is a module or not. `importlib.import_module("name")` with a literal
    counts, and so does `torch.onnx`, which `import torch` gives as well.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield node.lineno, alias.name
            case ast.ImportFrom(module=str(module), names=names, level=0):
                for alias in names:
                    yield node.lineno, f"{module}.{alias.name}"
            case ast.Attribute(value=ast.Name(id="torch"), attr="onnx"):
                yield node.lineno, "torch.onnx"
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                yield node.lineno, module


def is_inside(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def test_imports_are_seen_wherever_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "import os.path as p\n"
        "from . import near\n"
        "from torch.nn import Module, functional as f\n"
        "def f():\n"
        "    import tensorrt, json\n"
        "    return importlib.import_module('openvino.runtime')\n"
        "torch.onnx.export()\n"
    )
    assert sorted(imports(path)) == [
        *((1, "os.path"), (3, "torch.nn.Module"), (3, "torch.nn.functional")),
        *((5, "json"), (5, "tensorrt"), (6, "openvino.runtime"), (7, "torch.onnx")),
    ]


@pytest.mark.parametrize("source", SOURCES)
def test_layers_and_heavy_packages(source: str) -> None:
    package = source.split("/")[0]
    also = (names for start, names in MAY_ALSO_IMPORT.items() if source.startswith(start))
    forbidden = {*PACKAGES, "benchmarks", "tests"} - MAY_IMPORT[package] - {package}.union(*also)
    found = []
    for line, name in imports(REPOSITORY / source):
        if name.split(".")[0] in forbidden:
            found.append(f"{source}:{line} imports {name}, which {package}/ must not know")
        for kept, allowed in KEPT_INSIDE.items():
            if is_inside(name, kept) and not source.startswith(allowed):
                found.append(f"{source}:{line} imports {name}; only {', '.join(allowed)} may import {kept}")
    assert not found, "\n".join(found)


def upward(source: str, folder: str, rooms: dict[str, set[str]]) -> list[str]:
    """The imports of a file in `folder` that its room may not have."""
    room = source.removeprefix(folder).split("/")[0].removesuffix(".py")
    assert room in rooms, (
        f"{source} is in no room; name {room} in tests/test_layering.py, with what it may import"
    )
    package = folder.strip("/").replace("/", ".")
    allowed = {f"{package}.{name}" for name in (room, *rooms[room])}
    return [
        f"{source}:{line} imports {name}"
        for line, name in imports(REPOSITORY / source)
        if is_inside(name, package) and not any(is_inside(name, other) for other in allowed)
    ]


@pytest.mark.parametrize(
    "source", [s for s in SOURCES if s.startswith("icface/") and s != "icface/__init__.py"]
)
def test_no_arrow_leads_upward_in_icface(source: str) -> None:
    found = upward(source, "icface/", ROOMS)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [s for s in SOURCES if s.startswith("icface/engines/") and s != "icface/engines/__init__.py"],
)
def test_no_arrow_leads_upward_in_the_engines(source: str) -> None:
    found = upward(source, "icface/engines/", ENGINE_ROOMS)
    assert not found, "\n".join(found)


LIVE_PATH = """
import sys

BLOCKED = ("torch", "tensorrt", "tensorrt_rtx", "pyvirtualcam", "lightning_fabric", "ray", "meshoptimizer")


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked")


sys.meta_path.insert(0, Blocker())

import icface.reenactor
import realtime.cli
import realtime.loop

heavy = [name for name in ("mediapipe", "openvino", "onnxruntime", "starlette", "uvicorn") if name in sys.modules]
assert not heavy, f"{heavy} imported before anything was asked for"
try:
    realtime.cli.main(["--help"])
except SystemExit as stop:
    assert stop.code == 0, stop.code
"""


def test_live_path_needs_no_training_no_gpu_and_no_camera_packages() -> None:
    """`icface-live --help` works, and at once, where the optional packages are not installed."""
    result = subprocess.run(
        [sys.executable, "-c", LIVE_PATH], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert "--source" in result.stdout
