"""The avatar renderer: one triangle by hand, what hides what, and files read value by value."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.conftest import shared_file
from training.avatars.raster import raster

AVATAR = "data/valid_avatars/White_F_2_Casual.glb"
OPAQUE = np.full((2, 2), 255, dtype=np.uint8)


class Canvas:
    """The buffers that `raster` draws into."""

    def __init__(self, height: int = 5, width: int = 7) -> None:
        self.depth = np.zeros((height, width), dtype=np.float32)
        self.owner = np.full((height, width), -1, dtype=np.int32)
        self.weights = np.zeros((height, width, 2), dtype=np.float32)

    def draw(
        self, corners: list[list[float]], first: int = 0, opacity: NDArray[np.uint8] = OPAQUE,
        uv: list[list[float]] | None = None,
    ) -> None:  # fmt: skip
        raster(
            np.array(corners, dtype=np.float64), np.array([[0, 1, 2]], dtype=np.int32),
            np.array(uv or [[0, 0], [1, 0], [0, 1]], dtype=np.float64), opacity, first,
            self.depth, self.owner, self.weights,
        )  # fmt: skip


def everywhere(distance: float) -> list[list[float]]:
    """A triangle over the whole canvas."""
    return [[-20, -5, distance], [40, -5, distance], [-20, 500, distance]]


def test_one_triangle_by_hand() -> None:
    canvas = Canvas()
    canvas.draw([[1, 1, 2], [5, 1, 2], [1, 3, 2]], first=4)
    expected = np.full((5, 7), -1)
    expected[1, 1:6] = 4  # both ends of the edge lie on pixel centres
    expected[2, 1:4] = 4
    expected[3, 1] = 4
    np.testing.assert_array_equal(canvas.owner, expected)
    np.testing.assert_array_equal(canvas.depth, np.where(expected == 4, 0.5, 0))
    np.testing.assert_allclose(canvas.weights[1, 1], [1, 0])
    np.testing.assert_allclose(canvas.weights[1, 4], [0.25, 0.75])
    np.testing.assert_allclose(canvas.weights[2, 3], [0, 0.5])


def test_either_winding_is_drawn() -> None:
    canvas = Canvas()
    canvas.draw([[1, 3, 2], [5, 1, 2], [1, 1, 2]])
    assert np.count_nonzero(canvas.owner == 0) == 9


def test_weights_are_perspective_correct() -> None:
    """Half way on the screen between distances 1 and 3 lies a quarter of the way on the surface."""
    canvas = Canvas()
    canvas.draw([[1, 1, 1], [5, 1, 3], [1, 3, 1]])
    assert canvas.depth[1, 3] == pytest.approx((1 + 1 / 3) / 2)
    np.testing.assert_allclose(canvas.weights[1, 3], [0.75, 0.25], atol=1e-6)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["near_first", "far_first"])
def test_the_nearer_triangle_hides_the_farther_one(order: tuple[int, int]) -> None:
    canvas = Canvas()
    triangles = (everywhere(2.0), everywhere(3.0))
    for index in order:
        canvas.draw(triangles[index], first=index)
    assert (canvas.owner == 0).all()
    assert (canvas.depth == 0.5).all()


def test_holes_of_the_texture_show_what_is_behind() -> None:
    """Left half of the texture is empty; u grows by one over the triangle's 60 pixels from x = −20."""
    canvas = Canvas(height=3, width=20)
    canvas.draw(everywhere(3.0), first=0)
    canvas.draw(everywhere(2.0), first=1, opacity=np.array([[0, 255], [0, 255]], dtype=np.uint8))
    np.testing.assert_array_equal(canvas.owner[:, :10], 0)
    np.testing.assert_array_equal(canvas.owner[:, 10:], 1)


def test_nothing_behind_the_camera_and_nothing_outside_is_drawn() -> None:
    canvas = Canvas()
    canvas.draw([[1, 1, -2], [5, 1, 2], [1, 3, 2]])
    canvas.draw([[9, 1, 2], [15, 1, 2], [9, 3, 2]])
    canvas.draw([[1, 1, 2], [3, 1, 2], [5, 1, 2]])  # no area
    assert (canvas.owner == -1).all()


