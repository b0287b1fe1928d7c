"""Derive the face tables of the edge generator: AU displacements of MediaPipe's 468 vertices from ICT-FaceKit.

    python training/assets/derive_displacements.py --ict ict_facekit.npz --ict-indices vertex_indices.json \
        --canonical canonical_face_model.obj --out icface/geometry/data/face_tables.safetensors

The canonical face of MediaPipe is registered to ICT-FaceKit's neutral (51 shared landmarks, thin-plate spline,
then closest points), every vertex looks up ICT's expression motion among vertices of its own class (an upper-lip
vertex never takes the lower lip's motion), and the ARKit-style shapes are combined into the 17 Action Units and the
extensions that move skin.
Sources: ICT-FaceKit (MIT); MediaPipe's canonical face model (Apache-2.0).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree

if not __package__:  # started as a file: the repository takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from icface.arrays import Array
from icface.attributes import AU_NAMES, SHAPE_NAMES, SIDED
from icface.command import Parser, run_command
from icface.geometry import topology

# The vertices of ICT-FaceKit before its mouth socket: skin of face, head and neck.
ICT_SKIN_VERTICES = 11248

# Points 17..67 of the 68-point convention (brows, nose, eyes, outer and inner lips) in MediaPipe's numbering.
MEDIAPIPE_OF_68 = (
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    168, 197, 5, 4, 98, 97, 2, 326, 327,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
CHIN_OF_68, CHIN = 8, 152

# Each AU as a sum of ARKit-style shapes, both sides at once. AU01 and AU02 leave the other end of the brow where it
# is. AU25 and AU26 are parts of jaw and lip motion so
# that 1 opens the lips by about .10 and .16 IOD; AU45 is only the direction (the lids' travel is personal).
RECIPES: dict[str, dict[str, float]] = {
    "AU01": {"browInnerUp": 1.0, "browOuterUp": -0.25},
    "AU02": {"browOuterUp": 1.0, "browInnerUp": -0.65},
    "AU04": {"browDown": 1.5},
    "AU05": {"eyeWide": 1.0, "eyeSquint": -0.55},
    "AU06": {"cheekSquint": 1.0, "cheekRaiser": 0.3},
    "AU07": {"eyeSquint": 1.2, "eyeBlink": 0.12},
    "AU09": {"noseSneer": 1.0},
    "AU10": {"mouthUpperUp": 1.0},
    "AU12": {"mouthSmile": 1.0},
    "AU14": {"mouthDimple": 1.0},
    "AU15": {"mouthFrown": 1.0},
    "AU17": {"mouthShrugLower": 1.0, "mouthShrugUpper": 0.6},
    "AU20": {"mouthStretch": 1.0},
    "AU23": {"mouthPress": 0.8, "mouthRollUpper": 0.35, "mouthRollLower": 0.35},
    "AU25": {"mouthLowerDown": 0.8, "mouthUpperUp": 0.45},
    "AU26": {"jawOpen": 0.45},
    "AU45": {"eyeBlink": 1.0},
}
# The extensions' shapes: movements of both sides, and movements to the person's left.
SYMMETRIC_RECIPES: dict[str, dict[str, float]] = {
    "AU18": {"mouthPucker": 1.0},
    "AU22": {"mouthFunnel": 1.0},
    "AU24": {"mouthPress": 1.0, "mouthRollUpper": 0.5, "mouthRollLower": 0.5},
    "AU29": {"jawForward": 1.0},
    "AU34": {"cheekPuff": 1.0},
}
LEFTWARD_RECIPES: dict[str, dict[str, float]] = {
    "jaw_side": {"jawLeft": 1.0},
    "mouth_side": {"mouthLeft": 1.0},
}
BROW_INWARD = 0.022
"""What is added to the way inward of ICT's browDown (IOD a side), before FROWN_INWARD."""

FROWN_INWARD = 0.7
"""Share of that way which AU04 keeps. With all of it brows met above the nose, which eight people's do not."""

FROWN_INNER, FROWN_REACH = 0.95, 0.23
"""AU04 lowers the inner ends of the brows by so much more of ICT's way, within this of the face's middle (IOD).
ICT lowers the middle of a brow most, which makes a bar. With still more, a tracker sees less of a frown."""

SMILE_THINS = 0.010
"""AU12 thins each lip by this much (IOD), as measured on nine smiling people; ICT's smile leaves lips their thickness."""

CORNERS_STAY = 0.3
"""Part of the way that ICT's raised upper lip draws the corners of the mouth up, and AU10 does not."""

