"""Render an avatar like a webcam or a portrait would see it: exact pose, exact expression, soft studio light."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from training.avatars.glb import Avatar, Part
from training.avatars.raster import raster

Array = NDArray[np.float64]
Frame = NDArray[np.uint8]

SUPERSAMPLING = 2
ARMS_DOWN_RAD = 1.15


@dataclass(frozen=True, kw_only=True)
class View:
    """A camera in front of the head, and the light."""

    width_px: int = 640
    height_px: int = 480
    head_px: float = 250.0
    """Height of the face from chin to hairline in the picture, about."""
    centre: tuple[float, float] = (0.5, 0.47)
    """Where the face's middle lies, parts of width and height."""
    distance_m: float = 0.75
    background: tuple[tuple[int, int, int], tuple[int, int, int]] = ((92, 98, 108), (48, 52, 60))
    """sRGB at the top and at the bottom."""
    key_direction: tuple[float, float, float] = (-0.45, 0.55, 0.75)


@dataclass(frozen=True, kw_only=True)
class Performance:
    """A moment of acting."""

    pitch_rad: float = 0.0
    """+ looks down."""
    yaw_rad: float = 0.0
    """+ turns the nose to image-left."""
    roll_rad: float = 0.0
    """+ turns the eye line clockwise in the picture."""
    morphs: Mapping[str, float] = field(default_factory=dict)
    """Weight of each named morph target."""