def tiny_glb(path: Path) -> None:
    """A quantised triangle on one bone, with a sparse morph target and a texture shifted by half."""
    chunks: list[bytes] = []
    views: list[dict[str, Any]] = []
    accessors: list[dict[str, Any]] = []

    def view(content: bytes, **more: int) -> int:
        start = sum(map(len, chunks))
        chunks.append(content + b"\0" * (-len(content) % 4))
        views.append({"buffer": 0, "byteOffset": start, "byteLength": len(content), **more})
        return len(views) - 1

    def accessor(values: NDArray[Any], code: int, kind: str, **more: Any) -> int:
        count = len(values) if kind != "SCALAR" else values.size
        raw = {"bufferView": view(values.tobytes()), "componentType": code, "type": kind, "count": count}
        accessors.append(raw | more)
        return len(accessors) - 1

    # Positions: bytes, each row padded to four, −128 reads as −1.
    rows = np.array([[0, 127, -128, 99], [127, 0, 0, 99], [0, 0, 127, 99]], dtype=np.int8)
    position = accessor(rows, 5120, "VEC3", normalized=True)
    views[accessors[position]["bufferView"]]["byteStride"] = 4
    uv = accessor(np.array([[0, 0], [65535, 0], [0, 65535]], dtype=np.uint16), 5123, "VEC2", normalized=True)
    joints = accessor(np.zeros((3, 4), dtype=np.uint8), 5121, "VEC4")
    weights = accessor(np.array([[2, 2, 0, 0]] * 3, dtype=np.float32), 5126, "VEC4")
    indices = accessor(np.array([0, 1, 2], dtype=np.uint16), 5123, "SCALAR")
    bind = np.eye(4, dtype=np.float32)
    bind[:3, 3] = [1, 2, 3]
    binds = accessor(bind.T[None].copy(), 5126, "MAT4")
    where, what = (
        view(np.array([1], dtype=np.uint16).tobytes()),
        view(np.array([0.5, 0, -0.25], dtype=np.float32).tobytes()),
    )
    sparse = {
        "count": 1,
        "indices": {"bufferView": where, "componentType": 5123},
        "values": {"bufferView": what},
    }
    accessors.append({"componentType": 5126, "type": "VEC3", "count": 3, "sparse": sparse})
    picture = io.BytesIO()
    Image.new("RGB", (4, 2), (10, 20, 30)).save(picture, "WEBP", lossless=True)
    image = view(picture.getvalue())
    shift = {"KHR_texture_transform": {"offset": [0.5, 0], "scale": [2, 1]}}
    attributes = {"POSITION": position, "TEXCOORD_0": uv, "JOINTS_0": joints, "WEIGHTS_0": weights}
    primitive = {
        "attributes": attributes, "indices": indices, "material": 0,
        "targets": [{"POSITION": len(accessors) - 1}],
    }  # fmt: skip
    content = {
        "bufferViews": views,
        "accessors": accessors,
        "images": [{"bufferView": image}],
        "textures": [{"extensions": {"EXT_texture_webp": {"source": 0}}}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0, "extensions": shift}}}],
        "meshes": [
            {"name": "skin", "primitives": [primitive], "extras": {"targetNames": ["shapes.t_Smile_h"]}}
        ],
        "skins": [{"joints": [1], "inverseBindMatrices": binds}],
        "nodes": [
            {"name": "Root", "children": [1, 2], "rotation": [0, 0, np.sqrt(0.5), np.sqrt(0.5)]},
            {"name": "Head", "translation": [0, 1, 0], "scale": [2, 2, 2]},
            {"mesh": 0, "skin": 0},
        ],
    }
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % 4)
    binary = b"".join(chunks)
    total = 12 + 8 + len(text) + 8 + len(binary)
    path.write_bytes(
        struct.pack("<4sII", b"glTF", 2, total)
        + struct.pack("<I4s", len(text), b"JSON") + text
        + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    )  # fmt: skip