CORNERS_INWARD = 0.035
"""AU26 draws the corners of the mouth in by this much a side (IOD): a dropped jaw makes an oval, not a slot."""


def read_obj(path: Path) -> tuple[Array, NDArray[np.int32]]:
    """Vertices (468, 3) and triangles (898, 3) of the canonical face."""
    lines = [line.split() for line in path.read_text().splitlines()]
    vertices = [line[1:4] for line in lines if line[:1] == ["v"]]
    triangles = [[corner.split("/")[0] for corner in line[1:4]] for line in lines if line[:1] == ["f"]]
    return np.array(vertices, dtype=np.float64), np.array(triangles, dtype=np.int32) - 1


def to_iod(vertices: Array, right: int, left: int) -> Array:
    """Origin between the outer eye corners, unit = their distance."""
    scale = np.linalg.norm(vertices[left] - vertices[right])
    return np.asarray((vertices - (vertices[right] + vertices[left]) / 2) / scale)


def register(canonical: Array, skin: Array, landmarks: Array) -> Array:
    """Positions of the canonical vertices on ICT's neutral face, (468, 3) in ICT's IOD frame."""
    anchors = canonical[[*MEDIAPIPE_OF_68, CHIN]]
    fitted = RBFInterpolator(anchors, landmarks, kernel="thin_plate_spline", smoothing=1e-4)(canonical)
    tree = cKDTree(skin)
    for smoothing in (1e-2, 3e-3, 1e-3):  # let the sheet relax onto the skin, stiff first
        _, nearest = tree.query(fitted)
        pull = fitted + 0.7 * (skin[nearest] - fitted)
        fitted = RBFInterpolator(
            np.concatenate([canonical, anchors]),
            np.concatenate([pull, landmarks]),
            kernel="thin_plate_spline",
            smoothing=smoothing,
        )(canonical)
    return np.asarray(fitted)


Classes = list[tuple[NDArray[np.intp], NDArray[np.intp]]]


def classes_of(skin: Array, shapes: dict[str, Array]) -> Classes:
    """MediaPipe's vertices by class, each with the ICT vertices that it may look at, told apart by their motion."""
    jaw = -shapes["jawOpen"][:, 1]
    blink = shapes["eyeBlink"][:, 1]
    near_mouth = (np.abs(skin[:, 0]) < 0.4) & (skin[:, 1] < -0.45)
    near_eyes = skin[:, 1] > -0.25
    classes = [
        (np.array(list(members)), np.flatnonzero(seen))
        for members, seen in (
            (topology.UPPER_LIP, near_mouth & (jaw < 0.2 * jaw[near_mouth].max())),
            (topology.LOWER_LIP, near_mouth & (jaw > 0.5 * jaw[near_mouth].max())),
            (topology.UPPER_LID, near_eyes & (blink < -0.4 * np.abs(blink).max())),
            (topology.LOWER_LID, near_eyes & (blink > 0.1 * blink[near_eyes].max())),
        )
    ]
    others = np.setdiff1d(np.arange(468), np.concatenate([members for members, _ in classes]))
    return [*classes, (others, np.arange(len(skin)))]


def look_up(fitted: Array, skin: Array, motion: Array, classes: Classes) -> Array:
    """Motion (n, 3) of ICT's skin carried to the fitted vertices (468, 3): inverse-distance mean of four."""
    result = np.zeros_like(fitted)
    for members, seen in classes:
        distance, nearest = cKDTree(skin[seen]).query(fitted[members], k=4)
        weight = 1.0 / (distance + 1e-3)
        weight /= weight.sum(1, keepdims=True)
        result[members] = (motion[seen[nearest]] * weight[..., None]).sum(1)
    return result


def mirrored(field: Array, canonical: Array) -> Array:
    """A displacement field (468, 3) seen in a mirror."""
    _, twin = cKDTree(canonical).query(canonical * [-1, 1, 1])
    return np.asarray(field[twin] * [-1, 1, 1])


def symmetric(field: Array, canonical: Array) -> Array:
    """Average of a displacement field (468, 3) with its own mirror image."""
    return np.asarray((field + mirrored(field, canonical)) / 2)


def antisymmetric(field: Array, canonical: Array) -> Array:
    """Half the difference of a displacement field (468, 3) and its own mirror image."""
    return np.asarray((field - mirrored(field, canonical)) / 2)


