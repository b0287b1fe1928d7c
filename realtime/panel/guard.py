"""Who may speak to the panel: one program on this machine that knows the token, from the panel's own page.

A web page of another site can make the browser send requests to a loopback port. Another user of the machine can
connect to it. `docs/panel.md` says which check stops whom.
"""

from __future__ import annotations

import hmac
from typing import Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from realtime.address import Address

SUBPROTOCOL: Final = "icface"
"""Of the WebSocket. The token follows it as a second one, because a browser lets a page set no other header there."""
_NEEDS_TOKEN: Final = ("/api/", "/stream")
"""Paths that need the token. The page's own files are the same for everybody and hold no secret."""

_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=({camera}), microphone=(), geolocation=(), display-capture=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}


class Guard:
    """ASGI middleware: refuses what does not come from the panel's page, and adds security headers to every answer."""

    def __init__(
        self, app: ASGIApp, address: Address, port: int, token: str, *, camera: bool = False
    ) -> None:
        self._app = app
        names = ("127.0.0.1", "localhost") if address.is_loopback else (address.host,)
        self._hosts = tuple(f"{name}:{port}" for name in names)
        if f"{address.scheme}:{port}" in ("http:80", "https:443"):  # a browser leaves out the usual port
            self._hosts += names
        self._scheme = address.scheme
        self._token = token.encode()
        self._headers = {
            name: text.replace("({camera})", "(self)" if camera else "()") for name, text in _HEADERS.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await self._refuse(*refusal, scope, receive, send)
            return

        encoded = [(name.encode(), text.encode()) for name, text in self._headers.items()]

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *encoded]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason why a request is refused; None where it is let through."""
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key = name.decode("latin-1").lower()
            if key in headers and key in ("host", "origin", "authorization"):
                return 400, f"more than one header {key}"
            headers[key] = value.decode("latin-1")
        host, origin = headers.get("host", ""), headers.get("origin")
        if host not in self._hosts:
            return 421, "this address is not the panel's"
        is_socket = scope["type"] == "websocket"
        changes = is_socket or scope["method"] not in ("GET", "HEAD")
        if (changes or origin is not None) and origin != f"{self._scheme}://{host}":
            return 403, "only the panel's own page may ask this"
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and scope["path"] != "/":
            return 403, "only the panel's own page may ask this"
        if scope["path"].startswith(_NEEDS_TOKEN) and not self._knows_token(headers, is_socket):
            return 401, "the token is missing or wrong; open the address that icface-live printed"
        return None

    def _knows_token(self, headers: dict[str, str], is_socket: bool) -> bool:
        if is_socket:
            offered = [part.strip() for part in headers.get("sec-websocket-protocol", "").split(",")]
            given = offered[1] if len(offered) == 2 and offered[0] == SUBPROTOCOL else ""
        else:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            given = given if scheme == "Bearer" else ""
        return hmac.compare_digest(given.encode(), self._token)

    async def _refuse(self, status: int, reason: str, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send(
                {"type": "websocket.close", "code": 1008, "reason": reason}
            )  # before accept: status 403
            return
        response = PlainTextResponse(reason + "\n", status, self._headers)
        await response(scope, receive, send)
