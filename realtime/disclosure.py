"""Disclosure, as the EU AI Act, article 50, asks for it: a badge that people see, and tags that programs read.

The badge is a small rounded "AI" in the lower right corner of every frame, on by default. The tags of a recorded file say
that it is synthetic, what made it, and from which photo. Their kind of medium is a term of IPTC's vocabulary.
`trainedAlgorithmicMedia` would claim that a model made the whole picture. Here the pixels of a photograph are moved after
another person, and completed where they show nothing. That is `compositeSynthetic` (a composite of elements of which at
least one is synthetic), whichever model is used.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.bundle import DEFAULT_BUNDLE
from icface.errors import SourceError
from icface.files import read_file
from icface.images import MAX_FILE_BYTES
from realtime import version
from realtime.config import LiveConfig
from realtime.credentials import Credentials

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic"

_HEIGHT = 0.06
"""Badge height, as a part of the frame's shorter side."""
_LEAST_PX = 14
"""The letters of a smaller badge cannot be read."""
_SUPERSAMPLING = 8


class Mark:
    """The badge for frames of one size, drawn once. White on a dark pill, it shows on light and on dark frames."""

    def __init__(self, width_px: int, height_px: int) -> None:
        badge_px = max(_LEAST_PX, round(_HEIGHT * min(width_px, height_px)))
        colour, opacity = _draw_badge(badge_px)
        margin_px = max(1, badge_px // 2)
        left = max(0, width_px - margin_px - colour.shape[1])
        top = max(0, height_px - margin_px - colour.shape[0])
        # A frame smaller than the badge keeps the badge's upper left part.
        kept = (slice(height_px - top), slice(width_px - left))
        colour, opacity = colour[kept], opacity[kept]
        self.box_px = (left, top, left + colour.shape[1], top + colour.shape[0])
        self._size_px = (width_px, height_px)
        keep = np.rint((1 - opacity) * 255).repeat(4, axis=2).astype(np.uint8)
        add = np.rint(np.dstack([colour, np.full_like(opacity, 255)]) * opacity).astype(np.uint8)
        # For RGB, and for RGBA with colours multiplied by alpha.
        self._blends = {
            n: (np.ascontiguousarray(keep[..., :n]), np.ascontiguousarray(add[..., :n])) for n in (3, 4)
        }

    def apply(self, frame: NDArray[np.uint8]) -> None:
        """Blend the badge into `frame`, in place; (H, W, 3) RGB of the size given at construction.

        With a fourth channel the colours are multiplied by alpha.
        """
        if frame.shape[1::-1] != self._size_px:
            raise ValueError(f"the mark is for {self._size_px} px, the frame has {frame.shape[1::-1]}")
        left, top, right, bottom = self.box_px
        corner = frame[top:bottom, left:right]
        keep, add = self._blends[frame.shape[2]]
        cv2.multiply(corner, keep, dst=corner, scale=1 / 255)
        cv2.add(corner, add, dst=corner)


def _draw_badge(height_px: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw the badge: its colour (h, w, 3) in 0-255 RGB, and its opacity (h, w, 1) in 0-1."""
    height = height_px * _SUPERSAMPLING
    width = round(height * 1.45 / _SUPERSAMPLING) * _SUPERSAMPLING
    rim = max(1, height // 16)
    outer = _pill(width, height, 0)
    inner = _pill(width, height, rim)
    letters = np.zeros((height, width), np.uint8)
    thickness = max(1, round(height * 0.085))
    scale = height * 0.52 / cv2.getTextSize("AI", cv2.FONT_HERSHEY_SIMPLEX, 1.0, 1)[0][1]
    (text_width, text_height), _ = cv2.getTextSize("AI", cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    origin = ((width - text_width) // 2, (height + text_height) // 2)
    cv2.putText(letters, "AI", origin, cv2.FONT_HERSHEY_SIMPLEX, scale, (255,), thickness, cv2.LINE_AA)
    white = np.maximum(letters, outer - inner) / 255.0
    opacity = np.maximum(white * 0.92, inner / 255.0 * 0.62)
    premultiplied = white * 255 * opacity + (1 - white) * 24 * opacity
    # Premultiplied before reducing, or dark edges would bleed into the corner around the pill.
    size = (width // _SUPERSAMPLING, height_px)
    opacity = cv2.resize(opacity, size, interpolation=cv2.INTER_AREA).astype(np.float64)
    shade = cv2.resize(premultiplied, size, interpolation=cv2.INTER_AREA) / np.maximum(opacity, 1e-6)
    return np.repeat(shade[:, :, None], 3, axis=2), opacity[:, :, None]


def _pill(width: int, height: int, inset: int) -> NDArray[np.uint8]:
    """Draw a filled rectangle with half-round ends, (height, width) in 0 or 255."""
    picture = np.zeros((height, width), np.uint8)
    radius = height // 2 - inset
    cv2.line(picture, (height // 2, height // 2), (width - height // 2, height // 2), (255,), 2 * radius)
    return picture


_XMP_BOX: Final = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""UUID of the box of MP4 and MOV that holds XMP (XMP specification, part 3)."""
_XMP: Final = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">{title}</rdf:li></rdf:Alt></dc:title>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{comment}</rdf:li></rdf:Alt></dc:description>
<dc:source>{source}</dc:source>
<xmp:CreateDate>{created}</xmp:CreateDate>
<Iptc4xmpExt:DigitalSourceType>{kind}</Iptc4xmpExt:DigitalSourceType>
<Iptc4xmpExt:AISystemUsed>{system}</Iptc4xmpExt:AISystemUsed>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a recorded file says about itself."""

    source_sha256: tuple[str, ...] = ()
    """Hash of each source photo's file, in the order of `--source`."""
    version: str = ""
    model: str = ""
    """Name of the bundle."""
    created: datetime | None = None
    """When the recording began, with a time zone; None: at the time of `metadata`."""
    credentials: Credentials | None = None
    """Sign the file."""

    def metadata(self) -> dict[str, str]:
        """The container's tags: title and comment for people, the others for programs."""
        created = (self.created or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
        maker = f"ICface Live {self.version}".strip()
        record = {
            "created": created,
            "digitalSourceType": DIGITAL_SOURCE_TYPE,
            "generator": maker,
            "model": self.model,
            "sourceSha256": list(self.source_sha256),
        }
        return {
            "title": "Synthetic media: a photograph animated by software",
            "comment": f"Synthetic media made by {maker} from a photograph, moved after a camera.",
            "creation_time": created,
            "digital_source_type": DIGITAL_SOURCE_TYPE,
            "provenance": json.dumps(record, sort_keys=True),
        }

    def xmp(self) -> bytes:
        """The same for still pictures: an XMP packet with the properties of Dublin Core and IPTC."""
        told = self.metadata()
        return _XMP.format(
            title=escape(told["title"]),
            comment=escape(told["comment"]),
            created=escape(told["creation_time"]),
            kind=escape(DIGITAL_SOURCE_TYPE),
            system=escape(f"ICface Live {self.version} ({self.model})"),
            source=escape(" ".join(f"sha256:{digest}" for digest in self.source_sha256)),
        ).encode()

    def complete(self, path: Path, suffix: str) -> None:
        """Add to a written file what its encoder could not: XMP in MP4 and MOV, and the signature over all of it.

        Args:
            path: of the file, closed.
            suffix: of the name that it will have.

        Raises:
            DeviceError: it cannot be signed.
            OSError: it cannot be written.
        """
        if suffix.lower() in (".mp4", ".mov"):
            packet = self.xmp()
            with path.open("ab") as file:
                file.write(struct.pack(">I4s", len(packet) + 24, b"uuid") + _XMP_BOX + packet)
        self.sign(path, suffix)

    def sign(self, path: Path, suffix: str) -> None:
        """Sign a file that is otherwise complete, where a certificate is configured; see `complete`."""
        if self.credentials is not None:
            record = {
                "generator": "ICface Live",
                "version": self.version or "unknown",
                "digitalSourceType": DIGITAL_SOURCE_TYPE,
            }
            self.credentials.sign(path, suffix, record)


def _digest(photo: Path) -> str:
    try:
        return hashlib.sha256(read_file(photo, MAX_FILE_BYTES)).hexdigest()
    except OSError as error:
        raise SourceError(f"cannot read {photo}: {error.strerror or error}") from error


def provenance_of(config: LiveConfig) -> Provenance:
    """What the files of a run say about themselves.

    Raises:
        ConfigError: they cannot be signed.
        SourceError: a photo is there and cannot be read.
    """
    # `Photos` tells of those that are missing.
    photos = [path for path in config.sources if path.is_file()]
    credentials = None
    if config.c2pa_certificate is not None and config.c2pa_key is not None:
        credentials = Credentials(config.c2pa_certificate, config.c2pa_key)
    return Provenance(
        source_sha256=tuple(map(_digest, photos)),
        version=version(),
        model=(config.model or DEFAULT_BUNDLE).name,
        credentials=credentials,
    )
