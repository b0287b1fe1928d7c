"""Renders an avatar as a webcam or a portrait shows a person: exact pose, exact expression, soft studio light."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from icface.arrays import Array, Frame
from training.avatars.light import ShadowMaps, studio_lights
from training.avatars.raster import raster
from training.avatars.shade import EYE, HAIR, MOUTH, SKIN, shade

if TYPE_CHECKING:  # rendering needs no decoder of compressed files
    from training.avatars.glb import Avatar, Part


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
    key_direction: tuple[float, float, float] = (-0.45, 0.50, 0.75)
    grain: float = 0.0
    """Standard deviation of the sensor's noise in sRGB levels."""


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


def turn(performance: Performance, share: float = 1.0) -> Array:
    """World rotation (3, 3), x to the image's right, y up, z to the camera."""
    angles = share * np.array([performance.pitch_rad, -performance.yaw_rad, -performance.roll_rad])
    return np.asarray(Rotation.from_euler("XYZ", angles).as_matrix())


class Studio:
    """Renders one avatar; keeps what does not change from frame to frame."""

    def __init__(self, avatar: Avatar, view: View) -> None:
        self._avatar = avatar
        self._view = view
        self._order = sorted(range(len(avatar.parents)), key=lambda node: _depth(avatar.parents, node))
        names = list(avatar.node_names)
        self._neck, self._head = names.index("Neck"), names.index("Head")
        # Avatars are modelled with their arms spread. The subject's right is at the picture's left.
        self._arms = {
            names.index("RightArm"): turn(Performance(roll_rad=-ARMS_DOWN_RAD)),
            names.index("LeftArm"): turn(Performance(roll_rad=ARMS_DOWN_RAD)),
        }
        self._eyes = self._globals({})[[names.index("LeftEye"), names.index("RightEye")], :3, 3].mean(axis=0)
        self._pyramids = {part.name: pyramid(part.texture) for part in avatar.parts}
        self._opacity = {part.name: np.ascontiguousarray(part.texture[..., 3]) for part in avatar.parts}
        self._lights = studio_lights(view.key_direction)
        self._shadows = ShadowMaps(self._lights, self._eyes - [0, 0.06, 0.04])
        # Corners shared by triangles that meet on a texture seam are one point of the surface.
        self._seams = {
            part.name: np.unique(np.round(part.positions, 7), axis=0, return_inverse=True)[1].reshape(-1)
            for part in avatar.parts
        }
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
        self._shadows.maps[:] = 0
        meshes, first = [], 0
        for part in self._avatar.parts:
            points = _skinned(part, nodes, performance.morphs)
            screen = self._project(points)
            opacity = self._opacity[part.name]
            raster(screen, part.triangles, part.uv, opacity, first, self._depth, self._owner, self._weights)
            self._shadows.add(points, part.triangles, part.uv, opacity)
            meshes.append((part, points, screen, first))
            first += len(part.triangles)
        picture = self._background.copy()
        camera = (self._eyes + np.array([0, -0.025, self._view.distance_m])).astype(np.float32)
        for part, points, screen, first in meshes:
            normals = _normals(points, part.triangles, self._seams[part.name])
            shade(
                self._owner, self._weights, first, part.triangles, screen,
                points.astype(np.float32), normals.astype(np.float32), part.uv.astype(np.float32),
                *self._pyramids[part.name], camera, self._lights, self._shadows.maps, self._shadows.to_maps,
                _material(part.name), picture,
            )  # fmt: skip
        size = (self._view.width_px, self._view.height_px)
        linear = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
        # The grain is the same at each call.
        grain = np.random.default_rng(7).standard_normal(linear.shape[:2])[..., None] * self._view.grain
        return np.clip(np.round(_encode(linear) + grain), 0, 255).astype(np.uint8)

    def _globals(self, turns: dict[int, Array]) -> Array:
        """(nodes, 4, 4) world transforms, with world rotations added at some joints."""
        result = self._avatar.local.copy()
        for node in self._order:
            parent = self._avatar.parents[node]
            if parent >= 0:
                result[node] = result[parent] @ result[node]
            if node in turns:
                pivot = result[node, :3, 3].copy()
                move = np.eye(4)
                move[:3, :3] = turns[node]
                move[:3, 3] = pivot - turns[node] @ pivot
                result[node] = move @ result[node]
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
        return np.asarray((top * (1 - blend) + bottom * blend) * (0.65 + 0.5 * glow), dtype=np.float32)


def _depth(parents: NDArray[np.intp], node: int) -> int:
    """How many joints a node hangs on; parents come before their children in this order."""
    parent = int(parents[node])
    return 0 if parent < 0 else 1 + _depth(parents, parent)


def _material(name: str) -> int:
    if "eye" in name.lower():
        return EYE
    if "Teeth" in name or "gland" in name:
        return MOUTH
    return HAIR if "wig" in name else SKIN


def _skinned(part: Part, nodes: Array, morphs: Mapping[str, float]) -> Array:
    """(n, 3) world positions."""
    positions = part.positions.copy()
    for name, weight in morphs.items():
        if weight != 0.0 and name in part.morphs:
            positions += weight * part.morphs[name]
    matrices = nodes[part.joint_nodes] @ part.bind
    blended = (matrices[part.joints] * part.weights[..., None, None]).sum(1)
    return np.asarray(np.einsum("nij,nj->ni", blended[:, :3, :3], positions) + blended[:, :3, 3])


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


def pyramid(texture: Frame) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The texture and its halvings, as `shade` reads them: texels (t, 4) linear RGB and skin, levels (k, 3)."""
    colour = _decode(texture[..., :3]).astype(np.float32)
    # Skin of every tone is redder than blue; shirts of these avatars are grey, blue or black.
    red, blue = colour[..., 0], colour[..., 2]
    skin = np.clip((red / (blue + 0.01) - 1.25) / 0.4, 0, 1)
    image = np.dstack([colour, skin.astype(np.float32)])
    texels, levels, start = [], [], 0
    while True:
        height, width = image.shape[:2]
        texels.append(image.reshape(-1, 4))
        levels.append((start, height, width))
        start += height * width
        if min(height, width) <= 8:
            return np.concatenate(texels), np.array(levels, dtype=np.int64)
        half = (width // 2, height // 2)
        image = np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), dtype=np.float32)


def _decode(srgb: NDArray[np.generic]) -> NDArray[np.float64]:
    values = srgb.astype(np.float64) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _encode(linear: NDArray[np.float32]) -> NDArray[np.float64]:
    """sRGB 0 to 255, not rounded; highlights roll off instead of clipping."""
    values = np.clip(linear.astype(np.float64), 0, None)
    values = np.where(values > 0.7, 0.7 + 0.3 * np.tanh((values - 0.7) / 0.3), values)
    return 255 * np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)
