"""Content Credentials: a C2PA manifest in a file says what made it, and a certificate signs that.

`pip install "icface-live[c2pa]"` brings c2pa-python. Without it there are IPTC's and XMP's tags alone. Nothing is
fetched: no time stamp, no revocation list, no manifest from elsewhere.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from icface.errors import ConfigError, DeviceError

logger = logging.getLogger(__name__)

KINDS: Final = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
}
"""Files that a manifest has a place in. Matroska and WebM have none."""
_SETTINGS: Final = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}


def _library() -> ModuleType:
    """c2pa-python; raises ConfigError where it is missing."""
    try:
        import c2pa
    except ImportError as error:
        raise ConfigError(
            f'Content Credentials need c2pa-python ({error}); run: pip install "icface-live[c2pa]"'
        ) from error
    return c2pa  # type: ignore[no-any-return, unused-ignore]


class Credentials:
    """Signs files with a certificate.

    Args:
        certificate: PEM, the signer's certificate first, then those that vouch for it, without the root.
        key: PEM, the signer's private key, without a password: P-256, P-384, P-521, Ed25519 or RSA.

    Raises:
        ConfigError: a file cannot be read or used, or c2pa-python is missing.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._c2pa = _library()
        chain, private = _read("--c2pa-certificate", certificate), _read("--c2pa-key", key)
        algorithm = _algorithm(key, private)
        _check_chain(certificate, chain)
        try:
            self._signer = self._c2pa.Signer.from_info(
                self._c2pa.C2paSignerInfo(algorithm, chain, private, None)
            )
            self._context = self._c2pa.Context.from_dict(_SETTINGS)
        except self._c2pa.C2paError as error:
            raise ConfigError(
                f"--c2pa-certificate {certificate} cannot sign with that key: {error}"
            ) from error

    def sign(self, path: Path, suffix: str, record: dict[str, Any]) -> None:
        """Put a signed manifest into a finished file.

        Args:
            path: of the file.
            suffix: of the name that it will have, which says its kind.
            record: of its manifest: `generator`, `version` and `digitalSourceType`.

        Raises:
            DeviceError: it cannot be signed.
            OSError: it cannot be written.
        """
        kind = KINDS.get(suffix.lower())
        if kind is None:
            return
        maker = {"name": record["generator"], "version": record["version"]}
        created = {
            "action": "c2pa.created",
            "digitalSourceType": record["digitalSourceType"],
            "softwareAgent": maker,
        }
        manifest = {
            "claim_generator_info": [maker],
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}],
        }
        signed = path.with_name(f"{path.name}.signed")
        try:
            with path.open("rb") as source, signed.open("wb+") as into:
                self._c2pa.Builder(manifest, self._context).sign(self._signer, kind, source, into)
            signed.replace(path)
        except self._c2pa.C2paError as error:
            raise DeviceError(
                f"the file cannot be signed: {error}; see the certificate's dates and uses"
            ) from error
        finally:
            signed.unlink(missing_ok=True)


def _read(flag: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{flag} {path} cannot be read: {error.strerror or error}") from error


def _algorithm(path: Path, private: bytes) -> str:
    """C2PA's name of the algorithm that a private key is for."""
    # c2pa-python comes with cryptography.
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(private, None)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"--c2pa-key {path} is no private key in PEM without a password: {error}"
        ) from error
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    sizes = {256: "es256", 384: "es384", 521: "es512"}
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size in sizes:
        return sizes[key.curve.key_size]
    raise ConfigError(f"--c2pa-key {path}: such a key cannot sign; take P-256, P-384, P-521, Ed25519 or RSA")


def _check_chain(path: Path, chain: bytes) -> None:
    """Raise ConfigError where these are no certificates, or the signer's is not valid today."""
    from cryptography import x509

    try:
        signer = x509.load_pem_x509_certificates(chain)[0]
    except ValueError as error:
        raise ConfigError(f"--c2pa-certificate {path} has no certificate in PEM: {error}") from error
    begins, ends = signer.not_valid_before_utc, signer.not_valid_after_utc
    if not begins <= datetime.now(UTC) <= ends:
        raise ConfigError(
            f"--c2pa-certificate {path} is valid from {begins:%Y-%m-%d} to {ends:%Y-%m-%d} alone"
        )


@dataclass(frozen=True)
class Signed:
    """What a manifest in a file says."""

    state: str
    """`valid` (nothing was changed since), `trusted` (and its signer is on a trust list), or `invalid`."""
    signer: str
    generator: str
    digital_source_type: str


def read_credentials(path: Path) -> Signed | None:
    """The manifest of a file; None where there is none.

    Raises:
        ConfigError: c2pa-python is missing.
        DeviceError: there is one that cannot be read.
    """
    c2pa = _library()
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        return None
    try:
        with path.open("rb") as file:
            reader = c2pa.Reader.try_create(kind, file, context=c2pa.Context.from_dict(_SETTINGS))
            if reader is None:
                return None
            with reader:
                manifest = reader.get_active_manifest() or {}
                state = str(reader.get_validation_state() or "unknown").lower()
    except c2pa.C2paError as error:
        raise DeviceError(f"its Content Credentials cannot be read: {error}") from error
    signer = manifest.get("signature_info", {})
    actions = [
        action
        for assertion in manifest.get("assertions", ())
        if str(assertion.get("label", "")).startswith("c2pa.actions")
        for action in assertion.get("data", {}).get("actions", ())
    ]
    kinds = [str(action["digitalSourceType"]) for action in actions if "digitalSourceType" in action]
    maker = (manifest.get("claim_generator_info") or [{}])[0]
    return Signed(
        state,
        str(signer.get("common_name") or signer.get("issuer") or "nobody named"),
        f"{maker.get('name', '')} {maker.get('version', '')}".strip(),
        kinds[0] if kinds else "",
    )