def turn(performance: Performance, share: float) -> Array:
    """World rotation (3, 3), x to the image's right, y up, z to the camera."""
    pitch, yaw, roll = (
        share * angle for angle in (performance.pitch_rad, performance.yaw_rad, performance.roll_rad)
    )
    cx, sx, cy, sy, cz, sz = np.cos(pitch), np.sin(pitch), np.cos(yaw), np.sin(yaw), np.cos(roll), np.sin(roll)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    about_z = np.array([[cz, sz, 0], [-sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_x @ about_y @ about_z)


class Studio:
    """Renders one avatar; keeps what does not change from frame to frame."""

    def __init__(self, avatar: Avatar, view: View) -> None:
        self._avatar = avatar
        self._view = view
        self._rest = self._globals({})
        names = list(avatar.node_names)
        self._neck, self._head = names.index("Neck"), names.index("Head")
        # They are modelled with their arms spread; the subject's right is at the picture's left.
        self._arms = {
            names.index("RightArm"): turn(Performance(roll_rad=-ARMS_DOWN_RAD), 1.0),
            names.index("LeftArm"): turn(Performance(roll_rad=ARMS_DOWN_RAD), 1.0),
        }
        eyes = [self._rest[names.index(name)][:3, 3] for name in ("LeftEye", "RightEye")]
        self._eyes = np.mean(eyes, axis=0)
        self._textures = {part.name: _linear(part.texture) for part in avatar.parts}
        # Corners shared by triangles that meet on a texture seam are one point of the surface.
        self._seams = {part.name: _same_points(part.positions) for part in avatar.parts}
        height, width = view.height_px * SUPERSAMPLING, view.width_px * SUPERSAMPLING
        self._depth = np.zeros((height, width), dtype=np.float32)
        self._owner = np.zeros((height, width), dtype=np.int32)
        self._weights = np.zeros((height, width, 2), dtype=np.float32)
        self._background = self._paint_background()

    def frame(self, performance: Performance) -> Frame:
        """(height, width, 3) RGB."""
        nodes = self._globals(
            self._arms | {self._neck: turn(performance, 0.4), self._head: turn(performance, 0.6)}
        )
        self._depth[:] = 0
        self._owner[:] = -1
        meshes, first = [], 0
        for part in self._avatar.parts:
            points = _skinned(part, nodes, performance.morphs)
            screen = self._project(points)
            raster(
                screen, part.triangles, part.uv, np.ascontiguousarray(part.texture[..., 3]), first,
                self._depth, self._owner, self._weights,
            )  # fmt: skip
            meshes.append((part, points, first))
            first += len(part.triangles)
        picture = self._background.copy()
        for part, points, start in meshes:
            self._shade(part, points, start, picture, performance)
        small = cv2.resize(
            picture, (self._view.width_px, self._view.height_px), interpolation=cv2.INTER_AREA
        )
        return _encode(small)

    def _globals(self, turns: dict[int, Array]) -> Array:
        """(nodes, 4, 4) world transforms, with world rotations added at some joints."""
        avatar = self._avatar
        result = np.zeros_like(avatar.local)
        done = np.zeros(len(avatar.local), dtype=np.bool_)

        def visit(node: int) -> None:
            if done[node]:
                return
            parent = avatar.parents[node]
            if parent >= 0:
                visit(int(parent))
                result[node] = result[parent] @ avatar.local[node]
            else:
                result[node] = avatar.local[node]
            if node in turns:
                pivot = result[node][:3, 3].copy()
                move = np.eye(4)
                move[:3, :3] = turns[node]
                move[:3, 3] = pivot - turns[node] @ pivot
                result[node] = move @ result[node]
            done[node] = True

        for node in range(len(avatar.local)):
            visit(node)
        return result

    def _project(self, points: Array) -> Array:
        view = self._view
        focal = view.head_px * SUPERSAMPLING * view.distance_m / 0.20
        # The face's middle lies a little under the eyes.
        relative = points - (self._eyes - [0, 0.025, 0])
        away = view.distance_m - relative[:, 2]
        x = view.centre[0] * view.width_px * SUPERSAMPLING + focal * relative[:, 0] / away
        y = view.centre[1] * view.height_px * SUPERSAMPLING - focal * relative[:, 1] / away
        return np.stack([x, y, away], axis=1)

    def _paint_background(self) -> NDArray[np.float32]:
        height, width = self._depth.shape
        top, bottom = (_decode(np.array(colour)) for colour in self._view.background)
        y, x = np.mgrid[:height, :width].astype(np.float32)
        blend = (y / height)[..., None]
        glow = np.exp(-(((x / width - 0.5) / 0.55) ** 2) - ((y / height - 0.35) / 0.6) ** 2)[..., None]
        return ((top * (1 - blend) + bottom * blend) * (0.65 + 0.5 * glow)).astype(np.float32)

    def _shade(
        self, part: Part, points: Array, first: int, picture: NDArray[np.float32], performance: Performance
    ) -> None:
        rows, cols = np.nonzero((self._owner >= first) & (self._owner < first + len(part.triangles)))
        if rows.size == 0:
            return
        triangle = part.triangles[self._owner[rows, cols] - first]
        weight = np.empty((rows.size, 3))
        weight[:, :2] = self._weights[rows, cols]
        weight[:, 2] = 1 - weight[:, 0] - weight[:, 1]

        def mix(values: Array) -> Array:
            return np.asarray((values[triangle] * weight[..., None]).sum(1))

        normal = mix(_normals(points, part.triangles, self._seams[part.name]))
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        place = mix(points)
        towards = self._eyes + [0, 0, self._view.distance_m] - place
        towards /= np.linalg.norm(towards, axis=1, keepdims=True)
        # Hair cards are seen from both sides.
        facing = np.sign((normal * towards).sum(1, keepdims=True))
        normal *= np.where(facing == 0, 1, facing)
        colour = _sample(self._textures[part.name], mix(part.uv))

        key = np.array(self._view.key_direction) / np.linalg.norm(self._view.key_direction)
        wrap = 0.35
        lit = np.clip(((normal @ key) + wrap) / (1 + wrap), 0, 1)[:, None]
        fill = np.clip(normal @ np.array([0.66, 0.1, 0.74]), 0, 1)[:, None]
        sky = (0.5 + 0.5 * normal[:, 1:2]) * 0.22 + 0.16
        rim = np.clip(1 - (normal * towards).sum(1, keepdims=True), 0, 1) ** 4
        # Light that entered the skin comes out redder where the key grows weak.
        bleed = np.array([1.0, 0.90, 0.86]) ** (3 * (1 - lit)) if part.name.startswith("H_") else 1.0
        light = 0.80 * lit * bleed + 0.22 * fill + sky
        half = key + towards
        half /= np.linalg.norm(half, axis=1, keepdims=True)
        shine = np.clip((normal * half).sum(1, keepdims=True), 0, 1)
        gloss = 0.05 * shine**18
        if "eye" in part.name.lower():
            gloss = 0.9 * shine**220 + 0.04 * shine**12
        elif "Teeth" in part.name:
            # Lips keep the light out: the deeper behind the face, the darker.
            opening = min(1.0, sum(performance.morphs.get(name, 0.0) for name in _OPENING))
            light = light * (0.30 + 0.22 * opening)
            gloss = 0.12 * shine**30 * opening
        elif "wig" in part.name:
            gloss = 0.10 * shine**14
        picture[rows, cols] = colour * light + gloss + 0.05 * rim


_OPENING = ("MouthOpen", "AE_AA", "AO_a", "Shout", "RsmileOpen")


def _same_points(positions: Array) -> NDArray[np.intp]:
    """(n,) a number for each vertex, equal where positions coincide."""
    _, inverse = np.unique(np.round(positions, 7), axis=0, return_inverse=True)
    return np.asarray(inverse.reshape(-1), dtype=np.intp)


def _skinned(part: Part, nodes: Array, morphs: Mapping[str, float]) -> Array:
    """(n, 3) world positions."""
    positions = part.positions.copy()
    for name, weight in morphs.items():
        if weight != 0.0 and name in part.morphs:
            positions += weight * part.morphs[name]
    matrices = nodes[part.joint_nodes] @ part.bind
    blended = (matrices[part.joints] * part.weights[..., None, None]).sum(1)
    return np.einsum("nij,nj->ni", blended[:, :3, :3], positions) + blended[:, :3, 3]


def _normals(points: Array, triangles: NDArray[np.int32], seams: NDArray[np.intp]) -> Array:
    """(n, 3) smooth normals, weighted by area."""
    a, b, c = (points[triangles[:, i]] for i in range(3))
    face = np.cross(b - a, c - a)
    total = np.zeros((int(seams.max()) + 1, 3))
    for i in range(3):
        for axis in range(3):
            total[:, axis] += np.bincount(seams[triangles[:, i]], face[:, axis], minlength=len(total))
    normals = total[seams]
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-15))


