"""How everything around the face moves with it: the backward map of a crop on a coarse grid.

The head keeps its outline, hair follows the head, and the body follows a little. Where a source has one layer only, the
room bends with them, and the flow fades to nothing at the crop's border.
"""

from __future__ import annotations

from typing import Final

import cv2
import numba as nb
import numpy as np

from icface.arrays import Array, Tensors
from icface.attributes import FloatArray
from icface.compiled import compiled
from icface.geometry import topology as mesh
from icface.geometry.follow import head_share, hung, sampled, smooth
from icface.geometry.outline import is_heads, outline_by_angle
from icface.geometry.shape import FACE_CENTRE, PIVOT, Projection, ring_place
from icface.images import AT_EDGE_PX

JAW_FOLLOW: Final = 0.75
"""Share of the oval's expression that what lies around it follows. The jaw's outline lies outside of the oval."""
OUTLINE: Final = 0.85
"""How much the head's outline moves as a flat board does: a round volume keeps its outline when it turns."""
ROUND: Final = 3.0
"""The power with which this sets in from face to outline: near the outline, where a head rounds off."""
BORDER_CELLS: Final = 5.0
"""Over so many nodes the flow fades towards a still border."""
BENDING_CELLS: Final = 16.0
"""The same where the room bends with the head: the farther, the less it folds."""
LEAN: Final = 0.12
"""Share of the head's roll by which the body leans about the hips."""
NOD: Final = 0.15
"""How much the body sinks with a nod, of its height over the hips."""
HIPS: Final = 3.6
"""Below the head's pivot, in IOD."""
LEAST_CUT: Final = 0.02
"""An edge of the photo that covers less of the person than this does not cut them."""
_SKULL: Final = np.array([[0.0, -0.20, -0.75]], dtype=np.float32)
_OVAL: Final = np.array(mesh.OVAL, dtype=np.intp)


