"""Where the panel listens: TLS is demanded where another machine can reach it."""

from __future__ import annotations

from pathlib import Path

import pytest

from icface.errors import ConfigError
from realtime.address import Address
from realtime.config import LiveConfig


@pytest.mark.parametrize("text", ["", "127.0.0.1:8443", "localhost:8443", "LOCALHOST:8443"])
def test_on_loopback_nothing_is_demanded(text: str) -> None:
    address = Address.read(text, None, None)
    assert address.is_loopback and address.scheme == "http" and address.tls() is None
    assert address.port == (8443 if text else 0)


@pytest.mark.parametrize(
    "text", ["studio.local:8443", "192.0.2.7:8443", "0.0.0.0:8443", "[2001:db8::7]:8443"]
)
def test_for_browsers_elsewhere_tls_is_demanded(text: str) -> None:
    with pytest.raises(ConfigError, match="needs TLS; give --panel-cert FILE and --panel-key FILE"):
        Address.read(text, None, None)


@pytest.mark.parametrize(
    "text", ["studio", "studio:", ":8443", "studio:0", "studio:70000", "a b:1", "http://x:1"]
)
def test_what_is_no_address_is_said(text: str) -> None:
    with pytest.raises(ConfigError, match="write HOST:PORT"):
        Address.read(text, None, None)


def test_certificate_and_key_belong_together_and_must_be_readable(tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("no certificate")
    with pytest.raises(ConfigError, match="belong together; give both"):
        Address.read("studio:8443", nonsense, None)
    with pytest.raises(ConfigError, match="cannot be used"):
        Address.read("studio:8443", nonsense, nonsense)
    with pytest.raises(ConfigError, match="No such file"):
        Address.read("studio:8443", tmp_path / "gone.pem", nonsense)


def test_without_aiortc_one_line_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.problems.find_spec", lambda name: None)
    with pytest.raises(ConfigError) as told:
        LiveConfig(sources=(tmp_path / "me.jpg",), panel=True, panel_webrtc="")
    assert str(told.value) == "--panel-webrtc needs aiortc; run: pip install 'icface-live[webrtc]'"
