"""Read a VALID avatar: GLB with meshopt compression, quantised meshes, morph targets, a skeleton and WebP textures."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import meshoptimizer
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from icface.arrays import Array

_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_FILTERS = {
    "OCTAHEDRAL": meshoptimizer.decode_filter_oct,
    "QUATERNION": meshoptimizer.decode_filter_quat,
    "EXPONENTIAL": meshoptimizer.decode_filter_exp,
}


@dataclass(frozen=True)
class Part:
    """One mesh of an avatar (skin, an eye, a row of teeth, hair)."""

    name: str
    positions: Array
    """(n, 3) as stored; `bind` matrices lead to world space."""
    uv: Array
    """(n, 2)."""
    triangles: NDArray[np.int32]
    joints: NDArray[np.intp]
    """(n, 4) rows of `joint_nodes`."""
    weights: Array
    """(n, 4), rows sum to 1."""
    joint_nodes: NDArray[np.intp]
    bind: Array
    """(joints, 4, 4) inverse bind matrices."""
    morphs: dict[str, Array]
    """(n, 3) displacement of a whole movement, by name without its prefix."""
    texture: NDArray[np.uint8]
    """(h, w, 4) RGBA, sRGB."""


@dataclass(frozen=True)
class Avatar:
    """A person to render."""

    name: str
    parts: tuple[Part, ...]
    node_names: tuple[str, ...]
    parents: NDArray[np.intp]
    """Parent of each node, −1 at the root."""
    local: Array
    """(nodes, 4, 4) resting transforms."""


class _File:
    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        length = struct.unpack_from("<I", content, 12)[0]
        self.json: dict[str, Any] = json.loads(content[20 : 20 + length])
        self._binary = content[20 + length + 8 :]
        self._views: dict[int, bytes] = {}

    def view(self, index: int) -> tuple[bytes, int]:
        """Bytes of a buffer view, decompressed, and its stride (0: packed)."""
        raw = self.json["bufferViews"][index]
        packed = raw.get("extensions", {}).get("EXT_meshopt_compression")
        if packed is None:
            start = raw.get("byteOffset", 0)
            return self._binary[start : start + raw["byteLength"]], raw.get("byteStride", 0)
        if index not in self._views:
            self._views[index] = self._decompress(packed)
        return self._views[index], packed["byteStride"] if packed["mode"] == "ATTRIBUTES" else 0

    def _decompress(self, packed: dict[str, Any]) -> bytes:
        start, count, stride = packed.get("byteOffset", 0), packed["count"], packed["byteStride"]
        data = self._binary[start : start + packed["byteLength"]]
        if packed["mode"] == "ATTRIBUTES":
            rows = np.dtype((np.void, stride))
            decoded = meshoptimizer.decode_vertex_buffer(count, stride, data, dtype=rows)
            name = packed.get("filter", "NONE")
            return bytes((decoded if name == "NONE" else _FILTERS[name](decoded, count, stride)).tobytes())
        if packed["mode"] == "INDICES":
            decoded = meshoptimizer.decode_index_sequence(count, stride, data)
        else:
            decoded = meshoptimizer.decode_index_buffer(count, stride, data)
        # Two-byte indices fill the first half of what the package calls an array of four-byte ones.
        return np.ascontiguousarray(decoded).tobytes()[: count * stride]

    def accessor(self, index: int) -> NDArray[Any]:
        """(count, width) values; normalised integers become floats."""
        raw = self.json["accessors"][index]
        kind, width, count = np.dtype(_COMPONENTS[raw["componentType"]]), _WIDTHS[raw["type"]], raw["count"]
        values = self._strided(raw, kind, width, count)
        if sparse := raw.get("sparse"):
            where = np.dtype(_COMPONENTS[sparse["indices"]["componentType"]])
            rows = self._strided(sparse["indices"], where, 1, sparse["count"])[:, 0]
            values[rows] = self._strided(sparse["values"], kind, width, sparse["count"])
        if raw.get("normalized"):
            return np.asarray(np.maximum(values.astype(np.float64) / float(np.iinfo(kind.type).max), -1.0))
        return values

    def floats(self, index: int) -> Array:
        return self.accessor(index).astype(np.float64)

    def _strided(self, raw: dict[str, Any], kind: np.dtype[Any], width: int, count: int) -> NDArray[Any]:
        if "bufferView" not in raw:
            return np.zeros((count, width), dtype=kind)
        content, stride = self.view(raw["bufferView"])
        strides = (stride or kind.itemsize * width, kind.itemsize)
        return np.ndarray((count, width), kind, content, raw.get("byteOffset", 0), strides).copy()


def load_avatar(path: Path) -> Avatar:
    """Read one avatar."""
    file = _File(path)
    raw = file.json
    textures = []
    for material in raw["materials"]:
        texture = raw["textures"][material["pbrMetallicRoughness"]["baseColorTexture"]["index"]]
        source = texture.get("extensions", {}).get("EXT_texture_webp", texture)["source"]
        content, _ = file.view(raw["images"][source]["bufferView"])
        textures.append(np.array(Image.open(io.BytesIO(content)).convert("RGBA"), dtype=np.uint8))
    parts = tuple(_part(file, node, textures) for node in raw["nodes"] if "mesh" in node)
    parents = np.full(len(raw["nodes"]), -1, dtype=np.intp)
    for index, node in enumerate(raw["nodes"]):
        parents[node.get("children", [])] = index
    return Avatar(
        name=path.stem,
        parts=parts,
        node_names=tuple(node.get("name", "") for node in raw["nodes"]),
        parents=parents,
        local=np.stack([_local(node) for node in raw["nodes"]]),
    )


def _part(file: _File, node: dict[str, Any], textures: Sequence[NDArray[np.uint8]]) -> Part:
    mesh, skin = file.json["meshes"][node["mesh"]], file.json["skins"][node["skin"]]
    primitive = mesh["primitives"][0]
    attributes = primitive["attributes"]
    morphs = {}
    names = mesh.get("extras", {}).get("targetNames", [])
    for name, target in zip(names, primitive.get("targets", []), strict=True):
        morphs[name.split(".")[-1].removesuffix("_h").removeprefix("t_")] = file.floats(target["POSITION"])
    weights = file.floats(attributes["WEIGHTS_0"])
    material = file.json["materials"][primitive["material"]]["pbrMetallicRoughness"]["baseColorTexture"]
    transform = material.get("extensions", {}).get("KHR_texture_transform", {})
    return Part(
        name=mesh["name"],
        positions=file.floats(attributes["POSITION"]),
        uv=file.floats(attributes["TEXCOORD_0"]) * transform.get("scale", 1) + transform.get("offset", 0),
        triangles=file.accessor(primitive["indices"]).astype(np.int32).reshape(-1, 3),
        joints=file.accessor(attributes["JOINTS_0"]).astype(np.intp),
        weights=weights / np.maximum(weights.sum(1, keepdims=True), 1e-9),
        joint_nodes=np.array(skin["joints"], dtype=np.intp),
        # MAT4 is stored by columns.
        bind=file.floats(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1),
        morphs=morphs,
        texture=textures[primitive["material"]],
    )


def _local(node: dict[str, Any]) -> Array:
    if "matrix" in node:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    matrix = np.eye(4)
    x, y, z, w = node.get("rotation", [0, 0, 0, 1])
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, :3] *= np.array(node.get("scale", [1, 1, 1]))
    matrix[:3, 3] = node.get("translation", [0, 0, 0])
    return matrix