def round_opening(field: Array, canonical: Array, power: float) -> None:
    """Give the gap between the lips of a displacement field (468, 3) the outline of a lens, in place.

    The middle keeps its gap; towards the corners it becomes `(1 − t²) ** power` of it.
    """
    middle = len(topology.INNER_UPPER_LIP) // 2
    gap_middle = field[topology.INNER_UPPER_LIP[middle], 1] - field[topology.INNER_LOWER_LIP[middle], 1]
    corner = abs(canonical[topology.INNER_UPPER_LIP[0], 0])
    upper, lower = np.array(topology.UPPER_LIP_ROWS), np.array(topology.LOWER_LIP_ROWS)
    t = np.minimum(np.abs(canonical[upper[0], 0]) / corner, 1.0)
    excess = field[upper[0], 1] - field[lower[0], 1] - gap_middle * (1 - t * t) ** power
    shares = np.array([[0.5], [0.45], [0.35], [0.2]])
    field[upper, 1] -= shares * excess
    field[lower, 1] += shares * excess


def keep_closed(field: Array) -> None:
    """Let the lips of a displacement field (468, 3) stay together, in place: the lower lip goes along with the upper."""
    upper, lower = np.array(topology.UPPER_LIP_ROWS), np.array(topology.LOWER_LIP_ROWS)
    gap = field[upper[0], 1] - field[lower[0], 1]
    field[upper, 1] -= 0.3 * np.array([[1.0], [0.7], [0.4], [0.0]]) * gap
    field[lower, 1] += 0.7 * np.array([[1.0], [0.85], [0.7], [0.5]]) * gap


def derive(ict: Path, ict_indices: Path, canonical_path: Path) -> dict[str, NDArray[np.generic]]:
    """All tables; x to the image's right for a frontal face, y up, z to the camera, unit IOD."""
    data = np.load(ict)
    landmarks_68 = json.loads(ict_indices.read_text())["idx_to_landmark_verts"]
    right, left = landmarks_68[36], landmarks_68[45]
    neutral = to_iod(data["neutral"].astype(np.float64), right, left)
    scale = np.linalg.norm(data["neutral"][left] - data["neutral"][right])
    skin = neutral[:ICT_SKIN_VERTICES]
    raw = data["expr"][:, :ICT_SKIN_VERTICES].astype(np.float64) / scale
    shapes: dict[str, Array] = {}
    sides: dict[str, Array] = {}
    """Left minus right of the shapes that have both."""
    for name, motion in zip(data["expr_names"], raw, strict=True):  # a left and a right shape become one
        base = str(name).removesuffix("_L").removesuffix("_R")
        shapes[base] = shapes.get(base, 0) + motion
        if base != name:
            sides[base] = sides.get(base, 0) + (motion if str(name).endswith("_L") else -motion)

    vertices, triangles = read_obj(canonical_path)
    canonical = to_iod(vertices, 33, 263)
    x, y = canonical[:, :1], canonical[:, 1:2]
    target = neutral[[*landmarks_68[17:], landmarks_68[CHIN_OF_68]]]
    fitted = register(canonical, skin, target)
    classes = classes_of(skin, shapes)
    carried = {
        name: symmetric(look_up(fitted, skin, motion, classes), canonical) for name, motion in shapes.items()
    }
    table = np.stack([sum(w * carried[name] for name, w in RECIPES[au].items()) for au in AU_NAMES])
    extensions = _extensions(lambda motion: look_up(fitted, skin, motion, classes), shapes, sides, canonical)
    brows = table[AU_NAMES.index("AU04")]
    lowering = np.clip(-brows[:, 1:2] / np.abs(brows[:, 1]).max(), 0, 1) * (y > 0.1)
    inner = np.exp(-((np.abs(x) - 0.12) ** 2) / (2 * 0.12**2))
    brows[:, :1] -= np.sign(x) * BROW_INWARD * lowering * inner
    # By half to the right: the left brow comes in, and the right one, which is raised, goes out.
    extensions[SHAPE_NAMES.index("AU04_side"), :, :1] -= BROW_INWARD * lowering * inner / 2
    frown = FROWN_INNER * np.exp(-((x / FROWN_REACH) ** 2)) * np.clip((0.42 - y) / 0.15, 0, 1)
    for field in (brows, extensions[SHAPE_NAMES.index("AU04_side")]):
        field[:, :1] *= FROWN_INWARD
        field[:, 1:2] *= 1 + frown
    # A wrinkled nose lifts the upper lip a little. It lowers the brows, but is no frown.
    nose, lip = (table[AU_NAMES.index(name)] for name in ("AU09", "AU10"))
    less = 1 - 0.6 * np.clip((-0.50 - y) / 0.15, 0, 1) - 0.85 * np.clip((y - 0.10) / 0.08, 0, 1)
    nose *= less
    extensions[SHAPE_NAMES.index("AU09_side")] *= less
    # A raised upper lip takes the corners of the mouth along, by less than in ICT: it is no smile.
    corners = np.exp(-(((np.abs(x) - 0.27) / 0.10) ** 2) - ((y + 0.79) / 0.12) ** 2)
    lip *= 1 - CORNERS_STAY * corners
    extensions[SHAPE_NAMES.index("AU10_side")] *= 1 - CORNERS_STAY * corners
    for field in (nose, lip):
        keep_closed(field)
    for name in ("AU09_side", "AU10_side"):
        keep_closed(extensions[SHAPE_NAMES.index(name)])
    smile = table[AU_NAMES.index("AU12")]
    for rows, inwards in ((topology.UPPER_LIP_ROWS, -1), (topology.LOWER_LIP_ROWS, 1)):
        smile[np.array(rows), 1] += inwards * SMILE_THINS * np.array([[0.0], [0.33], [0.67], [1.0]])
    jaw = table[AU_NAMES.index("AU26")]
    near_corner = np.exp(-(((np.abs(x) - 0.24) / 0.14) ** 2) - ((y + 0.79) / 0.22) ** 2)
    mouth_side = np.clip(np.abs(x) / 0.26, 0, 1) * near_corner
    jaw[:, :1] -= np.sign(x) * CORNERS_INWARD * mouth_side
    lips = table[AU_NAMES.index("AU25")]
    # Parted lips leave the chin where it is, and a smile does not raise it.
    for field in (lips, smile, extensions[SHAPE_NAMES.index("AU12_side")]):
        field *= np.clip((y + 1.20) / 0.20, 0, 1)
    round_opening(jaw, canonical, 0.85)
    round_opening(lips, canonical, 0.8)
    return {
        "canonical": canonical.astype(np.float32),
        "triangles": triangles,
        "displacements": table.astype(np.float16),
        "extensions": extensions.astype(np.float16),
    }


