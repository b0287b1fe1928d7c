"""What may be uploaded, and what an upload cannot do."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from realtime.panel import files
from tests.realtime.panel.conftest import Running


def png(width: int = 40, height: int = 30) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 120, dtype=np.uint8)).save(content, "PNG")
    return content.getvalue()


def test_a_photo_is_taken_and_prepared(running: Running) -> None:
    before = len(running.desk.photos.paths)
    status, text, _ = running.ask("/api/photos?name=Ann%20(2).png", "POST", png())
    assert (status, text) == (200, f"Ann (2).png is photo {before + 1}; it is being prepared")
    path = running.desk.photos.paths[before]
    assert path.name == "Ann (2).png" and path.read_bytes() == png()


def test_a_photo_that_was_never_used_needs_consent(
    running: Running, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running.desk, "config", replace(running.desk.config, consent="ask"))
    before = len(running.desk.photos.paths)
    # 202: it has come, and nothing is done with it yet. A browser logs other answers as errors.
    status, text, _ = running.ask("/api/photos?name=Bob.png", "POST", png(41))
    assert status == 202
    assert text == "Bob.png: is this you, did this person agree, or does nobody look like this?"
    status, _, _ = running.ask("/api/photos?name=Bob.png&consent=no", "POST", png(41))
    assert status == 202 and len(running.desk.photos.paths) == before
    assert running.ask("/api/photos?name=Bob.png&consent=yes", "POST", png(41))[0] == 200
    assert running.ask("/api/photos?name=Bob%20again.png", "POST", png(41))[0] == 200, "it is kept"
    names = [path.name for path in running.desk.photos.paths[before:]]
    assert names == ["Bob.png", "Bob again.png"], "what was refused is not there any more"


@pytest.mark.parametrize(
    "name", ["../../escape.png", "..\\..\\escape.png", "/etc/escape.png", "a/b/\x00escape.png"]
)
def test_a_name_leads_nowhere_else(running: Running, name: str) -> None:
    before = len(running.desk.photos.paths)
    assert running.ask(f"/api/photos?name={quote(name)}", "POST", png())[0] == 200
    folder = running.desk.photos.paths[before].parent
    assert folder.name.startswith("icface-panel-")
    assert "escape" in running.desk.photos.paths[before].name
    assert folder.stat().st_mode & 0o077 == 0, "for this user alone"


@pytest.mark.parametrize(
    ("name", "content", "status", "reason"),
    [
        ("me.exe", b"x", 422, "is none of .jpg"),
        ("", b"x", 422, "a file without a name"),
        ("me.png", b"", 422, "is empty"),
        ("me.png", b"no picture", 422, "me.png is not a picture that can be read"),
        ("big.png", png(400, 300), 422, "at most 0.1 million"),
    ],
)
def test_what_is_no_photo_is_refused_in_a_line(
    running: Running, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, status: int, reason: str
) -> None:
    monkeypatch.setattr(files, "MAX_PHOTO_PIXELS", 100_000)
    before = len(running.desk.photos.paths)
    given, text, _ = running.ask(f"/api/photos?name={name}", "POST", content)
    assert given == status and reason in text and "\n" not in text.strip()
    assert "icface-panel-" not in text, "the user knows the file by its name"
    assert len(running.desk.photos.paths) == before


def test_a_file_that_is_too_large_is_refused_before_and_while_it_comes(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_PHOTO_BYTES", 1000)
    assert running.ask("/api/photos?name=a.png", "POST", b"x" * 2000)[0] == 413
    chunked = b"7d0\r\n" + b"x" * 2000 + b"\r\n0\r\n\r\n"
    status, _, _ = running.ask(
        "/api/photos?name=a.png", "POST", chunked, content_length=None, transfer_encoding="chunked"
    )
    assert status == 413
