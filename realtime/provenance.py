"""Provenance of recorded files: that the pictures are synthetic, made by what, from which photo.

The kind of medium is told by IPTC's vocabulary. `trainedAlgorithmicMedia` would claim that a model made the
whole picture; here captured pixels, the photograph, are moved after another person and completed where they
show nothing. That is `compositeSynthetic` (a composite of elements of which at least one is synthetic), which
stays true whichever model bundle is used. EU AI Act, article 50, asks for a machine-readable marking; the
visible one is `realtime.mark`.
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
    generator: str = "ICface Live"
    """Name of the program."""
    version: str = ""
    """Version of the program."""
    model: str = ""
    """Name of the model bundle."""
    created: datetime | None = None
    """When the recording began, with its time zone; None: now."""

    def metadata(self) -> dict[str, str]:
        """Give the container's tags: title and comment for people, the others for programs."""
        created = (self.created or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
        maker = " ".join(part for part in (self.generator, self.version) if part)
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