def _extensions(
    carry: Callable[[Array], Array], shapes: dict[str, Array], sides: dict[str, Array], canonical: Array
) -> Array:
    """(n, 468, 3) in `SHAPE_NAMES` order, by a function that carries a motion of ICT's skin to the vertices."""

    def combined(recipe: dict[str, float], of: dict[str, Array]) -> Array:
        return carry(np.asarray(sum(weight * of[name] for name, weight in recipe.items())))

    rows = {f"{name}_side": antisymmetric(combined(RECIPES[name], sides), canonical) / 2 for name in SIDED}
    rows |= {
        name: symmetric(combined(recipe, shapes), canonical) for name, recipe in SYMMETRIC_RECIPES.items()
    }
    rows |= {
        name: antisymmetric(combined(recipe, shapes), canonical) for name, recipe in LEFTWARD_RECIPES.items()
    }
    return np.stack([rows[name] for name in SHAPE_NAMES])


def write_tables(flags: argparse.Namespace) -> None:
    """Run the command."""
    tables = derive(flags.ict, flags.ict_indices, flags.canonical)
    sources = "ICT-FaceKit (MIT), MediaPipe canonical face model (Apache-2.0)"
    whole = {name: np.ascontiguousarray(table) for name, table in tables.items()}
    save_file(whole, flags.out, metadata={"sources": sources})
    field = tables["displacements"].astype(np.float32)
    sides = tables["extensions"].astype(np.float32)
    for name, point in (("AU01", 107), ("AU02", 70), ("AU12", 61), ("AU17", 17), ("AU26", 17), ("AU45", 159)):
        print(name, point, field[AU_NAMES.index(name), point].round(3))
    for name, point in (("AU12_side", 291), ("AU18", 291), ("AU22", 17), ("AU34", 425), ("jaw_side", 152)):
        print(name, point, sides[SHAPE_NAMES.index(name), point].round(3))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives 0, 1 or 2."""
    parser = Parser(description="Derive the face tables of the edge generator.")
    for flag in ("--ict", "--ict-indices", "--canonical", "--out"):
        parser.add_argument(flag, type=Path, required=True)
    return run_command(parser, write_tables, argv)


if __name__ == "__main__":
    sys.exit(main())