def _linear(texture: Frame) -> NDArray[np.float32]:
    """RGB in linear light, at the size where one texel is about one sample."""
    reduced = cv2.resize(texture[..., :3], None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
    return _decode(reduced).astype(np.float32)


def _decode(srgb: NDArray[np.generic]) -> NDArray[np.float64]:
    values = srgb.astype(np.float64) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _encode(linear: NDArray[np.generic]) -> Frame:
    values = np.clip(linear.astype(np.float64), 0, None)
    values = np.where(values > 0.8, 0.8 + 0.2 * np.tanh((values - 0.8) / 0.2), values)  # soft highlights
    encoded = np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)
    return np.clip(np.round(encoded * 255), 0, 255).astype(np.uint8)


def _sample(texture: NDArray[np.float32], uv: Array) -> Array:
    """(n, 3) bilinear colours."""
    height, width = texture.shape[:2]
    size = 1 << 14  # cv2.remap wants fewer than 32768 columns
    rows = -(-len(uv) // size)
    flat = np.zeros((rows * size, 2), dtype=np.float32)
    flat[: len(uv)] = uv * [width, height] - 0.5
    maps = flat.reshape(rows, size, 2)
    sampled = cv2.remap(texture, maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(sampled.reshape(-1, 3)[: len(uv)], dtype=np.float64)