class HeadFlow:
    """The flow of one source.

    Args:
        cache: what `prepare_source` made.
        project: from head space to pixels of the crop.
        step: pixels from node to node.
        nodes: rows and columns of the crop's nodes.
        still_border: whether nothing moves at the crop's border.
    """

    def __init__(
        self, cache: Tensors, project: Projection, step: int, nodes: tuple[int, int], still_border: bool
    ) -> None:
        rows, cols = nodes
        self._project, self._step = project, float(step)
        self._neutral = cache["neutral_shape"]
        rotation, base, iod = cache["rotation"], cache["base_px"], float(cache["iod_px"])
        height = cache["plate"].shape[0]
        self._beyond = int(np.ceil(int(cache["margin"]) / step))
        node_y, node_x = np.mgrid[-self._beyond : rows + self._beyond, -self._beyond : cols + self._beyond]
        places = np.stack([node_x, node_y], axis=-1).astype(np.float32) * step

        # Each node's place in head space, at a depth that depends on where around the face it lies.
        oval = self._neutral[_OVAL]
        out = oval[:, :2] - FACE_CENTRE
        angles = np.arctan2(out[:, 1], out[:, 0])
        order = np.argsort(angles)
        around = np.concatenate([angles[order] - 2 * np.pi, angles[order], angles[order] + 2 * np.pi])

        def by_angle(values: Array, at: Array) -> Array:
            return np.interp(at, around, np.tile(values[order], 3))

        radius = np.linalg.norm(out, axis=1)
        up = np.clip(out[:, 1] / np.abs(out[:, 1]).max(), -1, 1)
        flat = (places - base) / iod * [1, -1]
        unturned = np.linalg.inv(rotation[:2, :2]).T
        z = np.full(places.shape[:2], -0.6)
        for _ in range(4):
            xy = (flat - (z - PIVOT[2])[..., None] * rotation[:2, 2]) @ unturned + PIVOT[:2]
            away = xy - FACE_CENTRE
            angle = np.arctan2(away[..., 1], away[..., 0])
            ratio = np.linalg.norm(away, axis=-1) / by_angle(radius, angle)
            lift = by_angle(up, angle)
            z0 = by_angle(oval[:, 2], angle)
            first, z1 = ring_place(z0, lift)
            second = 1.5 + 0.45 * np.clip(lift, 0, 1)
            near = np.clip((ratio - 1) / (first - 1), 0, 1)
            inner = z0 + (z1 - z0) * near ** (1 + np.clip(lift, 0, 1))
            outer = z1 - 0.25 * (ratio - first) / (second - first)
            z = np.where(
                ratio < 1,
                z0 + (1 - ratio) * 0.5,
                np.where(ratio < first, inner, np.maximum(outer, z1 - 0.25)),
            )
        z = cv2.GaussianBlur(z, (0, 0), 1.0)
        xy = (flat - (z - PIVOT[2])[..., None] * rotation[:2, 2]) @ unturned + PIVOT[:2]
        y = np.minimum(xy[..., 1], PIVOT[1] + flat[..., 1])  # a body stays upright under a tilted head
        hair = sampled(cache["hair"], (places + int(cache["margin"])) / (height + 2 * int(cache["margin"])))
        hair *= smooth((ratio - 1.05) / 0.3)
        border = float(PIVOT[1] - (height - base[1]) / iod)
        weight = head_share(xy[..., 0], y, hair, border, still_border)
        head = np.dstack([xy[..., 0], hung(xy[..., 1], hair), z]).astype(np.float32)
        self._from_pivot = head - PIVOT
        self._rest = np.ascontiguousarray(project(head, rotation)[..., :2])
        layered = int(cache["margin"]) > 0
        self._weight = np.dstack([weight, layered * (1 - weight)]).astype(np.float32)
        self._freedom = np.ones(places.shape[:2], dtype=np.float32)
        if still_border:
            height_px, width_px = cache["plate"].shape[:2]
            x, y = places[..., 0], places[..., 1]
            sides = np.stack([x, y, width_px - 1 - x, height_px - 1 - y])
            if layered:
                beyond = (cache["edges"] - [0, 0, width_px - 1, height_px - 1]) * [-1, -1, 1, 1]
                sides[beyond < AT_EDGE_PX] = np.inf
            inwards = sides.min(axis=0) / step - 1
            # Shoulders that reach beyond the crop would bend at its border.
            shoulder = smooth((-0.7 - xy[..., 1]) / 0.6) * smooth((np.abs(xy[..., 0]) - 0.9) / 0.9)
            moving = (1 - shoulder) * smooth(inwards / (BORDER_CELLS if layered else BENDING_CELLS))
            self._freedom = moving.astype(np.float32)
            self._weight *= self._freedom[..., None]
        self._hips = base + np.array([0, HIPS * iod], dtype=np.float32)
        self._facing_rest = float(rotation[1, 2])
        board = smooth((ratio - 1.05) / (1.3 * second - 1.05))
        if layered:
            outline = by_angle(outline_by_angle(cache, project, radius, up, angles), angle)
            out = np.clip((ratio - 1) / (outline - 1), 0, 1)
            whole = is_heads(outline, lift)
            board += whole * (np.maximum(board, out**ROUND) - board)
        self._board = (OUTLINE * board).astype(np.float32)
        self._skull_rest = project(_SKULL, rotation)[0, :2]
        self._roll_rest = np.arctan2(rotation[0, 1], rotation[1, 1])

        # The oval's expression is carried outwards, to the nodes at the same angle.
        turn = np.angle(np.exp(1j * (angle[..., None] - angles)))
        near = np.exp(-((turn / 0.14) ** 2))
        fade = np.where(ratio < 1, 1, np.clip(1 - (ratio - 1) / 0.5, 0, 1))
        follow = JAW_FOLLOW * near / near.sum(axis=-1, keepdims=True) * smooth(fade)[..., None]
        self._followers = np.flatnonzero(fade.reshape(-1) > 0)
        self._follow = follow.reshape(-1, len(_OVAL))[self._followers].astype(np.float32)
        self._motion = np.empty_like(self._rest)
        # The photo's edges that cut the person: axis, position, which side of it is outside, and how far it cuts.
        last_px = cache["edge_cover"].shape[1] - 1
        covers = cache["edge_cover"][:, np.minimum(np.arange(max(rows, cols)) * step, last_px)]
        self._edges = [
            (side % 2, float(edge), -1.0 if side < 2 else 1.0, np.ascontiguousarray(cover))
            for side, (edge, cover) in enumerate(zip(cache["edges"], covers, strict=True))
            if cover.max() > LEAST_CUT
        ]

    def move(self, shape: FloatArray, rotation: FloatArray) -> None:
        """Compute how far each node of the layer moves, for a face (468, 3) and a rotation."""
        turn = np.arctan2(rotation[0, 1], rotation[1, 1]) - self._roll_rest
        cos, sin = np.cos(turn), np.sin(turn)
        board = np.array([[cos, -sin], [sin, cos]], dtype=np.float32)
        cos, sin = np.cos(LEAN * turn), np.sin(LEAN * turn)
        sunk = NOD * (rotation[1, 2] - self._facing_rest)
        body = np.array([[cos - 1, -sin], [sin, cos - 1 + sunk]], dtype=np.float32)
        skull = self._project(_SKULL, rotation)[0, :2]
        project = self._project
        move_nodes(
            self._from_pivot, self._rest, self._weight, self._board, rotation, project.base_px, float(project.iod_px),
            board, self._skull_rest, skull, body, self._hips, self._motion,
        )  # fmt: skip
        expression = ((shape[_OVAL] - self._neutral[_OVAL]) @ rotation.T)[:, :2] * project.iod_px
        expression[:, 1] *= -1
        self._motion.reshape(-1, 2)[self._followers] += self._follow @ expression

    def at(self, points_px: FloatArray) -> FloatArray:
        """(n, 2) how far points (n, 2) of the crop move."""
        return self._sampled(self._motion, points_px)

    def freedom(self, points_px: FloatArray) -> FloatArray:
        """(n,) how much points (n, 2) of the crop may move, 0 to 1."""
        return self._sampled(self._freedom, points_px)

    def _sampled(self, nodes: FloatArray, points_px: FloatArray) -> FloatArray:
        where = points_px / self._step + self._beyond
        return np.asarray(cv2.remap(nodes, where[None, :, 0], where[None, :, 1], cv2.INTER_LINEAR)[0])

    def backward(self, grid: FloatArray) -> None:
        """Write the backward map of the crop's nodes, in pixels of the crop."""
        invert_flow(self._motion, self._step, self._beyond, grid)
        for axis, edge, sign, cover in self._edges:
            hold_edge(grid, self._step, axis, edge, sign, cover)


