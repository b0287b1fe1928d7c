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

# Folder -> our packages that it may import besides itself.
MAY_IMPORT = {
    "icface": set(),
    "realtime": {"icface"},
    "export": {"icface"},
    "training": {"icface"},
}

# Packages that are large, optional or bound to a device -> the only places that may import them.
KEPT_INSIDE = {
    "torch": ("icface/networks/", "export/", "training/"),
    "lightning_fabric": ("training/",),
    "ray": ("training/",),
    "tensorboard": ("training/",),
    "pandas": (),
    "pyarrow": ("training/",),
    "cuda": ("icface/gpu/",),
    "tensorrt": ("icface/engines/tensorrt.py", "icface/gpu/", "export/"),
    "tensorrt_rtx": ("icface/engines/tensorrt_rtx.py", "icface/gpu/", "export/"),
    "openvino": ("icface/engines/openvino.py", "icface/face/landmarker.py", "export/"),
    "onnxruntime": ("icface/engines/onnxruntime.py", "export/"),
    "onnx": ("export/",),
    "mediapipe": (),
    "pyvirtualcam": ("realtime/sinks/virtual_camera.py",),
    "argparse": ("realtime/cli.py", "export/", "training/"),
    "scipy": ("training/",),
    "matplotlib": ("training/",),
    "meshoptimizer": ("training/",),
}

SOURCES = [
    path.relative_to(REPOSITORY).as_posix()
    for package in PACKAGES
    for path in sorted((REPOSITORY / package).rglob("*.py"))
]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, top-level package) of every absolute import in a file, those inside functions included.

    `importlib.import_module("name")` with a literal counts; imports for type checkers alone do not run.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield node.lineno, alias.name.split(".")[0]
            case ast.ImportFrom(module=str(module), level=0):
                yield node.lineno, module.split(".")[0]
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                yield node.lineno, module.split(".")[0]


def test_imports_are_seen_wherever_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "import os.path as p\n"
        "from . import near\n"
        "from torch.nn import Module\n"
        "def f():\n"
        "    import tensorrt, json\n"
        "    return importlib.import_module('openvino.runtime')\n"
    )
    assert sorted(imports(path)) == [(1, "os"), (3, "torch"), (5, "json"), (5, "tensorrt"), (6, "openvino")]


@pytest.mark.parametrize("source", SOURCES)
def test_layers_and_heavy_packages(source: str) -> None:
    package = source.split("/")[0]
    forbidden = {*PACKAGES, "benchmarks", "tests"} - MAY_IMPORT[package] - {package}
    found = []
    for line, name in imports(REPOSITORY / source):
        if name in forbidden:
            found.append(f"{source}:{line} imports {name}, which {package}/ must not know")
        allowed = KEPT_INSIDE.get(name)
        if allowed is not None and not source.startswith(allowed):
            found.append(f"{source}:{line} imports {name}; only {', '.join(allowed)} may")
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
import realtime.offline

heavy = [name for name in ("mediapipe", "openvino", "onnxruntime") if name in sys.modules]
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
