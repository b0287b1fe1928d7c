"""Provenance of recorded files: they say that the pictures are synthetic, what made them, and from which photo.

The kind of medium is a term of IPTC's vocabulary. `trainedAlgorithmicMedia` would claim that a model made the whole
picture. Here the pixels of a photograph are moved after another person, and completed where they show nothing. That is
`compositeSynthetic` (a composite of elements of which at least one is synthetic), whichever model is used. The EU AI Act,
article 50, asks for a marking that machines can read; the visible one is `realtime.mark`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic"


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
