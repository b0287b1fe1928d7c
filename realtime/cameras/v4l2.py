"""What Linux says about cameras: which there are, what each can do, and what is wrong with one."""

from __future__ import annotations

import errno
import os
import struct
import sys
from pathlib import Path
from typing import Final

from icface.errors import DeviceError
from realtime.cameras import LIST_HINT, CameraListing

_QUERYCAP: Final = 0x80685600  # VIDIOC_QUERYCAP: _IOR('V', 0, struct v4l2_capability of 104 bytes)
_CAPTURE: Final = 0x00000001 | 0x00001000  # single- and multi-planar video capture
_PERMISSION: Final = "permission denied; run: sudo usermod -aG video $USER, then log in again"


def list_cameras(root: Path = Path("/")) -> list[CameraListing]:
    """List the cameras by number, with their names from sysfs. Outputs and metadata nodes are left out.

    `root` is where /sys and /dev are.
    """
    listings = []
    for node in (root / "sys/class/video4linux").glob("video*"):
        number = node.name.removeprefix("video")
        if not number.isdecimal():
            continue
        path = root / "dev" / node.name
        note = ""
        try:
            if not query_capabilities(path) & _CAPTURE:
                continue
        except OSError as error:
            note = _PERMISSION if isinstance(error, PermissionError) else str(error.strerror)
        listings.append(CameraListing(int(number), str(path), _sysfs_name(node), note))
    return sorted(listings, key=lambda listing: listing.number)


def query_capabilities(path: Path) -> int:
    """The capability bits of a V4L2 node (VIDIOC_QUERYCAP); raises OSError where it is no video device."""
    import fcntl  # not on Windows

    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        answer = bytearray(104)
        fcntl.ioctl(descriptor, _QUERYCAP, answer)
    finally:
        os.close(descriptor)
    # driver[16], card[32], bus_info[32], version, capabilities of the whole device, of this node
    whole, node = struct.unpack_from("=II", answer, 84)
    return int(node if whole & 0x80000000 else whole)


def check_device(device: str) -> None:
    """Raise DeviceError with precisely what is wrong with a device. OpenCV can only say "not opened"."""
    path = _device_path(device)
    try:
        capabilities = query_capabilities(path)
    except FileNotFoundError:
        found = ", ".join(f"{listing.number} ({listing.name})" for listing in list_cameras()) or "none"
        raise DeviceError(f"camera {device} is not there; cameras found: {found}. {LIST_HINT}") from None
    except PermissionError as error:
        raise DeviceError(f"camera {device}: {_PERMISSION}") from error
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise DeviceError(f"camera {device} is busy; close the other program that uses it") from error
        if error.errno == errno.ENOTTY:
            raise DeviceError(f"{path} is not a camera. {LIST_HINT}") from error
        raise DeviceError(f"camera {device} cannot be opened: {error.strerror}. {LIST_HINT}") from error
    if not capabilities & _CAPTURE:
        raise DeviceError(f"{path} gives no pictures (an output or metadata device). {LIST_HINT}")


def device_name(device: str) -> str:
    """What the system calls a device; empty where it does not say."""
    return _sysfs_name(Path("/sys/class/video4linux") / _device_path(device).resolve().name)


def is_gone(device: str) -> bool:
    """Whether a device that was there is there no longer. Other systems than Linux do not say."""
    return sys.platform == "linux" and not _device_path(device).exists()


def _device_path(device: str) -> Path:
    return Path(f"/dev/video{device}") if device.isdecimal() else Path(device)


def _sysfs_name(node: Path) -> str:
    try:
        return (node / "name").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