_F1 = nb.types.Array(nb.float32, 1, "C")
_F2 = nb.types.Array(nb.float32, 2, "C")
_F3 = nb.types.Array(nb.float32, 3, "C")


@compiled(_F3, _F3, _F3, _F2, _F2, _F1, nb.float32, _F2, _F1, _F1, _F2, _F1, _F3)
def move_nodes(
    from_pivot: FloatArray,
    rest: FloatArray,
    weight: FloatArray,
    outline: FloatArray,
    rotation: FloatArray,
    base: FloatArray,
    iod: float,
    board: FloatArray,
    skull_rest: FloatArray,
    skull: FloatArray,
    body: FloatArray,
    hips: FloatArray,
    motion: FloatArray,
) -> None:
    """How far each node moves: with the head, and at the head's outline as a flat board does.

    Args:
        from_pivot: (rows, cols, 3) head space, less PIVOT.
        rest: (rows, cols, 2) pixels at the photo's rotation.
        weight: (rows, cols, 2) how much each follows the head, and the body.
        outline: (rows, cols) how much each moves as a board.
        rotation: (3, 3) of the head.
        base: (2,) pixels of PIVOT.
        iod: pixels.
        board: (2, 2) the turn in the picture.
        skull_rest: (2,) pixels of the skull's centre at the photo's rotation.
        skull: (2,) now.
        body: (2, 2) times the distance from the hips is how far the body moves.
        hips: (2,) pixels.
        motion: (rows, cols, 2) is overwritten.
    """
    for row in range(from_pivot.shape[0]):
        for col in range(from_pivot.shape[1]):
            x, y, z = from_pivot[row, col, 0], from_pivot[row, col, 1], from_pivot[row, col, 2]
            px = base[0] + iod * (rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] * z)
            py = base[1] - iod * (rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] * z)
            rx, ry = rest[row, col, 0] - skull_rest[0], rest[row, col, 1] - skull_rest[1]
            bx = board[0, 0] * rx + board[0, 1] * ry + skull[0]
            by = board[1, 0] * rx + board[1, 1] * ry + skull[1]
            share, head, trunk = outline[row, col], weight[row, col, 0], weight[row, col, 1]
            hx, hy = rest[row, col, 0] - hips[0], rest[row, col, 1] - hips[1]
            lean_x, lean_y = body[0, 0] * hx + body[0, 1] * hy, body[1, 0] * hx + body[1, 1] * hy
            motion[row, col, 0] = head * (px + share * (bx - px) - rest[row, col, 0]) + trunk * lean_x
            motion[row, col, 1] = head * (py + share * (by - py) - rest[row, col, 1]) + trunk * lean_y


