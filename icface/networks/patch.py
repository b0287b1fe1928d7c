"""The patch corrector: a small U-Net that sees the patch of a warped frame, and says how to make it look real.

Geometry moves a photo's pixels, so it has no folds that the photo lacks, and draws teeth and closed lids as well as it
can. The corrector adds what is missing: a residual anywhere, and inside mouth and eyes a colour of its own. Both are
linear in the frame, so that the frame itself keeps its detail. icface/geometry/patch.py says where the patch lies.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

import torch
from msgspec import Meta, Struct
from torch import Tensor, nn
from torch.nn import functional

from icface.geometry.patch import CONDITIONS, PATCH_PX

OPENING_ROW: Final = 106
"""Openings above this row of the patch are eyes, below it the mouth: half-way between eyes and lips."""
RIM_PX: Final = 12
"""The correction fades out over so many pixels, so that the patch has no edge in the frame."""
WIDTH: Final = 0.95
"""Width of what is corrected, as a share of the patch."""
ROUNDED: Final = 3.0
"""How round it is: 2 is an ellipse, more has fuller corners."""
CLIP_SIGMA: Final = 2.5
"""Conditions count up to so many standard deviations of the training's."""
SLOPE: Final = 0.1
MOST_RESIDUAL: Final = 0.5
"""The residual cannot exceed this, of 1."""
BROAD_PX: Final = 24
"""Side of the cells over which the light of the residual is measured."""

Channels = Annotated[int, Meta(ge=1)]


class PatchConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The numbers of a corrector; the defaults are the one that ships."""

    channels: tuple[Channels, Channels, Channels, Channels] = (16, 32, 64, 128)
    """Channels at 1/2, 1/4, 1/8 and 1/16 of the patch."""
    hidden: Channels = 64
    """Width of the layer between the conditions and what they do to the features."""
    opens_eyes: bool = False
    """Whether it paints the inside of eyes too. Of a corrector that sees every frame their gaze is the photo's."""


