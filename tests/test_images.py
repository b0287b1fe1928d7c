"""Photos of every common kind, made by hand: four corners of distinct colours tell turned from mirrored."""

from __future__ import annotations

import hashlib
import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, PngImagePlugin

from icface.errors import SourceError
from icface.images import BEHIND_ALPHA, MAX_SIDE_PX, load_photo


def write(folder: Path, image: Image.Image, name: str, **options: Any) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif", "a.bmp", "a.ppm"])
def test_lossless_files_keep_their_pixels(corner_frame: np.ndarray, tmp_path: Path, name: str) -> None:
    options = {"lossless": True} if name.endswith("webp") else {}
    photo = load_photo(write(tmp_path, Image.fromarray(corner_frame), name, **options))
    np.testing.assert_array_equal(photo.frame, corner_frame)
    assert photo.frame.dtype == np.uint8 and photo.frame.flags.c_contiguous
    assert photo.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


def test_the_name_does_not_matter(corner_frame: np.ndarray, tmp_path: Path) -> None:
    path = write(tmp_path, Image.fromarray(corner_frame), "a.png").rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(load_photo(path).frame, corner_frame)


# What a camera stored, seen upright: the EXIF tag says which row and column come first.
UPRIGHT = {
    1: lambda f: f,
    2: lambda f: f[:, ::-1],
    3: lambda f: f[::-1, ::-1],
    4: lambda f: f[::-1],
    5: lambda f: f.transpose(1, 0, 2),
    6: lambda f: np.rot90(f, -1),
    7: lambda f: f[::-1, ::-1].transpose(1, 0, 2),
    8: lambda f: np.rot90(f, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_orientation_tag_is_applied(corner_frame: np.ndarray, tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path, Image.fromarray(corner_frame), "a.png", exif=exif)
    np.testing.assert_array_equal(load_photo(path).frame, UPRIGHT[orientation](corner_frame))


def test_transparency_lies_over_grey(tmp_path: Path) -> None:
    rgba = np.zeros((3, 5, 4), dtype=np.uint8)
    rgba[..., 0] = 255
    rgba[0, 0, 3], rgba[0, 1, 3], rgba[0, 2, 3] = 255, 0, 51
    frame = load_photo(write(tmp_path, Image.fromarray(rgba), "a.png")).frame
    np.testing.assert_array_equal(frame[0, 0], (255, 0, 0))
    np.testing.assert_array_equal(frame[0, 1], BEHIND_ALPHA)
    # A fifth of red over grey: 255/5 + 128·4/5 and 128·4/5.
    np.testing.assert_allclose(frame[0, 2], (153, 102, 102), atol=1)


def test_transparent_palette(tmp_path: Path) -> None:
    image = Image.new("P", (4, 2), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((3, 1), 1)
    frame = load_photo(write(tmp_path, image, "a.png", transparency=0)).frame
    np.testing.assert_array_equal(frame[0, 0], BEHIND_ALPHA)
    np.testing.assert_array_equal(frame[1, 3], (200, 100, 50))


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA"])
def test_few_channels_become_three(tmp_path: Path, mode: str) -> None:
    image = Image.new("L", (7, 5), 0)
    image.paste(255, (0, 0, 3, 5))
    frame = load_photo(write(tmp_path, image.convert(mode), "a.png")).frame
    assert frame.shape == (5, 7, 3)
    assert (frame[:, :3] == 255).all() and (frame[:, 3:] == 0).all()


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    values = np.array([[0, 257, 128 * 257], [65535, 200, 65535 - 257]], dtype=np.uint16)
    frame = load_photo(write(tmp_path, Image.fromarray(values), "a.png")).frame
    np.testing.assert_array_equal(frame[..., 0], [[0, 1, 128], [255, 1, 254]])
    np.testing.assert_array_equal(frame[..., 1], frame[..., 2])


def test_floating_point_grey(tmp_path: Path) -> None:
    path = write(tmp_path, Image.fromarray(np.array([[0.0, 0.2, 1.0]], dtype=np.float32)), "a.tif")
    np.testing.assert_array_equal(load_photo(path).frame[0, :, 0], [0, 51, 255])
    path = write(tmp_path, Image.fromarray(np.array([[0.0, 0.2, 1.3]], dtype=np.float32)), "a.tif")
    np.testing.assert_array_equal(load_photo(path).frame[0, :, 0], [0, 51, 255])
    path = write(tmp_path, Image.fromarray(np.array([[0.0, 20.0, 255.0]], dtype=np.float32)), "a.tif")
    np.testing.assert_array_equal(load_photo(path).frame[0, :, 0], [0, 20, 255])


def test_pixels_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, Image.fromarray(np.array([[0.0, np.nan]], dtype=np.float32)), "a.tif")
    with pytest.raises(SourceError, match="damaged"):
        load_photo(path)


def test_print_colours(tmp_path: Path) -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # magenta + yellow = red
    frame = load_photo(write(tmp_path, image, "a.jpg", quality=100)).frame
    np.testing.assert_allclose(frame[8, 8], (255, 0, 0), atol=4)


def test_an_animation_gives_its_first_picture(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (6, 4), (250, 0, 0)), Image.new("RGB", (6, 4), (0, 0, 250))
    for name in ("a.gif", "a.png", "a.webp"):
        path = write(tmp_path, first, name, save_all=True, append_images=[second], lossless=True)
        photo = load_photo(path)
        np.testing.assert_allclose(photo.frame[0, 0], (250, 0, 0), atol=2)
        assert photo.moves
    assert not load_photo(write(tmp_path, first, "still.png")).moves


@pytest.mark.parametrize("size", [(MAX_SIDE_PX + 904, 2500), (2100, 1 + MAX_SIDE_PX)])
def test_huge_photos_are_reduced_in_proportion(tmp_path: Path, size: tuple[int, int]) -> None:
    photo = load_photo(write(tmp_path, Image.new("RGB", size, (9, 8, 7)), "a.png"))
    frame, scale = photo.frame, MAX_SIDE_PX / max(size)
    assert photo.reduced
    assert frame.shape == (round(size[1] * scale), round(size[0] * scale), 3)
    np.testing.assert_array_equal(frame[0, 0], (9, 8, 7))


def test_one_pixel_is_a_photo(tmp_path: Path) -> None:
    path = write(tmp_path, Image.new("RGB", (1, 1), (1, 2, 3)), "a.png")
    photo = load_photo(path)
    np.testing.assert_array_equal(photo.frame, [[[1, 2, 3]]])
    assert not photo.reduced and photo.when_reduced == ""


def test_a_colour_profile_is_applied(tmp_path: Path) -> None:
    """A profile whose red and blue are swapped: red pixels were meant blue."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {profile[132 + 12 * i : 136 + 12 * i].decode(): 132 + 12 * i for i in range(profile[131])}
    profile[tags["rXYZ"] : tags["rXYZ"] + 4], profile[tags["bXYZ"] : tags["bXYZ"] + 4] = b"bXYZ", b"rXYZ"
    content = bytes(profile).replace("sRGB built-in".encode("utf-16-be"), "swapped colou".encode("utf-16-be"))
    path = write(tmp_path, Image.new("RGB", (4, 4), (255, 0, 0)), "a.png", icc_profile=content)
    np.testing.assert_allclose(load_photo(path).frame[0, 0], (0, 0, 255), atol=2)


@pytest.mark.parametrize("profile", [b"no profile", bytes(200)])
def test_a_damaged_colour_profile_is_passed_over(
    corner_frame: np.ndarray, tmp_path: Path, profile: bytes
) -> None:
    path = write(tmp_path, Image.fromarray(corner_frame), "a.png", icc_profile=profile)
    np.testing.assert_array_equal(load_photo(path).frame, corner_frame)


def test_megabytes_of_text_in_a_png_are_passed_over(corner_frame: np.ndarray, tmp_path: Path) -> None:
    """In every kind of text chunk, before the pixels and after; the orientation that ImageMagick writes as text stays."""
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 3
    texts = PngImagePlugin.PngInfo()
    texts.add_text("story", "word " * 600_000, zip=True)
    texts.add_text("plain", "word " * 300_000)
    texts.add_itxt("XML:com.adobe.xmp", "<x/>" * 500_000, zip=True)
    raw = exif.tobytes()
    texts.add_text("Raw profile type exif", f"\nexif\n{len(raw)}\n{raw.hex()}", zip=True)
    Image.fromarray(corner_frame).save(file, "PNG", pnginfo=texts)
    path = tmp_path / "a.png"
    path.write_bytes(file.getvalue())
    photo = load_photo(path)
    np.testing.assert_array_equal(photo.frame, corner_frame[::-1, ::-1])
    assert photo.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
def test_a_jpeg_of_200_megapixels_is_decoded_reduced(tmp_path: Path) -> None:
    path = write(tmp_path, Image.new("L", (16_320, 12_240), 77), "a.jpg")
    frame = load_photo(path).frame
    assert frame.shape == (3072, 4096, 3) and frame[5, 5, 0] == 77
    assert Image.MAX_IMAGE_PIXELS is not None  # Pillow's own limit is as it was


@pytest.mark.parametrize(
    ("size", "kept"), [((12_000, 900), True), ((900, 12_000), True), ((12_000, 3_000), False)]
)
def test_a_panorama_keeps_its_faces(tmp_path: Path, size: tuple[int, int], kept: bool) -> None:
    """A window of it of twice its height is shown. That alone must not be larger than an output."""
    frame = load_photo(write(tmp_path, Image.new("L", size), "a.png")).frame
    assert (frame.shape[1::-1] == size) == kept
    assert 2.5 * min(frame.shape[:2]) < MAX_SIDE_PX + 2
    assert frame.shape[1] / frame.shape[0] == pytest.approx(size[0] / size[1], rel=0.01)


def test_heic_is_read_where_its_reader_is_installed(
    corner_frame: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for pillow-heif, which reads any such file as our picture."""

    class Reader(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self) -> None:
            self._size, self._mode = (61, 45), "RGB"

        def load(self) -> Any:
            self.im = Image.fromarray(corner_frame).im
            return None

    def register() -> None:
        Image.register_open("HEIF", Reader, lambda prefix: prefix[4:8] == b"ftyp")

    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=register))
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(b"\0\0\0\x18ftypheic" + b"\0\0\0\0mif1heic" + bytes(100))
    try:
        np.testing.assert_array_equal(load_photo(path).frame, corner_frame)
    finally:
        Image.OPEN.pop("HEIF", None)
        Image.ID.remove("HEIF")


