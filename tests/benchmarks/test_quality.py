"""The quality benchmark: its cases, its measures, and a run on the examples."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.common import REPOSITORY
from icface.attributes import INDEX, FloatArray, neutral
from icface.errors import ConfigError, SourceError
from icface.face.action_units import measure_attributes
from icface.face.alignment import align
from icface.face.landmarks import LandmarkDetector, open_detector
from icface.face.viewer import Viewer
from icface.images import load_photo

pytest.importorskip("torch", reason="comparing persons needs torch")

from benchmarks import quality
from benchmarks.clips import decode
from benchmarks.judging.cases import Case, photo_of, read_cases
from benchmarks.judging.measures import CROP_PX, Judge, amplitudes, background, detail, regions
from benchmarks.judging.report import Video, means, page, pick, table

DRIVER = REPOSITORY / "examples/driver.mp4"
PORTRAIT = REPOSITORY / "examples/source.jpg"


def rows(**columns: list[float]) -> FloatArray:
    values = np.tile(neutral(), (len(next(iter(columns.values()))), 1))
    for name, column in columns.items():
        values[:, INDEX[name]] = column
    return values


def test_amplitude_is_the_ratio_of_ranges() -> None:
    steps = np.linspace(0, 1, 101)
    found = amplitudes(rows(AU12=list(steps), AU25=list(0.1 * steps)), rows(AU12=list(0.5 * steps)))
    assert found["AU12"] == pytest.approx(0.5, abs=1e-6)
    # The driver hardly parts the lips, so nothing can be said.
    assert found["AU25"] is None


def test_amplitude_leaves_frames_without_a_face_out() -> None:
    asked = rows(AU12=[0, 0.5, 1, 1])
    shown = rows(AU12=[0, 0.5, 1, 0])
    shown[3] = np.nan
    assert amplitudes(asked, shown)["AU12"] == pytest.approx(1)
    assert amplitudes(asked, np.full_like(asked, np.nan))["AU12"] is None


def test_cases_are_read_with_paths_beside_the_list(tmp_path: Path) -> None:
    for name in ("me.jpg", "clip.mp4"):
        (tmp_path / name).touch()
    path = tmp_path / "cases.csv"
    path.write_text("name,source,driver,frames\nother,me.jpg,clip.mp4,\nown,#12,clip.mp4,30\n")
    other, own = read_cases(path)
    assert other == Case(name="other", source=tmp_path / "me.jpg", driver=tmp_path / "clip.mp4")
    assert own == Case(name="own", source=12, driver=tmp_path / "clip.mp4", frames=30)
    assert own.is_self and not other.is_self


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,source,driver\n", "has no case"),
        ("name,source,driver\na,,clip.mp4\n", "line 2: name, source and driver are needed"),
        ("name,source,driver\na,gone.jpg,clip.mp4\n", "line 2: there is no file .*gone.jpg"),
        ("name,source,driver\na,#x,clip.mp4\n", "line 2: .* whole numbers"),
        ("name,source,driver,frames\na,#1,clip.mp4,many\n", "line 2: .* whole numbers"),
        ("name,source,driver\na,#1,clip.mp4\na,#2,clip.mp4\n", "have the same name"),
    ],
)
def test_a_list_that_cannot_be_used_says_where(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    path = tmp_path / "cases.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_cases(path)


def test_the_photo_of_self_reenactment_is_the_drivers_frame(tmp_path: Path) -> None:
    photo = photo_of(Case(name="own", source=3, driver=DRIVER), tmp_path)
    wanted = list(islice(decode(DRIVER), 4))[3]
    assert np.array_equal(load_photo(photo).frame, wanted)
    with pytest.raises(ConfigError, match="has no frame 9999"):
        photo_of(Case(name="own", source=9999, driver=DRIVER), tmp_path)


@pytest.fixture(scope="module")
def detector() -> Iterator[LandmarkDetector]:
    with closing(open_detector(video=False)) as found:
        yield found


def test_a_turned_clip_is_read_as_it_is_shown(tmp_path: Path) -> None:
    """The left half is white. A phone's mark turns it by a quarter to the right, so white is above."""
    picture = np.zeros((48, 64, 3), dtype=np.uint8)
    picture[:, :32] = 255
    path = tmp_path / "phone.mp4"
    with Video(path) as video:
        video.write(picture)
    data = bytearray(path.read_bytes())
    # Version 0 of a track's header: the matrix follows 40 bytes of other fields.
    struct.pack_into(">5i", data, data.index(b"tkhd") + 44, 0, 1 << 16, 0, -1 << 16, 0)
    path.write_bytes(data)
    (shown,) = decode(path)
    assert shown.shape == (64, 48, 3)
    assert shown[:24].min() > 200 and shown[40:].max() < 50


def test_regions_lie_where_eyes_and_mouth_are(detector: LandmarkDetector) -> None:
    face = detector.detect(load_photo(PORTRAIT).frame)[0]
    found = regions(face, align(face, CROP_PX))
    middles = {name: np.array([(s.start + s.stop) / 2 for s in region]) for name, region in found.items()}
    assert middles["eyes"][0] < CROP_PX / 2 < middles["mouth"][0]
    assert all(abs(middle[1] - CROP_PX / 2) < 20 for middle in middles.values())
    face_rows, mouth_rows = found["face"][0], found["mouth"][0]
    assert face_rows.start < mouth_rows.start < mouth_rows.stop < face_rows.stop


def test_the_background_has_neither_the_face_nor_what_is_below(detector: LandmarkDetector) -> None:
    frame = load_photo(PORTRAIT).frame
    face = detector.detect(frame)[0]
    outside = background(face, frame)
    assert outside is not None and outside[0, 0] and outside[0, -1]
    x, y = np.round(face.points_px[:, :2]).astype(int).T
    assert not outside[y, x].any()
    assert not outside[y.max() :].any()


