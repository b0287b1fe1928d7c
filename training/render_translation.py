"""Render faces and their part maps, a task for image translation: `training/learning/translation/` says how they lie.

    python training/render_translation.py --out runs/faces_and_parts

A is a face with a light, a skin, hair and a background of its own; B is the map of its parts, each in one colour. Both
are drawn from the face mesh of the geometry, so nothing but this repository is needed. A picture depends on the seed
and its number alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

if not __package__:  # started as a file: the repository takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.attributes import AU_NAMES
from icface.command import Parser, run_command
from icface.errors import ConfigError
from icface.geometry import topology as mesh
from icface.geometry.shape import Projection, rotation_matrix
from icface.geometry.topology import face_tables
from training.avatars.raster import raster
from training.learning.translation.pictures import write_picture

SUPERSAMPLING: Final = 4
AWAY_IOD: Final = 12.0
"""How far the camera stands from the face."""
BACKGROUND, HAIR, SKIN, BROW, WHITE, IRIS, LIP, MOUTH = range(8)
PART_COLOURS: Final = np.array(
    [
        [20, 30, 60],
        [0, 110, 190],
        [240, 200, 60],
        [0, 160, 70],
        [250, 250, 250],
        [190, 0, 190],
        [230, 40, 40],
        [90, 0, 0],
    ],
    dtype=np.uint8,
)
"""RGB of the parts in B."""
_BROWS: Final = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46, 300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
_IRIS_IOD: Final = 0.075

Floats = NDArray[np.float64]


def scene(seed: int, number: int, size_px: int) -> tuple[Frame, Frame]:
    """A face and the map of its parts, each (size_px, size_px, 3) RGB."""
    rng = np.random.default_rng([seed, number])
    side = size_px * SUPERSAMPLING
    points, screen = _placed(rng, side)
    triangles, parts_of = _mesh_parts()
    owner, weights = _drawn(screen, triangles, side)
    seen = owner >= 0
    parts = np.full((side, side), BACKGROUND, dtype=np.int64)
    _draw_hair(rng, screen, parts)
    parts[seen] = parts_of[owner[seen]]
    _draw_irises(rng, screen, parts)
    light = np.zeros((side, side))
    light[seen] = _light(rng, points, triangles, owner[seen], weights[seen])
    light[~seen] = rng.uniform(0.75, 1.0)
    picture = _palette(rng)[parts] * light[..., None]
    # Backgrounds grow darker to one side.
    slope = 1 + rng.uniform(-0.4, 0.4) * np.linspace(-1, 1, side)[:, None, None]
    picture = np.where((parts == BACKGROUND)[..., None], picture * slope, picture)
    small = cv2.resize(picture, (size_px, size_px), interpolation=cv2.INTER_AREA)
    middle = slice(SUPERSAMPLING // 2, None, SUPERSAMPLING)
    return np.clip(np.rint(small), 0, 255).astype(np.uint8), PART_COLOURS[parts[middle, middle]]


def _placed(rng: np.random.Generator, side: int) -> tuple[Floats, Floats]:
    """A face with proportions, an expression and a pose of its own: turned points (468, 3) and (468, 3) on the screen."""
    tables = face_tables()
    shape = tables.canonical * (1 + rng.uniform(-0.08, 0.08, 3)).astype(np.float32)
    # A few Action Units at a time, as faces show them.
    amounts = rng.uniform(0, 1, len(AU_NAMES)) * (rng.random(len(AU_NAMES)) < 0.25)
    amounts[AU_NAMES.index("AU45")] *= 0.8
    shape += (amounts.astype(np.float32) @ tables.displacements.reshape(len(AU_NAMES), -1)).reshape(-1, 3)
    pitch, yaw, roll = rng.uniform(-1, 1, 3) * (0.2, 0.45, 0.2)
    iod = side * rng.uniform(0.34, 0.40)
    base = np.array([0.5, 0.5]) * side + rng.uniform(-0.03, 0.03, 2) * side
    project = Projection(base.astype(np.float32), np.float32(iod))
    screen = project(shape, rotation_matrix(pitch, yaw, roll)).astype(np.float64)
    points = np.column_stack([screen[:, :2] / iod * (1, -1), screen[:, 2]])
    screen[:, 2] = AWAY_IOD - screen[:, 2]
    return points, screen


def _mesh_parts() -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The mesh's triangles with mouth and eyes closed (n, 3), and the part that each belongs to."""
    tables = face_tables()
    triangles = np.concatenate([tables.skin_triangles, tables.opening_triangles])
    parts = np.full(len(triangles), SKIN)
    lips = mesh.UPPER_LIP + mesh.LOWER_LIP + mesh.MOUTH_OPENING + (61, 291)
    for part, vertices in ((LIP, lips), (BROW, _BROWS)):
        parts[np.isin(triangles, vertices).all(axis=1)] = part
    opening = np.arange(len(triangles)) >= len(tables.skin_triangles)
    in_mouth = np.isin(triangles, mesh.MOUTH_OPENING).all(axis=1)
    parts[opening] = np.where(in_mouth, MOUTH, WHITE)[opening]
    return triangles, parts


