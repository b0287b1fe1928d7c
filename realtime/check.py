"""What a finished picture or video says of its making: the invisible watermark, the badge, the tags, the manifest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import cv2
import numpy as np
from PIL import Image

from icface.arrays import Frame
from icface.errors import ConfigError, DeviceError, SourceError
from icface.images import load_photo
from realtime.cameras.decoding import open_container
from realtime.cameras.video_file import VideoFileCamera
from realtime.choices import DRIVER_SUFFIXES
from realtime.credentials import read_credentials
from realtime.disclosure import Mark
from realtime.watermark_search import Found, search

EVERY: Final = 6
"""Of a video, every sixth picture is looked at ..."""
MOST: Final = 32
"""... and so many at most: of a longer one, some in each of PLACES that are spread over it."""
PLACES: Final = 8
ON: Final = 300
"""So many pictures are decoded at most on the way to a place; usual videos have a key picture in fewer."""
MARK_THRESHOLD: Final = 0.6
"""Correlation with the badge from which on it is one."""
_MAKER: Final = "ICface Live"
_SOURCE_TYPE: Final = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
_SYSTEM: Final = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}AISystemUsed"
_XMP_BYTES: Final = 1_000_000
"""Longer packets are not read."""
_SHOWN: Final = 200
"""Characters of what the tags say."""


@dataclass(frozen=True)
class Report:
    """Of one file."""

    watermark: Found
    mark: float
    """Correlation with the badge, -1 to 1."""
    source_type: str
    """IPTC's term for how it was made, from the tags; empty where they say nothing."""
    maker: str
    """The program that the tags name."""
    credentials: str
    """What the C2PA manifest says, in words."""

    @property
    def is_ours(self) -> bool:
        """Whether anything says that this program made it."""
        return (
            self.watermark.is_there
            or self.mark >= MARK_THRESHOLD
            or _MAKER in self.maker
            or _MAKER in self.credentials
        )

    def lines(self) -> Iterator[str]:
        """For people."""
        found, score = self.watermark, self.watermark.score
        scale = "" if abs(found.scale - 1) < 0.02 else f", scaled to {found.scale:.0%}"
        yield f"invisible watermark: {f'found{scale}' if found.is_there else 'not found'} (score {score:.1f})"
        yield f"visible mark: {'found' if self.mark >= MARK_THRESHOLD else 'not found'} (score {self.mark:.2f})"
        tags = ", ".join(filter(None, (self.source_type.rsplit("/", 1)[-1], self.maker)))
        yield f"metadata: {tags[:_SHOWN] or 'says nothing of its making'}"
        yield f"Content Credentials: {self.credentials}"


def check(path: Path) -> Report:
    """Look at one file.

    Raises:
        ICFaceError: it is missing, or neither a picture nor a video.
    """
    if not path.is_file():
        raise SourceError(f"{path} is not there, or is no file")
    is_video = path.suffix.lower() in DRIVER_SUFFIXES and path.suffix.lower() != ".gif"
    frames, tags = _video(path) if is_video else _picture(path)
    try:
        signed = read_credentials(path)
        said = (
            "none"
            if signed is None
            else f"{signed.state}, signed by {signed.signer}, made by {signed.generator}"
        )
    except ConfigError:
        said = 'not looked for; run: pip install "icface-live[c2pa]"'
    except DeviceError as error:
        said = str(error)
    # A video may begin or end with other pictures. One in the middle that has the badge is enough.
    mark = max(badge_score(frame) for frame in frames[:: max(1, len(frames) // PLACES)])
    return Report(search(frames), mark, *tags, credentials=said)


def badge_score(frame: Frame) -> float:
    """How well the lower right corner of (H, W, 3) RGB agrees with the badge: a correlation, -1 to 1."""
    height_px, width_px = frame.shape[:2]
    badge = np.full((height_px, width_px, 3), 128, np.uint8)
    mark = Mark(width_px, height_px)
    mark.apply(badge)
    left, top, right, bottom = mark.box_px
    wanted = cv2.cvtColor(badge[top:bottom, left:right], cv2.COLOR_RGB2GRAY)
    shift = max(2, wanted.shape[0] // 6)
    corner = frame[max(0, top - shift) : bottom + shift, max(0, left - shift) : right + shift]
    if min(wanted.shape) < 4:
        return -1.0
    scores = cv2.matchTemplate(cv2.cvtColor(corner, cv2.COLOR_RGB2GRAY), wanted, cv2.TM_CCOEFF_NORMED)
    return float(np.nan_to_num(scores, nan=-1.0, posinf=-1.0, neginf=-1.0).max())


def _picture(path: Path) -> tuple[list[Frame], tuple[str, str]]:
    frame = load_photo(path).frame
    try:
        with Image.open(path) as image:
            xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    except (OSError, ValueError, SyntaxError):  # HEIC, which Pillow alone does not open
        xmp = b""
    return [frame], _from_xmp(xmp.encode() if isinstance(xmp, str) else bytes(xmp))


def _from_xmp(packet: bytes) -> tuple[str, str]:
    """How it was made, and what made it."""
    # Entities are the way to make a short text endless. XMP has none.
    if not packet or len(packet) > _XMP_BYTES or b"<!" in packet:
        return "", ""
    try:
        root = ElementTree.fromstring(packet.strip(b"\0 \n"))
    except ElementTree.ParseError:
        return "", ""
    kind, system = root.find(f".//{_SOURCE_TYPE}"), root.find(f".//{_SYSTEM}")
    return (kind.text or "" if kind is not None else ""), (system.text or "" if system is not None else "")


def _spread(camera: VideoFileCamera) -> Iterator[Frame]:
    """The pictures of a video that are looked at."""
    count, each = camera.info.frame_count or 0, MOST // PLACES
    if count <= EVERY * MOST:
        for captured in islice(camera.frames(), 0, EVERY * MOST, EVERY):
            yield captured.frame
        return
    last_s = -1.0
    for place in range(PLACES):
        due_s = place * count / PLACES / float(camera.info.fps)
        camera.skip_to(due_s)
        taken = 0
        # It goes on at the key picture before; the last place's pictures may come again.
        for number, captured in enumerate(camera.frames()):
            if captured.time_s <= last_s or (captured.time_s < due_s and number < ON):
                continue
            if taken % EVERY == 0:
                yield captured.frame
            taken, last_s = taken + 1, captured.time_s
            if taken > EVERY * (each - 1):
                break


def _video(path: Path) -> tuple[list[Frame], tuple[str, str]]:
    with VideoFileCamera(path) as camera:
        frames = list(_spread(camera))
    with closing(open_container(path)) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
    maker = _MAKER if _MAKER in tags.get("comment", "") else ""
    return frames, (tags.get("digital_source_type", ""), maker)
