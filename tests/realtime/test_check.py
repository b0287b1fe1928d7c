"""What files say of their making, read back by our command and by the tools of others."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from icface.arrays import Frame
from icface.errors import ConfigError
from icface.images import load_photo
from realtime.cameras.video_file import VideoFileCamera
from realtime.check import _spread
from realtime.cli import main
from realtime.credentials import Credentials
from realtime.disclosure import DIGITAL_SOURCE_TYPE, Mark, Provenance
from realtime.drawing import save_picture
from realtime.sinks import SinkSettings
from realtime.watermark import Watermark
from tests.realtime.fakes import open_sink

STILLS = (".png", ".jpg", ".webp")
VIDEOS = (".mp4", ".mov", ".mkv", ".webm")
SIGNED = (".png", ".jpg", ".webp", ".mp4", ".mov")
SHA = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def photo(repository: Path) -> Frame:
    """The example's photo, (384, 384, 3)."""
    frame = load_photo(repository / "examples/source.jpg").frame
    side = min(frame.shape[:2])
    square = np.ascontiguousarray(frame[:side, :side])
    return np.asarray(cv2.resize(square, (384, 384), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def write(path: Path, frame: Frame, provenance: Provenance | None = None) -> None:
    """A finished file of a kind by its suffix."""
    if path.suffix in STILLS:
        save_picture(frame, path, provenance)
        return
    settings = SinkSettings(path=path, provenance=provenance or Provenance())
    with open_sink(
        "video_file", settings, width_px=frame.shape[1], height_px=frame.shape[0], fps=Fraction(25)
    ) as sink:
        for index in range(8):
            sink.send(frame, index / 25)


def disclosed(photo: Frame) -> Frame:
    """As a run's pictures are."""
    frame = photo.copy()
    Watermark().apply(frame)
    Mark(*frame.shape[1::-1]).apply(frame)
    return frame


@pytest.mark.parametrize("suffix", STILLS + VIDEOS)
def test_the_command_tells_all_signs(
    suffix: str, tmp_path: Path, photo: Frame, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"made{suffix}"
    write(path, disclosed(photo), Provenance(source_sha256=(SHA,), version="1.2", model="edge"))
    assert main(["check", str(path)]) == 0
    out = capsys.readouterr().out
    assert f"{path}: made by ICface Live\n" in out
    assert "invisible watermark: found" in out and "visible mark: found" in out
    assert "metadata: compositeSynthetic, ICface Live" in out


def test_a_long_video_is_looked_at_over_its_whole_length(tmp_path: Path) -> None:
    """It may begin with other pictures."""
    path = tmp_path / "made.mp4"
    with open_sink(
        "video_file", SinkSettings(path=path), width_px=64, height_px=64, fps=Fraction(25)
    ) as sink:
        for index in range(600):
            sink.send(np.full((64, 64, 3), index // 3, np.uint8), index / 25)
    with VideoFileCamera(path) as camera:
        seen = [int(frame[32, 32, 0]) for frame in _spread(camera)]
    wanted = [25 * place + 2 * number for place in range(8) for number in range(4)]
    np.testing.assert_allclose(seen, wanted, atol=2)


def test_without_any_sign_it_says_so_and_ends_with_3(
    tmp_path: Path, photo: Frame, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "plain.png"
    write(path, photo)
    assert main(["check", str(path)]) == 3
    out = capsys.readouterr().out
    assert "nothing says that ICface Live made it" in out
    assert "invisible watermark: not found" in out and "visible mark: not found" in out
    assert "metadata: says nothing of its making" in out


def test_what_cannot_be_read_is_one_line_and_the_others_are_told(
    tmp_path: Path, photo: Frame, capsys: pytest.CaptureFixture[str]
) -> None:
    good = tmp_path / "good.png"
    write(good, disclosed(photo))
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "text.mp4").write_text("no video")
    names = ("missing.png", "text.jpg", "text.mp4", "good.png")
    assert main(["check", *(str(tmp_path / name) for name in names)]) == 1
    out, err = capsys.readouterr()
    assert "good.png: made by ICface Live" in out
    assert [line.startswith("error: ") for line in err.splitlines()] == [True] * 3
    assert main(["check"]) == 2


@pytest.mark.parametrize(
    "xmp", [b"<", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', b"\xff\xfe", b"<a/>" * 400_000]
)
def test_xmp_that_makes_no_sense_says_nothing(
    xmp: bytes, tmp_path: Path, photo: Frame, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    path = tmp_path / "odd.webp"
    Image.fromarray(photo).save(path, xmp=xmp)
    assert main(["check", str(path)]) == 3
    assert "metadata: says nothing of its making" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", STILLS + VIDEOS)
def test_exiftool_reads_the_source_type(suffix: str, tmp_path: Path, photo: Frame) -> None:
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    path = tmp_path / f"made{suffix}"
    write(path, photo, Provenance(source_sha256=(SHA,), version="1.2", model="edge"))
    told = subprocess.run(
        ["exiftool", "-json", "-G1", "-struct", str(path)], capture_output=True, check=True, timeout=60
    )
    (tags,) = json.loads(told.stdout)
    assert not [value for key, value in tags.items() if "Warning" in key or "Error" in key]
    if suffix in (".mkv", ".webm"):
        assert tags["Matroska:DigitalSourceType"] == DIGITAL_SOURCE_TYPE
    else:
        assert tags["XMP-iptcExt:DigitalSourceType"] == DIGITAL_SOURCE_TYPE
        assert tags["XMP-iptcExt:AISystemUsed"] == "ICface Live 1.2 (edge)"
        assert SHA in tags["XMP-dc:Source"]


# Content Credentials


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate with the one that vouches for it, and its key."""
    pytest.importorskip("c2pa")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)

    def name(common: str) -> x509.Name:
        attributes = ((NameOID.ORGANIZATION_NAME, "Tests"), (NameOID.COMMON_NAME, common))
        return x509.Name([x509.NameAttribute(*attribute) for attribute in attributes])

    def certificate(common: str, public: ec.EllipticCurvePublicKey, *, root: bool) -> x509.Certificate:
        uses = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(common))
            .issuer_name(name("Root"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=root, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False
            )
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not root, key_cert_sign=root, crl_sign=root, encipher_only=False,
                    decipher_only=False, **uses,
                ),
                critical=True,
            )
        )  # fmt: skip
        if not root:
            purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(purpose, critical=False)
        return builder.sign(root_key, hashes.SHA256())

    folder = tmp_path_factory.mktemp("identity")
    chain = (
        certificate("Tester", key.public_key(), root=False),
        certificate("Root", root_key.public_key(), root=True),
    )
    pem = serialization.Encoding.PEM
    (folder / "chain.pem").write_bytes(b"".join(each.public_bytes(pem) for each in chain))
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, *plain))
    return folder / "chain.pem", folder / "key.pem"


@pytest.mark.parametrize("suffix", SIGNED)
def test_a_signed_manifest_is_valid_until_the_file_is_changed(
    suffix: str, tmp_path: Path, photo: Frame, identity: tuple[Path, Path]
) -> None:
    import c2pa

    path = tmp_path / f"signed{suffix}"
    write(path, photo, Provenance(version="1.2", model="edge", credentials=Credentials(*identity)))
    with c2pa.Reader(str(path)) as reader:
        manifest = reader.get_active_manifest()
        assert reader.get_validation_state() == "Valid"
    assert manifest["claim_generator_info"][0]["name"] == "ICface Live"
    assert manifest["signature_info"]["common_name"] == "Tester"
    assert DIGITAL_SOURCE_TYPE in json.dumps(manifest)
    assert not list(tmp_path.glob("*.signed"))
    content = bytearray(path.read_bytes())
    content[content.index(SIGNATURES[suffix]) + 40] ^= 1
    path.write_bytes(content)
    with c2pa.Reader(str(path)) as reader:
        assert reader.get_validation_state() == "Invalid"


SIGNATURES = {".png": b"IDAT", ".jpg": b"\xff\xda", ".webp": b"VP8 ", ".mp4": b"mdat", ".mov": b"mdat"}
"""What the pixels begin with."""


def test_a_signed_video_still_plays(tmp_path: Path, photo: Frame, identity: tuple[Path, Path]) -> None:
    path = tmp_path / "signed.mp4"
    write(path, photo, Provenance(credentials=Credentials(*identity)))
    with av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) == 8


def test_numbered_pictures_are_signed_each(
    tmp_path: Path, photo: Frame, identity: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = SinkSettings(path=tmp_path, provenance=Provenance(credentials=Credentials(*identity)))
    with open_sink("picture_files", settings, width_px=384, height_px=384, fps=Fraction(25)) as sink:
        for index in range(2):
            sink.send(photo, index / 25)
    assert main(["check", *map(str, sorted(tmp_path.glob("*.png")))]) == 0
    assert capsys.readouterr().out.count("Content Credentials: valid, signed by Tester") == 2


@pytest.mark.parametrize("wrong", ["certificate", "key", "missing", "alone"])
def test_an_identity_that_cannot_sign_is_one_line(
    wrong: str,
    tmp_path: Path,
    repository: Path,
    identity: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    chain, key = identity
    junk = tmp_path / "junk.pem"
    junk.write_text("nothing")
    given = {
        "certificate": (junk, key),
        "key": (chain, junk),
        "missing": (tmp_path / "none.pem", key),
        "alone": (chain, None),
    }[wrong]
    flags = [f"--c2pa-certificate={given[0]}"] + ([f"--c2pa-key={given[1]}"] if given[1] else [])
    out = tmp_path / "o.png"
    assert main([str(repository / "examples/source.jpg"), f"--output={out}", "--quality=fast", *flags]) == 2
    err = capsys.readouterr().err
    assert "error: --c2pa-" in err and err.count("error") == 1
    assert not out.exists()


def test_the_extra_is_named_where_it_is_missing(
    tmp_path: Path, photo: Frame, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(ConfigError, match=r"icface-live\[c2pa\]"):
        Credentials(tmp_path / "a.pem", tmp_path / "b.pem")
    path = tmp_path / "made.png"
    write(path, disclosed(photo))
    assert main(["check", str(path)]) == 0
    assert 'not looked for; run: pip install "icface-live[c2pa]"' in capsys.readouterr().out