def _drawn(
    screen: Floats, triangles: NDArray[np.int32], side: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Which triangle each pixel shows, −1 for none, and the weights of its first two corners."""
    depth = np.zeros((side, side), dtype=np.float32)
    owner = np.full((side, side), -1, dtype=np.int32)
    weights = np.zeros((side, side, 2), dtype=np.float32)
    opaque = np.full((1, 1), 255, dtype=np.uint8)
    raster(screen, triangles, np.zeros((len(screen), 2)), opaque, 0, depth, owner, weights)
    return owner, weights


def _light(
    rng: np.random.Generator,
    points: Floats,
    triangles: NDArray[np.int32],
    owner: NDArray[np.int32],
    weights: NDArray[np.float32],
) -> Floats:
    """(n,) how bright each visible pixel is: one lamp and the room."""
    corners = points[triangles]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(points)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], flat)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    # The mesh's triangles may run either way round; skin faces the camera.
    normals *= np.sign(normals[:, 2].sum())
    first, second = weights[:, :1], weights[:, 1:]
    a, b, c = (normals[triangles[owner, corner]] for corner in range(3))
    smooth = first * a + second * b + (1 - first - second) * c
    smooth /= np.linalg.norm(smooth, axis=1, keepdims=True) + 1e-12
    lamp = np.array([rng.uniform(-0.8, 0.8), rng.uniform(0.0, 0.7), 1.0])
    lamp /= np.linalg.norm(lamp)
    return np.asarray(0.35 + 0.75 * np.clip(smooth @ lamp, 0, None))


def _draw_hair(rng: np.random.Generator, screen: Floats, parts: NDArray[np.int64]) -> None:
    """A round head of hair behind the face."""
    oval = screen[list(mesh.OVAL), :2]
    middle, reach = oval.mean(axis=0), np.ptp(oval, axis=0) / 2
    centre = middle - (0, 0.22 * reach[1])
    axes = reach * (rng.uniform(1.05, 1.25), rng.uniform(1.0, 1.15))
    mask = np.zeros(parts.shape, dtype=np.uint8)
    cv2.ellipse(
        mask, np.rint(centre).astype(int).tolist(), np.rint(axes).astype(int).tolist(), 0, 0, 360, 1, -1
    )
    parts[mask > 0] = HAIR


def _draw_irises(rng: np.random.Generator, screen: Floats, parts: NDArray[np.int64]) -> None:
    """Both irises look the same way, and show where an eye is open."""
    iod = np.linalg.norm(screen[33, :2] - screen[263, :2])
    gaze = rng.uniform(-0.06, 0.06, 2) * iod
    mask = np.zeros(parts.shape, dtype=np.uint8)
    for contour in (mesh.RIGHT_EYE_OPENING, mesh.LEFT_EYE_OPENING):
        centre = screen[list(contour), :2].mean(axis=0) + gaze
        cv2.circle(mask, np.rint(centre).astype(int).tolist(), round(_IRIS_IOD * iod), 1, -1)
    parts[(mask > 0) & (parts == WHITE)] = IRIS


def _palette(rng: np.random.Generator) -> Floats:
    """(8, 3) RGB levels of the parts in A."""
    skin = np.array([225, 175, 145]) * rng.uniform(0.45, 1.05) * (1 + rng.uniform(-0.06, 0.06, 3))
    hair = np.array([70, 50, 35]) * rng.uniform(0.4, 2.2)
    iris = np.array([[90, 60, 35], [80, 120, 150], [90, 120, 80]])[rng.integers(3)]
    lip = skin * (1.0, 0.62, 0.62)
    return np.array(
        [rng.uniform(60, 220, 3), hair, skin, hair * 0.8, [235, 235, 235], iris, lip, [70, 20, 20]],
        dtype=np.float64,
    )


def parser() -> argparse.ArgumentParser:
    """The command's flags."""
    result = Parser(description="Render faces and their part maps, to train image translation on.")
    add = result.add_argument
    add("--out", type=Path, required=True, help="folder of the data set")
    add("--count", type=int, default=1000, help="faces to train on (default: 1000)")
    add("--pairs", type=int, default=50, help="how many of these have a known map (default: 50)")
    add("--test", type=int, default=100, help="pairs that are not trained on (default: 100)")
    add("--size", type=int, default=64, help="side of the pictures (default: 64)")
    add("--seed", type=int, default=20)
    return result


def render(flags: argparse.Namespace) -> None:
    """Run the command. A ConfigError says in one line what failed and what to do."""
    if not 0 <= flags.pairs <= flags.count or flags.test < 0 or flags.seed < 0 or flags.size < 16:
        raise ConfigError(
            f"--count {flags.count} --pairs {flags.pairs} --test {flags.test} --seed {flags.seed} --size {flags.size}: "
            "pairs are at most as many as faces, nothing is negative, and the size is at least 16"
        )
    if flags.out.exists() and any(flags.out.iterdir()):
        raise ConfigError(f"{flags.out} is not empty; choose another --out, or delete it")
    unpaired = flags.count - flags.pairs
    # Faces without a known map come from other faces than the maps without a known face.
    rooms = [
        ("pairs", flags.pairs, "AB"),
        ("test", flags.test, "AB"),
        ("", unpaired, "A"),
        ("", unpaired, "B"),
    ]
    number = 0
    for room, count, domains in rooms:
        for _ in range(count):
            pictures = dict(zip("AB", scene(flags.seed, number, flags.size), strict=True))
            for domain in domains:
                write_picture(flags.out / room / domain / f"{number:05d}.png", pictures[domain])
            number += 1
    print(f"{flags.out}: {flags.pairs} pairs, {unpaired} faces, {unpaired} maps and {flags.test} test pairs")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives 0, 1 or 2."""
    return run_command(parser(), render, argv, stopped="stopped; delete what is there and start again")


if __name__ == "__main__":
    sys.exit(main())