@compiled(_F3, nb.float32, nb.int64, _F3)
def invert_flow(motion: FloatArray, step: float, beyond: int, grid: FloatArray) -> None:
    """Where each node of the target comes from, given how far each node of the source moves: a damped fixed point.

    Args:
        motion: (rows + 2 · beyond, cols + 2 · beyond, 2) pixels.
        step: pixels from node to node.
        beyond: nodes that the source has more on each side.
        grid: (rows, cols, 2) is overwritten with pixel positions.
    """
    rows, cols = motion.shape[0], motion.shape[1]
    inverse = np.float32(1) / step
    for row in range(grid.shape[0]):
        for col in range(grid.shape[1]):
            tx, ty = np.float32(col) * step, np.float32(row) * step
            x, y = tx, ty
            if col > 0:  # the neighbour's answer is near
                x = grid[row, col - 1, 0] + step
                y = grid[row, col - 1, 1]
            # A damped fixed point. Undamped it diverges from 25° of yaw on.
            for _ in range(12):
                u = min(max(x * inverse + beyond, np.float32(0)), np.float32(cols - 1.001))
                v = min(max(y * inverse + beyond, np.float32(0)), np.float32(rows - 1.001))
                i, j = int(v), int(u)
                fv, fu = v - np.float32(i), u - np.float32(j)
                dx = (motion[i, j, 0] * (1 - fu) + motion[i, j + 1, 0] * fu) * (1 - fv) + (
                    motion[i + 1, j, 0] * (1 - fu) + motion[i + 1, j + 1, 0] * fu
                ) * fv
                dy = (motion[i, j, 1] * (1 - fu) + motion[i, j + 1, 1] * fu) * (1 - fv) + (
                    motion[i + 1, j, 1] * (1 - fu) + motion[i + 1, j + 1, 1] * fu
                ) * fv
                ex, ey = tx - dx - x, ty - dy - y
                x += np.float32(0.6) * ex
                y += np.float32(0.6) * ey
                if ex * ex + ey * ey < np.float32(1e-3):  # less than .02 pixels are left
                    break
            grid[row, col, 0] = x
            grid[row, col, 1] = y


@compiled(_F3, nb.float32, nb.int64, nb.float32, nb.float32, _F1)
def hold_edge(grid: FloatArray, step: float, axis: int, edge: float, sign: float, cover: FloatArray) -> None:
    """Keep samples from going beyond an edge of the photo where the person is cut by it: they come softly to rest there.

    Args:
        grid: (rows, cols, 2) changed in place.
        step: pixels from node to node.
        axis: 0 for an edge at the left or right, 1 for one above or below.
        edge: its position in crop pixels.
        sign: 1 where outside is at larger positions.
        cover: how far the person is cut there, row by row for axis 0, column by column for axis 1.
    """
    for row in range(grid.shape[0]):
        for col in range(grid.shape[1]):
            target = np.float32(col if axis == 0 else row) * step
            out = sign * (grid[row, col, axis] - target)
            if out <= 0:
                continue
            room = max(sign * (edge - target), np.float32(1e-3))
            share = cover[row if axis == 0 else col]
            held = room * (np.float32(1) - np.exp(-out / room))
            grid[row, col, axis] += sign * share * (held - out)
