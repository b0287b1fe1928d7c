"""Signatures of bundles: Ed25519, by a key that the user trusts.

What is signed is the digest of the manifest, and the manifest has the digest of every other file. So a signature holds
for all files that are ever read. Keys are files in PEM, as OpenSSL writes them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import platformdirs

from icface.errors import BundleError, ConfigError
from icface.files import read_file, write_file

SIGNATURE: Final = "signature.json"
"""The file of the signature, in the bundle's folder."""
_PURPOSE: Final = b"icface bundle manifest sha256 "
"""Goes before what is signed, so that a signature for something else is none for a bundle."""
_MOST_BYTES: Final = 10_000
_MISSING: Final = 'signatures need the package cryptography; run: pip install "icface-live[sign]"'


class _Signature(msgspec.Struct, forbid_unknown_fields=True):
    algorithm: str
    key: str
    """The fingerprint of the public key."""
    signature: str
    """In hexadecimal."""


def trusted_folder() -> Path:
    """Where the public keys lie that the user trusts, as files `*.pem`."""
    return platformdirs.user_config_path("icface-live", appauthor=False) / "trusted-keys"


def trusted_keys() -> list[Path]:
    """The public keys that the user trusts; ConfigError where there are none."""
    found = sorted(trusted_folder().glob("*.pem"))
    if not found:
        raise ConfigError(
            f"no key is trusted yet; put the maker's public key (.pem) into {trusted_folder()}, "
            "or name it: --require-signature KEY.pem"
        )
    return found


def required_keys(asked: str | None) -> tuple[Path, ...] | None:
    """The public keys of which one has to have signed a model, as `--require-signature` says.

    Args:
        asked: a key's file; empty: the user's trusted keys, of which there has to be one; None: no signature is needed.
    """
    if asked is None:
        return None
    return (Path(asked),) if asked else tuple(trusted_keys())


def check_signature(bundle: Path, sha256: str, keys: Sequence[Path]) -> None:
    """Raise BundleError unless one of the keys signed the manifest of that digest; ConfigError where a key is none."""
    known = {_fingerprint(key): key for key in map(_public_key, keys)}
    path = bundle / SIGNATURE
    if not path.exists():
        raise BundleError(
            f"{bundle} is not signed; ask its maker for {SIGNATURE}, or sign it: icface-live sign"
        )
    try:
        found = msgspec.json.decode(read_file(path, _MOST_BYTES), type=_Signature)
        signature = bytes.fromhex(found.signature)
        if found.algorithm != "Ed25519":
            raise ValueError(f"the algorithm {found.algorithm[:20]!r} is not Ed25519")
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} is no signature ({' '.join(str(error).split())})") from error
    from cryptography.exceptions import InvalidSignature

    key = known.get(found.key)
    if key is None:
        raise BundleError(
            f"{bundle} is signed by the key {found.key[:16]!r}, which is not trusted; trusted are: {', '.join(known)}"
        )
    try:
        key.verify(signature, _PURPOSE + sha256.encode())
    except InvalidSignature as error:
        raise BundleError(
            f"the signature of {bundle} is not that of its files: they were changed after it was signed"
        ) from error


def sign(bundle: Path, sha256: str, key: Path) -> str:
    """Write the signature of a bundle, whose manifest has that digest; gives the key's fingerprint.

    Raises:
        ConfigError: the file is no private key, or the signature cannot be written.
    """
    private = _private_key(key)
    signature = private.sign(_PURPOSE + sha256.encode()).hex()
    fingerprint = _fingerprint(private.public_key())
    content = msgspec.json.encode(_Signature("Ed25519", fingerprint, signature))
    try:
        write_file(bundle / SIGNATURE, msgspec.json.format(content) + b"\n")
    except OSError as error:
        raise ConfigError(f"cannot write {bundle / SIGNATURE}: {error.strerror or error}") from error
    return fingerprint


def new_key(private: Path) -> Path:
    """Make a key: the private one for this user alone, and beside it the public one, whose path it gives.

    Raises:
        ConfigError: a file is there already, or cannot be written.
    """
    ed25519, serialization = _library()
    public = private.with_name(f"{private.name.removesuffix('.pem')}.public.pem")
    key = ed25519.Ed25519PrivateKey.generate()
    pem = serialization.Encoding.PEM
    written = (
        (
            private,
            0o600,
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        ),
        (public, 0o644, key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)),
    )
    try:
        if public.exists():
            raise FileExistsError(f"{public} is there already")
        for path, mode, content in written:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(content)
    except FileExistsError as error:
        raise ConfigError(
            f"{error.filename or public} is there already; a key is never written over"
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot write {private}: {error.strerror or error}") from error
    return public


def _library() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise ConfigError(_MISSING) from error
    return ed25519, serialization


def _public_key(path: Path) -> Any:
    ed25519, serialization = _library()
    return _read_key(path, "public", serialization.load_pem_public_key, ed25519.Ed25519PublicKey)


def _private_key(path: Path) -> Any:
    ed25519, serialization = _library()

    def load(content: bytes) -> Any:
        return serialization.load_pem_private_key(content, password=None)

    return _read_key(path, "private", load, ed25519.Ed25519PrivateKey)


def _read_key(path: Path, which: str, load: Any, kind: Any) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        key = load(read_file(path, _MOST_BYTES))
    except OSError as error:
        raise ConfigError(f"cannot read the key {path}: {error.strerror or error}") from error
    except TypeError as error:
        raise ConfigError(f"{path} has a password; decrypt it first: openssl pkey -in {path.name}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"{path} is no {which} key in PEM; icface-live sign --new-key makes a pair"
        ) from error
    if not isinstance(key, kind):
        raise ConfigError(f"{path} is a {which} key of another kind; Ed25519 is needed")
    return key


def _fingerprint(key: Any) -> str:
    """16 hexadecimal digits of a public key."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]
