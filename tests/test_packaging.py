"""What `pip install .` puts on a machine: the product's code, models and tables, nothing else; and it runs anywhere."""

from __future__ import annotations

import ast
import configparser
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from icface.face.landmarks import MODEL_SHA256
from tests.test_layering import imports

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("icface", "realtime", "training", "export")
CHECKOUT_COMMAND = re.compile(r"\b(training|export|benchmarks)[./]\w")
COMMANDS = {"icface-live": "realtime.cli:main", "icface-build-engine": "icface.engines.command:main"}
LARGEST_INSTALLATION_BYTES = 1_000_000_000
"""What `pip install .` may take with everything that it needs."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout as git knows it, so that leftovers of earlier builds play no part."""
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    )
    folder = tmp_path_factory.mktemp("checkout")
    for name in listing.stdout.decode().split("\0"):
        if name and (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `pip install .` would install."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    result = subprocess.run(
        [*command, "--no-build-isolation", "--wheel-dir", str(folder), str(checkout)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_every_module_model_and_table_is_in_the_wheel(checkout: Path, wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        path.relative_to(checkout).as_posix()
        for package in ("icface", "realtime", "export")
        for path in (checkout / package).rglob("*.py")
    } | {
        path.relative_to(checkout).as_posix()
        for pattern in (
            *("icface/models/**/*", "icface/geometry/data/*", "icface/face/data/*"),
            *("icface/control/presets/*", "realtime/panel/page/*", "training/configs/*"),
        )
        for path in checkout.glob(pattern)
        if path.is_file()
    }
    assert expected - inside == set()
    assert {"icface/models/edge.icface/manifest.json", "icface/face/data/face_landmarker.task"} <= inside


def test_the_wheel_lacks_nothing_that_its_files_import(checkout: Path, wheel: Path) -> None:
    """What trains and measures other models is left out, and nothing of it is needed by what is there."""
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")}
    modules = {
        path.relative_to(checkout)
        .with_suffix("")
        .as_posix()
        .replace("/", ".")
        .removesuffix(".__init__"): path
        for path in (checkout / "training").rglob("*.py")
    }
    missing = {name for name, path in modules.items() if path.relative_to(checkout).as_posix() not in inside}
    assert "training.evaluation" in missing and "training.personal.tune" not in missing
    needed = {
        (name, wanted)
        for name in inside
        for _, dotted in imports(checkout / name)
        for wanted in (dotted, dotted.rpartition(".")[0])
        if wanted in missing
    }
    assert needed == set()


def test_the_tracker_in_the_wheel_is_the_one_that_the_code_expects(wheel: Path) -> None:
    content = zipfile.ZipFile(wheel).read("icface/face/data/face_landmarker.task")
    assert hashlib.sha256(content).hexdigest() == MODEL_SHA256


def test_nothing_else_is_in_the_wheel(wheel: Path) -> None:
    """Benchmarks and tests are run from a checkout."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    allowed = (".py", ".json", ".onnx", ".safetensors", ".task", ".csv", ".toml")
    page = tuple(
        f"realtime/panel/page/{path.name}" for path in (REPOSITORY / "realtime/panel/page").iterdir()
    )
    named = (*page, "realtime/doctor/face.jpg")
    strange = [n for n in names if ".dist-info/" not in n and not n.endswith(allowed) and n not in named]
    assert [n for n in strange if n != "icface/py.typed"] == [], (
        "a kind of file that is not expected; a typed list keeps photos and caches out"
    )


def test_the_wheel_stays_small(wheel: Path) -> None:
    """The bundle is 9.5 MB of it, the tracker's model 3.8, the segmenters 1.2, the face tables .1, the code 1.4."""
    archive = zipfile.ZipFile(wheel)
    new = ("training/", "export/", "icface/networks/")  # all of it needs torch, which no run needs
    making = [file for file in archive.infolist() if file.filename.startswith(new)]
    assert sum(file.file_size for file in making) < 0.65e6, (
        "code and settings that make a generator of one's own"
    )
    files = [file for file in archive.infolist() if file not in making]
    (record,) = (file for file in files if file.filename.endswith(".dist-info/RECORD"))
    told = sum(len(line) for line in archive.read(record).splitlines(True) if line.decode().startswith(new))
    learned = [file for file in files if file.filename.endswith((".onnx", ".safetensors", ".task"))]
    assert wheel.stat().st_size < 12.5e6
    assert sum(file.file_size for file in learned) < 14.7e6
    assert sum(file.file_size for file in files if file not in learned) - told < 1.45e6


def test_the_wheel_has_the_two_commands(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt"))
    scripts = configparser.ConfigParser()
    scripts.read_string(archive.read(name).decode())
    assert dict(scripts["console_scripts"]) == COMMANDS


def test_the_installation_stays_within_its_bound() -> None:
    """The files of every package that the product needs, found from its direct dependencies on."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(text) for text in project["dependencies"]]
    sizes: dict[str, int] = {}
    while wanted:
        requirement = wanted.pop()
        name = requirement.name.lower().replace("_", "-")
        if name in sizes or not _applies(requirement):
            continue
        distribution = importlib.metadata.distribution(name)
        paths = (Path(str(file.locate())) for file in distribution.files or ())
        sizes[name] = sum(path.stat().st_size for path in paths if path.is_file())
        wanted += (Requirement(text) for text in distribution.requires or ())
    assert {"numpy", "numba", "llvmlite", "openvino"} <= sizes.keys()
    assert min(sizes[name] for name in ("numpy", "numba", "openvino")) > 5e6, "the files were found"
    total = sum(sizes.values())
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:8]
    assert total < LARGEST_INSTALLATION_BYTES, f"{total / 1e6:.0f} MB; the largest: {largest}"


def test_messages_name_commands_that_the_reader_has() -> None:
    """An installed product has no training/, export/ and benchmarks/ to run. Whoever uses the networks has a checkout."""
    found = []
    for package in ("icface", "realtime"):
        for path in (REPOSITORY / package).rglob("*.py"):
            if path.is_relative_to(REPOSITORY / "icface/networks"):
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                # Docstrings are for readers of the code: they are statements of their own.
                if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                    node.value.value = ""
                elif isinstance(node, ast.Constant) and CHECKOUT_COMMAND.search(str(node.value)):
                    found.append(f"{path.relative_to(REPOSITORY)}:{node.lineno}: {node.value!r}")
    assert not found, "\n".join(found)


def _applies(requirement: Requirement) -> bool:
    """Whether a requirement is one of this machine's, and of no extra."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def test_licences_travel_with_the_wheel(wheel: Path) -> None:
    names = [Path(name).name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" in name]
    assert "LICENSE" in names
    assert "NOTICE" in names


@pytest.mark.slow
def test_the_wheel_runs_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    """Both commands start with nothing but the wheel on the path, and find the model that ships."""
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    away = tmp_path / "away"
    away.mkdir()
    script = (
        # An editable installation of a checkout would lend what the wheel lacks.
        "import pathlib, sys\n"
        "sys.meta_path[:] = [finder for finder in sys.meta_path if 'editable' not in str(finder)]\n"
        "sys.path[:] = [p for p in sys.path if not pathlib.Path(p, 'pyproject.toml').exists()]\n"
        "import icface, realtime\n"
        "from icface.bundle import DEFAULT_BUNDLE, Bundle\n"
        "Bundle.load(DEFAULT_BUNDLE)\n"
        "print(icface.__file__)\n"
        "import icface.engines.command, realtime.cli\n"
        "for command in (realtime.cli, icface.engines.command):\n"
        "    try:\n"
        "        command.main(['--help'])\n"
        "    except SystemExit as end:\n"
        "        assert not end.code, end.code\n"
        "assert realtime.cli.main(['personalise', '--help']) == 0\n"
    )
    result = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=away,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(str(installed))
    assert "--camera" in result.stdout and "--precision" in result.stdout and "--record" in result.stdout


def test_lock_agrees_with_the_ranges() -> None:
    """Every direct dependency is locked, at a version that its own range admits."""
    locked = {}
    for line in (REPOSITORY / "requirements.lock").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition(";")[0].strip().partition("==")
            assert version, f"{line!r} does not name one version"
            locked[name.lower().replace("_", "-")] = version
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    # NVIDIA's package fetches gigabytes from NVIDIA's own index: CONTRIBUTING.md.
    locked_extras = (extra for key, extra in extras.items() if key != "tensorrt")
    for text in [*project["dependencies"], *(text for extra in locked_extras for text in extra)]:
        requirement = Requirement(text)
        if not _applies(requirement):
            continue  # for another machine
        name = requirement.name.lower().replace("_", "-")
        if name == project["name"]:  # an extra that takes in another
            continue
        assert name in locked, f"{name} is not in requirements.lock"
        assert requirement.specifier.contains(locked[name], prereleases=True), (
            f"{text}: {locked[name]} locked"
        )
    live = {Requirement(text).name for text in project["dependencies"]}
    assert not live & {"torch", "ray", "lightning-fabric"}, "the live path needs nothing of training"