def test_a_small_file_is_read_value_by_value(tmp_path: Path) -> None:
    pytest.importorskip("meshoptimizer", reason='avatars need it: pip install ".[train]"')
    from training.avatars.glb import load_avatar

    tiny_glb(tmp_path / "tiny.glb")
    avatar = load_avatar(tmp_path / "tiny.glb")
    assert avatar.name == "tiny"
    assert avatar.node_names[:2] == ("Root", "Head")
    assert avatar.parents.tolist() == [-1, 0, 0]
    np.testing.assert_allclose(avatar.local[0][:2, :2], [[0, -1], [1, 0]], atol=1e-12)  # a quarter turn
    np.testing.assert_allclose(avatar.local[1] @ [1, 1, 1, 1], [2, 3, 2, 1])
    (part,) = avatar.parts
    np.testing.assert_array_equal(part.positions, [[0, 1, -1], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(part.uv, [[0.5, 0], [2.5, 0], [0.5, 1]])
    np.testing.assert_array_equal(part.triangles, [[0, 1, 2]])
    np.testing.assert_array_equal(part.weights, [[0.5, 0.5, 0, 0]] * 3)
    np.testing.assert_array_equal(part.joint_nodes, [1])
    np.testing.assert_array_equal(part.bind[0, :3, 3], [1, 2, 3])
    assert list(part.morphs) == ["Smile"]
    np.testing.assert_array_equal(part.morphs["Smile"], [[0, 0, 0], [0.5, 0, -0.25], [0, 0, 0]])
    assert part.texture.shape == (2, 4, 4)
    assert part.texture[0, 0].tolist() == [10, 20, 30, 255]


def test_an_avatar_of_the_set_is_a_person() -> None:
    """Compressed vertices, indices and textures decode to a body of human size, with a face that moves."""
    pytest.importorskip("meshoptimizer", reason='avatars need it: pip install ".[train]"')
    from training.avatars.glb import load_avatar

    avatar = load_avatar(shared_file(AVATAR))
    assert {"Neck", "Head", "LeftEye", "RightEye"} <= set(avatar.node_names)
    moving = max(avatar.parts, key=lambda part: len(part.morphs))
    assert {"MouthOpen", "LsmileClose", "RsmileClose", "LeyeClose", "ReyeClose"} <= set(moving.morphs)
    for part in avatar.parts:
        assert part.triangles.min() >= 0
        assert part.triangles.max() < len(part.positions)
        assert part.joints.max() < len(part.joint_nodes)
        np.testing.assert_allclose(part.weights.sum(1), 1)
    # A wrong decoding scatters vertices, and neighbours end up far apart.
    corners = moving.positions[moving.triangles]
    edges = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=-1)
    assert np.median(edges) < 0.05 * np.ptp(moving.positions, axis=0).max()


@pytest.mark.slow
def test_what_is_performed_is_what_is_seen() -> None:
    """The rendered head turns the way it is told to, and its face closes eyes and opens its mouth."""
    pytest.importorskip("meshoptimizer", reason='avatars need it: pip install ".[train]"')
    from icface.face.landmarks import open_detector
    from icface.face.pose import head_pose
    from training.avatars.glb import load_avatar
    from training.avatars.render import Performance, Studio, View

    studio = Studio(load_avatar(shared_file(AVATAR)), View())
    detector = open_detector(video=False)

    def seen(performance: Performance) -> tuple[NDArray[np.float64], float, float]:
        frame = studio.frame(performance)
        assert frame.shape == (480, 640, 3)
        assert frame.dtype == np.uint8
        (face, *_) = detector.detect(frame)
        points = face.points_px[:, :2]
        pose = head_pose(face)
        span = float(np.linalg.norm(points[33] - points[263]))  # outer corners of the eyes
        lids = float(np.linalg.norm(points[159] - points[145])) / span
        lips = float(np.linalg.norm(points[13] - points[14])) / span
        return np.degrees([pose.pitch_rad, pose.yaw_rad, pose.roll_rad]), lids, lips

    try:
        rest, lids, lips = seen(Performance())
        for axis, name in enumerate(("pitch_rad", "yaw_rad", "roll_rad")):
            turned, _, _ = seen(Performance(**{name: np.radians(10.0)}))
            change = turned - rest
            assert change[axis] == pytest.approx(10, abs=3.5), name
            assert np.abs(np.delete(change, axis)).max() < 4, name
        _, closed, _ = seen(Performance(morphs={"LeyeClose": 1.0, "ReyeClose": 1.0}))
        assert closed < 0.5 * lids
        _, _, opened = seen(Performance(morphs={"MouthOpen": 1.0}))
        assert opened > lips + 0.1
    finally:
        detector.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Asian_F_1_Casual", "Hispanic_M_1_Casual", "MENA_M_2_Casual"])
def test_jaw_and_lips_are_told_apart(name: str) -> None:
    """Two attributes that are only ever measured together cannot be learned apart."""
    pytest.importorskip("meshoptimizer", reason='avatars need it: pip install ".[train]"')
    from icface.attributes import INDEX
    from icface.face.viewer import Viewer
    from training.avatars.acting import MOVEMENTS
    from training.avatars.glb import load_avatar
    from training.avatars.render import Performance, Studio, View

    studio = Studio(
        load_avatar(shared_file(f"data/valid_avatars/{name}.glb")),
        View(width_px=400, height_px=300, head_px=156),
    )
    with Viewer() as viewer:
        baseline = viewer.baseline(studio.frame(Performance()))
        jaw, lips = viewer.measure(
            [studio.frame(Performance(morphs=MOVEMENTS[act].morphs)) for act in ("jaw", "lips")], baseline
        )
    assert jaw[INDEX["AU26"]] > 0.4 and lips[INDEX["AU25"]] > 0.7
    assert jaw[INDEX["AU25"]] < 0.1 and lips[INDEX["AU26"]] < 0.35
    for other in ("AU10", "AU12", "AU15"):
        assert jaw[INDEX[other]] < 0.3 and lips[INDEX[other]] < 0.3, other
