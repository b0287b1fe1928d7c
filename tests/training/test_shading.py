"""Light and texture of the avatar renderer, by values worked out on paper."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from training.avatars.light import Lights, ShadowMaps, studio_lights
from training.avatars.raster import raster
from training.avatars.render import pyramid
from training.avatars.shade import HAIR, shade

OPAQUE = np.full((2, 2), 255, dtype=np.uint8)
WHITE = np.full((16, 16, 4), 255, dtype=np.uint8)


def one_lamp(direction: tuple[float, float, float]) -> Lights:
    where = np.array([direction]) / np.linalg.norm(direction)
    return Lights(
        directions=where.astype(np.float32),
        colours=np.array([[1.0, 0.5, 0.25]], dtype=np.float32),
        softness_m=np.array([0.0], dtype=np.float32),
        taps=np.array([1]),
        bias_m=np.array([0.001], dtype=np.float32),
    )


def square(half_m: float, z: float) -> NDArray[np.float64]:
    """Two triangles' corners, facing +z."""
    return np.array([[-half_m, -half_m, z], [half_m, -half_m, z], [half_m, half_m, z], [-half_m, half_m, z]])


TRIANGLES = np.array([[0, 1, 2], [0, 2, 3]], dtype=np.int32)
UV = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])


def lit_wall(lights: Lights, blocker: NDArray[np.float64] | None = None) -> NDArray[np.float32]:
    """(20, 20, 3) linear picture of a white wall of 0.2 m, seen from straight ahead."""
    wall = square(0.1, 0.0)
    shadows = ShadowMaps(lights, np.zeros(3), size_px=256)
    shadows.add(wall, TRIANGLES, UV, OPAQUE)
    if blocker is not None:
        shadows.add(blocker, TRIANGLES, UV, OPAQUE)
    screen = np.stack([9.5 + 100 * wall[:, 0], 9.5 - 100 * wall[:, 1], np.full(4, 5.0)], axis=1)
    depth = np.zeros((20, 20), dtype=np.float32)
    owner = np.full((20, 20), -1, dtype=np.int32)
    weights = np.zeros((20, 20, 2), dtype=np.float32)
    raster(screen, TRIANGLES, UV, OPAQUE, 0, depth, owner, weights)
    picture = np.zeros((20, 20, 3), dtype=np.float32)
    texels, levels = pyramid(WHITE)
    ahead = np.array([0, 0, 1], dtype=np.float32)
    shade(
        owner, weights, 0, TRIANGLES, screen, wall.astype(np.float32),
        np.tile(ahead, (4, 1)), UV.astype(np.float32), texels, levels, 5 * ahead,
        lights, shadows.maps, shadows.to_maps, HAIR, picture,
    )  # fmt: skip
    return picture


def test_light_falls_with_the_cosine_and_in_the_lamps_colour() -> None:
    """At 60° half the light: (0.5 + 0.08) / 1.08 with the wrap of 0.08, and 0.022 that always bounces."""
    picture = lit_wall(one_lamp((3**0.5, 0, 1)))
    expected = 0.022 + np.array([1, 0.5, 0.25]) * 0.58 / 1.08
    # Hair's gloss adds 0.03 · cos¹⁰(30°) · 0.5 at most.
    np.testing.assert_allclose(picture[10, 10], expected, atol=0.03 * 0.75**5 * 0.5 + 0.002)


def test_what_stands_between_throws_a_shadow_of_its_size() -> None:
    picture = lit_wall(one_lamp((0, 0, 1)), blocker=square(0.05, 0.1))
    np.testing.assert_allclose(picture[10, 10], 0.022, atol=1e-6)
    assert picture[10, 2, 0] > 1.0  # the wall does not shade itself
    dark = np.count_nonzero(picture[10, :, 0] < 0.5)
    assert dark == pytest.approx(10, abs=1)  # 0.1 m at 100 px/m


def test_a_shadow_falls_away_from_the_lamp() -> None:
    """Lamp from image-left at 45°, blocker 0.1 m before the wall: its shadow moves 0.1 m to image-right."""
    picture = lit_wall(one_lamp((-1, 0, 1)), blocker=square(0.03, 0.1) + np.array([-0.06, 0, 0]))
    columns = np.nonzero(picture[10, :, 0] < 0.3)[0]
    assert columns.mean() == pytest.approx(9.5 + 100 * 0.04, abs=0.8)


def test_the_studio_lights_a_forehead_about_as_bright_as_its_texture() -> None:
    lights = studio_lights((-0.45, 0.5, 0.75))
    cosines = np.clip(lights.directions @ np.array([0, 0, 1], dtype=np.float32), 0, None)
    total = (lights.colours * cosines[:, None]).sum(0)
    assert (total > 0.8).all() and (total < 1.25).all()
    np.testing.assert_allclose(np.linalg.norm(lights.directions, axis=1), 1, atol=1e-6)


def test_the_pyramid_halves_down_to_the_mean_and_knows_skin_from_cloth() -> None:
    texture = np.full((64, 32, 4), 255, dtype=np.uint8)
    texture[:, :16, :3] = (200, 150, 120)
    texture[:, 16:, :3] = (90, 120, 200)
    texels, levels = pyramid(texture)
    assert levels.tolist() == [[0, 64, 32], [2048, 32, 16], [2560, 16, 8]]
    assert len(texels) == 2048 + 512 + 128
    assert (texels[0, 3], texels[31, 3]) == (1.0, 0.0)
    # sRGB 200 is 0.578 in linear light.
    assert texels[0, 0] == pytest.approx(0.578, abs=0.001)