def test_a_blurred_face_has_less_detail() -> None:
    crop = np.random.default_rng(1).integers(0, 256, (CROP_PX, CROP_PX, 3), dtype=np.uint8)
    flat = np.full_like(crop, 120)
    assert detail(flat) == 0 < detail(crop)


def test_a_perfect_output_gets_perfect_figures(detector: LandmarkDetector) -> None:
    """The driver's own frames as outputs; another person's frame is told from them."""
    shown = [frame[:, 80:560] for frame in islice(decode(DRIVER), 0, 120, 6)]
    with Viewer() as viewer:
        judge = Judge(viewer, detector, shown[0], shown[0])
        for frame in shown:
            face = viewer.look(frame)
            assert face is not None
            judge.add(measure_attributes(face, judge.baseline), frame, frame)
        numbers = judge.measured.numbers()
        other = Judge(viewer, detector, shown[0], shown[0])
        stranger = np.asarray(cv2.resize(load_photo(PORTRAIT).frame, (480, 480)), dtype=np.uint8)
        other.add(neutral(), stranger, shown[0])
    assert numbers["face_found"] == 1
    assert max(numbers["pose_error_deg"].values()) < 1e-3
    assert numbers["correlation"]["yaw"] == pytest.approx(1)
    assert numbers["amplitude"]["yaw"] == pytest.approx(1)
    assert numbers["presence"]["balanced_accuracy"] == 1
    # Two detectors look at the same frame, one of them at an enlarged copy.
    assert numbers["face_ssim"] > 0.9 and numbers["mouth_ssim"] > 0.9
    assert numbers["sharpness"] == pytest.approx(1, abs=0.1)
    assert other.measured.numbers()["face_ssim"] < 0.6


def test_a_frame_without_a_face_counts_as_such(detector: LandmarkDetector) -> None:
    frame = load_photo(PORTRAIT).frame
    with Viewer() as viewer:
        judge = Judge(viewer, detector, frame, frame)
        for output in (frame, np.zeros_like(frame)):
            judge.add(neutral(), output, None)
    numbers = judge.measured.numbers()
    assert numbers["face_found"] == 0.5
    assert numbers["background_levels"] > 10
    assert "face_psnr_db" not in numbers and numbers["identity_cosine"] is None


def test_means_are_over_the_cases_that_have_the_figure() -> None:
    cases = [
        {"face_found": 1.0, "correlation": {"AU12": 0.5, "AU25": None, "yaw": 0.1}},
        {"face_found": 0.5, "correlation": {"AU12": None, "AU25": 0.9, "yaw": None}},
    ]
    assert pick(cases[0], ("correlation", "AU*")) == 0.5
    found = means(cases)
    assert found["a face is found"] == 0.75
    assert found["correlation of Action Units"] == pytest.approx(0.7)
    assert found["correlation of yaw"] == pytest.approx(0.1)
    assert found["SSIM of the face"] is None


def test_models_are_compared_over_the_cases_that_all_of_them_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(case: Case, model: Path, *_: object) -> dict[str, float]:
        if (case.name, model.name) == ("hard", "weak"):
            raise SourceError("no face")
        return {"face_found": 0.2 if case.name == "hard" else 0.9}

    monkeypatch.setattr(quality, "film_driver", lambda *_: None)
    monkeypatch.setattr(quality, "measure_case", measured)
    cases = [Case(name=name, source=PORTRAIT, driver=DRIVER) for name in ("easy", "hard")]
    models = {name: Path(name) for name in ("weak", "strong")}
    document = quality.judge_all(cases, models, None, tmp_path)  # type: ignore[arg-type]
    for model in document["models"].values():
        assert model["cross"]["a face is found"] == 0.9
    assert document["about"].startswith("means over the 1 of 2 cases that every model made")
    assert document["cases"][1]["problems"] == ["weak: no face"]


def test_the_page_shows_text_as_text() -> None:
    document = {
        "models": {"<b>": {"cross": means([{"face_found": 1.0}]), "self": means([])}},
        "cases": [{"name": "<i>", "videos": [], "sheets": [], "problems": ["a & b"]}],
        "about": "one case",
    }
    assert table(document) == [["", "<b>, cross"], ["a face is found", "1"]]
    text = page(document)
    assert "<b>," not in text and "<i>" not in text and "a &amp; b" in text


@pytest.mark.slow
def test_a_run_writes_a_report_whose_files_are_there(tmp_path: Path) -> None:
    cases = tmp_path / "cases.csv"
    cases.write_text(
        f"name,source,driver,frames\nby another,{PORTRAIT},{DRIVER},24\nby itself,#0,{DRIVER},24\n"
        f"nobody,nobody.png,{DRIVER},4\n"
    )
    cv2.imwrite(str(tmp_path / "nobody.png"), np.full((400, 400, 3), 127, dtype=np.uint8))
    out = tmp_path / "report"
    assert quality.main(["--cases", str(cases), "--out", str(out)]) == 1
    text = (out / "report.html").read_text(encoding="utf-8")
    named = re.findall(r'src="([^"]+)"', text)
    assert len(named) == 7 and all((out / name).stat().st_size > 1000 for name in named)
    assert len(list(decode(out / "by_itself.edge.mp4"))) == 24
    assert "no face" in text
    document = json.loads((out / "quality.json").read_text())
    own = document["models"]["edge"]["cases"]["by itself"]
    assert own["frames"] == 24 and own["face_found"] == 1 and own["face_psnr_db"] > 20
    assert 0 < own["jitter_iod"] < 0.01
    assert set(document["models"]["edge"]["cases"]) == {"by another", "by itself"}
