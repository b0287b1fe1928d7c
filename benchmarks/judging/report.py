"""The report: figures as JSON and as a table, a sheet for each case, and a page with the videos side by side."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np

from benchmarks.contact_sheet import contact_sheet
from icface.arrays import Frame

TILE_PX: Final = 224
COLUMNS: Final = 8
FPS: Final = 25
"""Of the page's videos, whatever the driver's rate: all of a case stay in step."""
STRONG: Final = ("AU01", "AU02", "AU04", "AU12", "AU25", "AU26", "AU45")
"""Action Units that a tracker sees well."""
ROWS: Final[dict[str, tuple[str, ...]]] = {
    "a face is found": ("face_found",),
    "pose error, degrees": ("pose_error_deg", "*"),
    "correlation of pitch": ("correlation", "pitch"),
    "correlation of yaw": ("correlation", "yaw"),
    "correlation of roll": ("correlation", "roll"),
    "correlation of Action Units": ("correlation", "AU*"),
    "amplitude of the pose": ("amplitude", "pitch", "yaw", "roll"),
    **{f"amplitude of {name}": ("amplitude", name) for name in STRONG},
    "presence of Action Units, balanced accuracy": ("presence", "balanced_accuracy"),
    "presence of Action Units, F": ("presence", "f"),
    "PSNR of the face, dB": ("face_psnr_db",),
    "PSNR of the eyes, dB": ("eyes_psnr_db",),
    "PSNR of the mouth, dB": ("mouth_psnr_db",),
    "SSIM of the face": ("face_ssim",),
    "SSIM of the eyes": ("eyes_ssim",),
    "SSIM of the mouth": ("mouth_ssim",),
    "identity, cosine": ("identity_cosine",),
    "detail, of the photo's": ("sharpness",),
    "background's change, levels": ("background_levels",),
    "jitter with a still driver": ("jitter_iod",),
}
"""Rows of the table, and where each is in a case's numbers."""


def pick(numbers: Mapping[str, Any], place: Sequence[str]) -> float | None:
    """One figure of a case, the mean where the place names several; None where it was not measured."""
    first, *names = place
    value = numbers.get(first)
    if not names or value is None:
        return value
    chosen = [
        found
        for key, found in value.items()
        if found is not None and any(key == n or (n.endswith("*") and key.startswith(n[:-1])) for n in names)
    ]
    return float(np.mean(chosen)) if chosen else None


def means(cases: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """Each row of the table, the mean over the cases in which it was measured."""
    listed = list(cases)
    result: dict[str, float | None] = {}
    for row, place in ROWS.items():
        values = [value for case in listed if (value := pick(case, place)) is not None]
        result[row] = float(np.mean(values)) if values else None
    return result


def table(document: Mapping[str, Any]) -> list[list[str]]:
    """The means as rows of text: a head, then a line for each figure that some model has."""
    columns = [(model, kind) for model in document["models"] for kind in ("cross", "self")]
    columns = [(m, k) for m, k in columns if any(v is not None for v in document["models"][m][k].values())]
    rows = [["", *(f"{model}, {kind}" for model, kind in columns)]]
    for row in ROWS:
        values = [document["models"][model][kind][row] for model, kind in columns]
        if any(value is not None for value in values):
            rows.append([row, *("–" if value is None else f"{value:.4g}" for value in values)])
    return rows


def sheet(photo: Frame, driver: Sequence[Frame], output: Sequence[Frame]) -> Frame:
    """The photo, driver frames above and output frames below, as squares of TILE_PX."""
    return contact_sheet(_tile(photo), [_tile(frame) for frame in driver], [_tile(frame) for frame in output])


def _tile(frame: Frame) -> Frame:
    """The whole frame on white."""
    height, width = frame.shape[:2]
    scale = TILE_PX / max(height, width)
    small = cv2.resize(frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    tile = np.full((TILE_PX, TILE_PX, 3), 255, dtype=np.uint8)
    y, x = (TILE_PX - small.shape[0]) // 2, (TILE_PX - small.shape[1]) // 2
    tile[y : y + small.shape[0], x : x + small.shape[1]] = small
    return tile


class Video:
    """Writes frames for the page: H.264; an odd last row or column is left out. Use it with `with`."""

    def __init__(self, path: Path) -> None:
        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream("libx264", rate=FPS, options={"crf": "20"})
        self._stream.pix_fmt = "yuv420p"
        self._empty = True

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._empty:
            self._container.mux(self._stream.encode())
        self._container.close()

    def write(self, frame: Frame) -> None:
        """Add a frame (H, W, 3) RGB; all of one size."""
        height, width = (side // 2 * 2 for side in frame.shape[:2])
        if self._empty:
            self._stream.width, self._stream.height, self._empty = width, height, False
        picture = np.ascontiguousarray(frame[:height, :width])
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))


def page(document: Mapping[str, Any]) -> str:
    """The report in HTML. Pictures and videos lie beside it; nothing is loaded from elsewhere."""
    head, *rows = table(document)
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    cases = "".join(_case(case) for case in document["cases"])
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Quality</title>
<style>
body {{ font: 15px/1.4 sans-serif; margin: 2em auto; max-width: 1200px }}
td, th {{ padding: .1em .8em; text-align: right }} td:first-child {{ text-align: left }}
img {{ max-width: 100% }} video {{ height: 256px }}
</style>
<h1>Quality</h1>
<p>{html.escape(document["about"])}</p>
<table><tr>{cells}</tr>{body}</table>
{cases}
<script>
for (const button of document.querySelectorAll("button"))
  button.onclick = () => {{
    for (const video of button.parentElement.querySelectorAll("video")) {{ video.currentTime = 0; video.play() }}
  }}
</script>
</html>
"""


def _case(case: Mapping[str, Any]) -> str:
    videos = "".join(f'<video src="{html.escape(name)}" muted controls></video>' for name in case["videos"])
    sheets = "".join(f'<p><img src="{html.escape(name)}" alt="sheet"></p>' for name in case["sheets"])
    problem = "".join(f"<p>{html.escape(line)}</p>" for line in case["problems"])
    return (
        f"<section><h2>{html.escape(case['name'])}</h2>{problem}"
        f"<div><button>play together</button><br>{videos}</div>{sheets}</section>"
    )
