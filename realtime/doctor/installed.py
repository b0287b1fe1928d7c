"""Checks of what is installed: versions, folders, models."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Final

import platformdirs

from realtime.doctor import FAILED, OK, Finding

PACKAGES: Final = ("numpy", "opencv-python", "openvino", "onnxruntime", "numba", "av", "pyvirtualcam")
LEAST_FREE_MB: Final = 500
_IN_THE_WAY: Final = "a file is where the folder should be; move it away"
_REMEDIES: Final = {
    errno.ENOSPC: "free some space",
    errno.EEXIST: _IN_THE_WAY,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EROFS: "let its disk be written",
}


def versions() -> Iterator[Finding]:
    """Of Python, this program and what makes its frames."""
    from realtime import version

    missing, found = [], []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version_of(package)}")
        except PackageNotFoundError:
            missing.append(package)
    about = f"icface-live {version()}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Finding(check="versions", state=OK, found=f"{about}; {', '.join(found)}")
    if missing:
        named = " ".join(missing)
        yield Finding(
            check="versions",
            state=FAILED,
            found=f"missing: {named}",
            remedy=f"pip install {named}, or install icface-live again",
        )


def folders() -> Iterator[Finding]:
    """Whether what is kept from run to run can be written, and how much room there is."""
    from icface.control import presets
    from icface.source_cache import cache_folder

    wanted = {
        "cache": cache_folder(),
        "presets": presets.folder(),
        "neutral face and recordings": platformdirs.user_data_path("icface-live", appauthor=False),
    }
    for what, folder in wanted.items():
        yield _folder(what, folder)


def _folder(what: str, folder: Path) -> Finding:
    probe = folder / f".doctor-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(b"written by icface-live doctor")
        finally:
            probe.unlink(missing_ok=True)
        free_mb = shutil.disk_usage(folder).free // 1_000_000
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "give yourself the right to write there")
        if what == "cache":
            remedy += ", or name another folder: ICFACE_CACHE_DIR=FOLDER"
        return Finding(
            check="folders",
            state=FAILED,
            found=f"{what}: {folder} cannot be written ({error.strerror})",
            remedy=remedy,
        )
    if free_mb < LEAST_FREE_MB:
        found = f"{what}: {folder} has {free_mb} MB left"
        return Finding(check="folders", state=FAILED, found=found, remedy="free some space")
    return Finding(
        check="folders", state=OK, found=f"{what}: {folder}, written; {free_mb / 1000:.0f} GB free"
    )


def models() -> Iterator[Finding]:
    """Whether every model file that ships is the one that was shipped."""
    from icface.bundle import DEFAULT_BUNDLE, Bundle
    from icface.errors import BundleError
    from icface.face.landmarker import MODEL_PATH, MODEL_SHA256
    from icface.segmentation.segmenters import FOLDER, SHA256

    try:
        bundle = Bundle.load(DEFAULT_BUNDLE)  # it compares the hashes of its files
    except BundleError as error:
        found, _, remedy = str(error).partition("; ")
        yield Finding(check="models", state=FAILED, found=f"generator: {found}", remedy=remedy)
    else:
        named = f"generator {bundle.name}"
        found = f"{named}: {len(bundle.hashes)} files have their hashes ({bundle.sha256[:12]})"
        yield Finding(check="models", state=OK, found=found)
    files = {"face tracker": (MODEL_PATH, MODEL_SHA256)}
    files |= {f"segmentation {name}": (FOLDER / name, digest) for name, digest in SHA256.items()}
    for what, (path, digest) in files.items():
        try:
            same = hashlib.sha256(path.read_bytes()).hexdigest() == digest
            wrong = "" if same else "is damaged or changed"
        except OSError as error:
            wrong = f"cannot be read ({error.strerror})"
        if wrong:
            found, remedy = f"{what}: {path} {wrong}", "install icface-live again"
            yield Finding(check="models", state=FAILED, found=found, remedy=remedy)
        else:
            yield Finding(check="models", state=OK, found=f"{what}: has its hash ({digest[:12]})")