class PatchCorrector(nn.Module):
    """What to keep of the patch, and what to add: `corrected = keep · patch + add`.

    The weights' file holds mean and standard deviation of the conditions, too.
    """

    mean: Tensor
    deviation: Tensor
    rim: Tensor
    is_eye: Tensor

    def __init__(self, config: PatchConfig) -> None:
        super().__init__()
        self.config = config
        a, b, c, d = config.channels
        self.stem = nn.Conv2d(4 * 4, a, 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv2d(n, m, 3, stride=2, padding=1) for n, m in ((a, b), (b, c), (c, d))
        )
        self.up = nn.ModuleList(nn.Conv2d(n, m, 1) for n, m in ((d, c), (c, b), (b, a)))
        self.blocks_down = nn.ModuleList(Block(n) for n in (b, c, d))
        self.blocks_up = nn.ModuleList(Block(n) for n in (c, b))
        self.last = nn.Conv2d(a, a, 3, padding=1)
        # Red, green and blue, each with its four quarters beside each other.
        # It starts small, so that a fresh corrector hardly changes the picture.
        self.head = _faint(nn.Conv2d(a, 3 * 4, 3, padding=1), 0.1)
        # The face lies in the same place of every patch, so the features may differ from place to place.
        self.place = nn.Parameter(torch.zeros(1, c, PATCH_PX // 8, PATCH_PX // 8))
        self._styled = (b, c, d, c, b)
        self.style = nn.Sequential(
            nn.Linear(CONDITIONS, config.hidden),
            nn.LeakyReLU(SLOPE),
            _faint(nn.Linear(config.hidden, 2 * sum(self._styled)), 0.1),
        )
        self.register_buffer("mean", torch.zeros(CONDITIONS))
        self.register_buffer("deviation", torch.ones(CONDITIONS))
        self.register_buffer("rim", rim(PATCH_PX, RIM_PX), persistent=False)
        above = (torch.arange(PATCH_PX) < OPENING_ROW).float().reshape(1, 1, PATCH_PX, 1)
        self.register_buffer("is_eye", above, persistent=False)

    def forward(self, patch: Tensor, conditions: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
        """Correct a patch.

        Args:
            patch: (B, 4, 192, 192) in [0, 1]: RGB of the warped frame, and its inner alpha, the openings of eyes and
                mouth.
            conditions: (B, 28) as icface/geometry/patch.py makes them.
            gates: (B, 3) in [0, 1]: strength at the eyes' openings, at the mouth's opening, and everywhere else.

        Returns:
            keep (B, 1, 192, 192) in [0, 1] and add (B, 3, 192, 192), which may be negative. At the rim, and where the
            gates are 0, they are 1 and 0.
        """
        keep, add = self.in_quarters(quarters(patch), conditions, gates)
        return whole(keep), whole(add)

    def in_quarters(self, patch: Tensor, conditions: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
        """The same for quarters (B, 4, 4, 96, 96); gives keep (B, 1, 4, 96, 96) and add (B, 3, 4, 96, 96)."""
        image, inner = patch[:, :3], patch[:, 3:]
        change = self.propose(patch, conditions)
        strength, opening = self._where(inner, gates)
        around = 1 - opening
        residual = MOST_RESIDUAL * torch.tanh(change)
        residual = residual - broad(residual, around)
        replaced = opening * strength
        add = residual * (around * strength) + (image + change) * replaced
        return 1 - replaced, add

    def propose(self, patch: Tensor, conditions: Tensor) -> Tensor:
        """What the network itself would add, before it is known where that counts, and how far it is bounded.

        Args:
            patch: (B, 4, 4, 96, 96), in quarters.

        Returns:
            (B, 3, 4, 96, 96), in quarters.
        """
        spread = ((conditions - self.mean) / self.deviation).clamp(-CLIP_SIGMA, CLIP_SIGMA)
        styles = self.style(spread)[:, :, None, None].split([2 * n for n in self._styled], dim=1)
        x = _active(self.stem(patch.flatten(1, 2) * 2 - 1))
        kept = [x]
        for level, (down, block) in enumerate(zip(self.down, self.blocks_down, strict=True)):
            x = _styled(_active(down(x)), styles[level])
            if level == 1:
                x = x + self.place
            x = block(x)
            kept.append(x)
        for level, (up, block) in enumerate(zip(self.up, (*self.blocks_up, None), strict=True)):
            x = _active(_doubled(up(x)) + kept[2 - level])
            if block is not None:
                x = block(_styled(x, styles[3 + level]))
        made: Tensor = self.head(_active(self.last(x))).unflatten(1, (3, 4))
        return made

    def _where(self, inner: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
        """Strength of the correction and the widened openings, in quarters (B, 1, 4, 96, 96)."""
        opening, inside = self.openings(inner)
        is_eye, rim = quarters(self.is_eye.expand(-1, -1, -1, 2)), quarters(self.rim)
        gate = gates[:, :, None, None, None]
        eyes, mouth, rest = gate[:, :1], gate[:, 1:2], gate[:, 2:]
        strength = rest + opening * (is_eye * (eyes - mouth) + mouth - rest)
        return strength * rim * (1 if self.config.opens_eyes else 1 - inside * is_eye), opening

    def openings(self, inner: Tensor) -> tuple[Tensor, Tensor]:
        """`widened` and `core` of an inner alpha, all in quarters (B, 1, 4, 96, 96)."""
        return _openings(inner)

    def unlocked(self, inner: Tensor) -> Tensor:
        """1 where the picture may change, 0 inside open eyes whose gaze is the photo's. (B, 1, 192, 192)."""
        return torch.ones_like(inner) if self.config.opens_eyes else 1 - core(inner) * self.is_eye


class Block(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(channels, channels, 3, padding=1)
        self.two = _faint(nn.Conv2d(channels, channels, 3, padding=1), 0.2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.two(_active(self.one(x)))
        return result


def quarters(picture: Tensor) -> Tensor:
    """A picture (B, C, 2H, 2W) as (B, C, 4, H, W): of each square of four pixels the upper two, then the lower two.

    Layers at half the size cost a third less where what lies around them is so, too: nothing is brought to the whole size
    but the result.
    """
    parts: Tensor = functional.pixel_unshuffle(picture, 2).unflatten(1, (-1, 4))
    return parts


def whole(picture: Tensor) -> Tensor:
    """What `quarters` was given."""
    return functional.pixel_shuffle(picture.flatten(1, 2), 2)


def widened(inner: Tensor) -> Tensor:
    """An inner alpha (B, 1, S, S), widened by about 4 pixels with a soft edge."""
    return whole(_openings(quarters(inner))[0])


def core(inner: Tensor) -> Tensor:
    """An inner alpha (B, 1, S, S) without its outermost 3 pixels or so; nothing is left of a narrow slit."""
    return whole(_openings(quarters(inner))[1])


def _openings(inner: Tensor) -> tuple[Tensor, Tensor]:
    """`widened` and `core` of an inner alpha in quarters (B, 1, 4, H, W)."""
    small = inner.mean(2)
    grown = functional.max_pool2d(small, (5, 1), 1, (2, 0))
    grown = functional.max_pool2d(grown, (1, 5), 1, (0, 2))
    shrunk = 1 - functional.max_pool2d(1 - small, 3, 1, 1)
    both = torch.cat([grown, shrunk], dim=1)
    soft = functional.conv2d(both, _SOFTER.to(both), padding=2).unflatten(1, (2, 4))
    return soft[:, :1], soft[:, 1:]


def _softer() -> Tensor:
    """The mean of 3 × 3 pixels, enlarged bilinearly, as a convolution (8, 2, 5, 5): two planes become quarters."""
    mean = torch.tensor([1.0, 1, 1]) / 3
    # The first of two finer pixels lies a quarter before the coarse one's centre, the second a quarter behind it.
    ends = [
        functional.conv1d(mean.reshape(1, 1, 3), torch.tensor(share).reshape(1, 1, 3), padding=2)[0, 0]
        for share in ((0.0, 0.75, 0.25), (0.25, 0.75, 0.0))
    ]
    kernels = torch.stack([torch.outer(down, across) for down in ends for across in ends])
    both = torch.zeros(2, 4, 2, 5, 5)
    both[0, :, 0] = both[1, :, 1] = kernels
    return both.flatten(0, 1)


_SOFTER: Final = _softer()


def broad(residual: Tensor, counted: Tensor) -> Tensor:
    """The broad part of a residual in quarters (B, 3, 4, H, W), over about a third of the patch.

    It is no fold but light, which is the photo's. Taken out, no expression makes the face brighter or darker as a whole.

    Args:
        counted: (B, 1, 4, H, W), the weights.

    Returns:
        (B, 3, 1, H, W): it is so smooth that the four quarters share it.
    """
    side = BROAD_PX // 2
    cells = functional.avg_pool2d((residual * counted).mean(2), side) / (
        functional.avg_pool2d(counted.mean(2), side) + 1e-2
    )
    cells = functional.avg_pool2d(cells, 3, 1, 1, count_include_pad=False)
    return functional.interpolate(cells, scale_factor=side, mode="bilinear", align_corners=False).unsqueeze(2)


def rim(px: int, width: int) -> Tensor:
    """(1, 1, px, px): 1 inside, fading to 0 over so many pixels before the edges and in the corners.

    It is rounded as a face is: beside the chin lies background, which is the photo's.
    """
    along = (torch.arange(px).float() - (px - 1) / 2).abs() / ((px - 1) / 2)
    out = (along[:, None] ** ROUNDED + (along[None] / WIDTH) ** ROUNDED) ** (1 / ROUNDED)
    edge = ((1 - out) * (px / 2) / width).clamp(0, 1)
    edge = edge * edge * (3 - 2 * edge)
    return edge[None, None]


def macs(config: PatchConfig) -> int:
    """Multiplications of the convolutions for one patch."""
    counted = [0]

    def count(layer: nn.Module, _: object, made: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        counted[0] += layer.weight.numel() * made.shape[2] * made.shape[3]

    model = PatchCorrector(config)
    for part in model.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(count)
    with torch.no_grad():
        model.propose(quarters(torch.zeros(1, 4, PATCH_PX, PATCH_PX)), torch.zeros(1, CONDITIONS))
    return counted[0]


_Layer = TypeVar("_Layer", nn.Conv2d, nn.Linear)


def _faint(layer: _Layer, factor: float) -> _Layer:
    """A layer that starts with smaller weights, and without a bias."""
    with torch.no_grad():
        layer.weight.mul_(factor)
        if layer.bias is not None:
            layer.bias.zero_()
    return layer


def _active(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, SLOPE)


def _styled(x: Tensor, style: Tensor) -> Tensor:
    factor, offset = style.chunk(2, dim=1)
    return x * (1 + factor) + offset


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="nearest")
