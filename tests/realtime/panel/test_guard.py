"""Who is refused: other sites, other programs, other names for this machine."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.realtime.panel.conftest import Running


def open_stream(
    running: Running, token: str | None = None, origin: str | None = "", host: str = ""
) -> ClientConnection:
    subprotocols = ["icface", running.token if token is None else token]
    return connect(
        f"ws://{host or running.host}/stream",
        subprotocols=subprotocols,  # type: ignore[arg-type]
        origin=running.origin if origin == "" else origin,  # type: ignore[arg-type]
        sock=None,
        proxy=None,
        open_timeout=10,
    )


def test_the_page_is_served_and_takes_scripts_from_nowhere_else(running: Running) -> None:
    status, text, headers = running.ask("/", authorization=None, origin=None)
    assert status == 200 and "<title>ICface Live</title>" in text
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert not any(name.lower().startswith("access-control") for name in headers), "no CORS"
    assert running.token not in text
    assert " style=" not in text and "<script>" not in text


@pytest.mark.parametrize("file", ["main.js", "style.css", "icon.svg"])
def test_the_pages_files_have_their_kind(running: Running, file: str) -> None:
    status, _, headers = running.ask(f"/{file}", authorization=None)
    kinds = {"main.js": "text/javascript", "style.css": "text/css", "icon.svg": "image/svg+xml"}
    assert status == 200 and headers["content-type"].startswith(kinds[file])


def test_a_file_outside_the_page_is_not_served(running: Running) -> None:
    assert running.ask("/../server.py")[0] == 404
    assert running.ask("/%2e%2e/server.py")[0] == 404


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 200),
        ({"authorization": None}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Basic {token}"}, 401),
        ({"host": "evil.example:{port}"}, 421),
        ({"host": "127.0.0.1"}, 421),
        ({"host": "localhost:{port}", "origin": "http://localhost:{port}"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://localhost:{port}"}, 403),
        ({"origin": "null"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"sec_fetch_site": "same-origin"}, 200),
    ],
)
def test_what_is_read_needs_token_host_and_origin(
    running: Running, change: dict[str, str | None], status: int
) -> None:
    filled: dict[str, Any] = {
        name: value and value.format(port=running.port, token=running.token) for name, value in change.items()
    }
    assert running.ask("/api/photos/0", **filled)[0] == status


def test_what_changes_something_needs_an_origin(running: Running) -> None:
    before = len(running.desk.photos.paths)
    assert running.ask("/api/photos?name=a.png", "POST", b"x", origin=None)[0] == 403
    assert running.ask("/api/photos?name=a.png", "POST", b"x", origin="http://evil.example")[0] == 403
    assert len(running.desk.photos.paths) == before


def test_the_stream_lets_the_page_in(running: Running) -> None:
    with open_stream(running) as socket:
        assert socket.subprotocol == "icface"
        assert json.loads(socket.recv(10))["is"] == "hello"


@pytest.mark.parametrize(
    "wrong", [{"token": "wrong"}, {"token": ""}, {"origin": "http://evil.example"}, {"origin": None}]
)
def test_the_stream_lets_nobody_else_in(running: Running, wrong: dict[str, str | None]) -> None:
    if wrong.get("token") == "":
        wrong = {"token": "x" * 500}
    with pytest.raises(InvalidStatus) as refused, open_stream(running, **wrong):  # type: ignore[arg-type]
        pass
    assert refused.value.response.status_code == 403


def test_only_loopback_is_listened_on(running: Running) -> None:
    assert running.panel._server is not None
    assert running.panel._server._socket.getsockname()[0] == "127.0.0.1"
    assert len(running.token) >= 40
