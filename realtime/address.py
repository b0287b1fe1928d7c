"""Where the panel listens: on loopback, or, with TLS, for a browser elsewhere."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from icface.errors import ConfigError

_FORM: Final = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):(\d{1,5})")
_LOOPBACK: Final = ("127.0.0.1", "localhost")


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where the panel listens, and under which name a browser asks for it."""

    host: str = "127.0.0.1"
    """As the browser writes it."""
    port: int = 0
    """0: one that is free."""
    cert: Path | None = None
    """Certificate chain (PEM); None: plain HTTP, on loopback alone."""
    key: Path | None = None
    """Its private key (PEM), without a password."""

    @classmethod
    def read(cls, text: str, cert: Path | None, key: Path | None) -> Address:
        """From `HOST:PORT`, or an empty text for loopback and a free port.

        Raises:
            ConfigError: it is no address, TLS is missing where it is needed, or certificate and key cannot be used.
        """
        form = _FORM.fullmatch(text) if text else None
        if text and (form is None or not 0 < int(form[2]) < 65536):
            raise ConfigError(f"--panel-webrtc {text}: write HOST:PORT, such as studio.local:8443")
        address = cls(cert=cert, key=key)
        if form is not None:
            address = cls(host=form[1].lower(), port=int(form[2]), cert=cert, key=key)
        if (cert is None) != (key is None):
            raise ConfigError("--panel-cert and --panel-key belong together; give both")
        if cert is None and not address.is_loopback:
            raise ConfigError(
                f"--panel-webrtc {text} is for browsers elsewhere, which needs TLS; give --panel-cert FILE and "
                "--panel-key FILE"
            )
        address.tls()
        return address

    @property
    def is_loopback(self) -> bool:
        """Whether this machine alone can reach it."""
        return self.host in _LOOPBACK

    @property
    def scheme(self) -> str:
        """`https` with a certificate, else `http`."""
        return "http" if self.cert is None else "https"

    def tls(self) -> ssl.SSLContext | None:
        """What encrypts; None: nothing does. Raises ConfigError where certificate and key cannot be used."""
        if self.cert is None or self.key is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            # A password would be asked for on the terminal, and an empty one fits no key.
            context.load_cert_chain(self.cert, self.key, password="")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or error
            raise ConfigError(
                f"certificate {self.cert} and key {self.key} cannot be used ({reason}); both must be PEM files "
                "that belong together, and the key must have no password"
            ) from error
        return context
