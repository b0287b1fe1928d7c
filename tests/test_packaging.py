"""What `pip install .` puts on a machine: code, models, tables, nothing else; and it runs anywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


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
        for package in ("icface", "realtime", "export", "training")
        for path in (checkout / package).rglob("*.py")
    } | {
        path.relative_to(checkout).as_posix()
        for pattern in ("icface/models/**/*", "icface/geometry/data/*", "icface/face/data/*")
        for path in checkout.glob(pattern)
        if path.is_file()
    }
    assert expected - inside == set()
    assert "icface/models/edge.icface/manifest.json" in inside


def test_nothing_else_is_in_the_wheel(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "benchmarks",
        "export",
        "icface",
        "realtime",
        "training",
    }
    allowed = (".py", ".json", ".onnx", ".safetensors", ".npz", ".npy", ".toml", ".csv")
    strange = [n for n in names if ".dist-info/" not in n and not n.endswith(allowed)]
    assert [n for n in strange if n != "icface/py.typed"] == [], (
        "a kind of file that is not expected; a typed list keeps photos and caches out"
    )


def test_the_wheel_stays_small(wheel: Path) -> None:
    assert wheel.stat().st_size < 30e6


def test_licences_travel_with_the_wheel(wheel: Path) -> None:
    names = [Path(name).name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" in name]
    assert "LICENSE" in names
    assert "NOTICE" in names


def test_the_wheel_runs_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    """The command starts with nothing but the wheel on the path, and finds the model that ships."""
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    away = tmp_path / "away"
    away.mkdir()
    script = (
        "import icface, realtime\n"
        "from icface.bundle import DEFAULT_BUNDLE, Bundle\n"
        "Bundle.load(DEFAULT_BUNDLE)\n"
        "print(icface.__file__)\n"
        "from realtime.cli import main\n"
        "main(['--help'])\n"
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
    assert "--camera" in result.stdout


def test_lock_agrees_with_the_ranges() -> None:
    """Every direct dependency is locked, at a version that its own range admits."""
    packaging = pytest.importorskip("packaging.requirements")
    locked = {}
    for line in (REPOSITORY / "requirements.lock").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition(";")[0].strip().partition("==")
            assert version, f"{line!r} does not name one version"
            locked[name.lower().replace("_", "-")] = version
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *(text for extra in extras.values() for text in extra)]:
        requirement = packaging.Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue  # for another machine
        name = requirement.name.lower().replace("_", "-")
        if name == project["name"]:  # an extra that takes in another
            continue
        assert name in locked, f"{name} is not in requirements.lock"
        assert requirement.specifier.contains(locked[name], prereleases=True), (
            f"{text}: {locked[name]} locked"
        )
    live = {packaging.Requirement(text).name for text in project["dependencies"]}
    assert not live & {"torch", "ray", "lightning-fabric"}, "the live path needs nothing of training"