# Refused


def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path) -> None:
    """The file ends after its header, so that decoding would give another error."""
    path = write(tmp_path, Image.new("RGB", (300, 200)), "a.png")
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(SourceError, match="300×200 pixels"):
        load_photo(path, max_pixels=59_999)


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    path = write(
        tmp_path, Image.new("1", (20_000, 20_000)), "a.png", compress_level=1
    )  # 400 million pixels, small
    with pytest.raises(SourceError, match="reduce it"):
        load_photo(path)


def test_a_side_beyond_reason_is_refused(tmp_path: Path) -> None:
    """70,000 pixels wide: few enough in all, but no photo of a face."""
    path = write(tmp_path, Image.new("L", (70_000, 40)), "a.png")
    with pytest.raises(SourceError, match=r"70000×40 pixels.*reduce it"):
        load_photo(path)


def test_a_truncated_photo_is_refused_not_half_grey(corner_frame: np.ndarray, tmp_path: Path) -> None:
    path = write(tmp_path, Image.fromarray(corner_frame), "a.jpg")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(SourceError, match="cut short"):
        load_photo(path)


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"heix"])
def test_heic_is_named_and_told_from_other_files(
    tmp_path: Path, brand: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "IMG_0001.jpg"
    path.write_bytes(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(100))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as where it is not installed
    with pytest.raises(SourceError, match=r"HEIC.*pip install pillow-heif.*convert it to JPEG"):
        load_photo(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello", bytes(1000), b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"]
)
def test_what_is_no_photo_is_refused(tmp_path: Path, content: bytes) -> None:
    """PostScript too: it is a program, and Pillow would start another one to run it."""
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(SourceError, match="not a picture"):
        load_photo(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        load_photo(tmp_path / "none.jpg")
    with pytest.raises(SourceError, match="is not a file"):
        load_photo(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    """Reading one would wait for ever."""
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(SourceError, match="is not a file"):
        load_photo(tmp_path / "pipe.jpg")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM"])
def test_flipped_bytes_give_a_picture_or_one_clear_error(
    corner_frame: np.ndarray, tmp_path: Path, rng: np.random.Generator, kind: str
) -> None:
    """Nothing else comes out of damaged headers, metadata and pixels: no other exception, no warning."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "words"
    file = io.BytesIO()
    Image.fromarray(corner_frame).save(
        file, kind, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP") else {})
    )
    content = np.frombuffer(file.getvalue(), dtype=np.uint8)
    path = tmp_path / "a"
    outcomes = set()
    for reach in (60, 400, len(content)):
        for _ in range(25):
            damaged = content.copy()
            places = rng.integers(0, min(reach, len(content)), 4)
            damaged[places] = rng.integers(0, 256, 4)
            path.write_bytes(damaged.tobytes())
            try:
                frame = load_photo(path, max_pixels=1_000_000).frame
                outcomes.add("picture" if frame.ndim == 3 and frame.shape[2] == 3 else "odd")
            except SourceError as error:
                assert "\n" not in str(error)
                outcomes.add("error")
    assert "odd" not in outcomes and "error" in outcomes
