"""The numbers of the networks. The defaults are the configuration that the paper's authors released."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from icface.errors import ConfigError

NORMS: Final = ("batch", "none")
PADDINGS: Final = ("reflect", "zero")

_T = TypeVar("_T")

INSTANCE_NORM: Final = (
    "norm 'instance' is refused: attributes enter as constant planes, which stay constant through a reflection-padded "
    "convolution, and instance normalisation subtracts them, so that the generator never sees them; choose batch or none"
)


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """G_N or G_A: a ResNet between two downsamplings and two upsamplings."""

    width: int = 128
    """Channels after the first convolution (ngf); twice and four times as many further in."""
    blocks: int = 6
    """Residual blocks at a quarter of the size."""
    norm: str = "batch"
    """`batch` or `none`."""
    padding: str = "reflect"
    """`reflect` or `zero`, of the first and last convolution and of the blocks."""
    dropout: float = 0.5
    """Share of dropout inside the residual blocks, while training."""
    head_kernel: int = 7
    """Side of the last convolution's kernel. 3 is faster."""

    def __post_init__(self) -> None:
        if self.norm == "instance":
            raise ConfigError(INSTANCE_NORM)
        choose("norm", self.norm, NORMS)
        choose("padding", self.padding, PADDINGS)
        at_least("width", self.width, 1)
        at_least("blocks", self.blocks, 0)
        if self.head_kernel not in (3, 5, 7):
            raise ConfigError(f"head_kernel {self.head_kernel}: choose 3, 5 or 7")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"dropout {self.dropout} is not a share from 0 to below 1")


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """D: one trunk with the heads C1 (patch realism), C2 (attributes) and, in the first version, identities."""

    width: int = 256
    """Channels of the first stage (ndf); 2, 4 and 8 times as many in the next."""
    attributes: bool = True
    """Whether there is a head C2."""
    identities: int | None = None
    """Classes of the identity head of the first arXiv version. None: no such head, as in the final version."""

    def __post_init__(self) -> None:
        at_least("width", self.width, 2)
        if self.identities is not None:
            at_least("identities", self.identities, 2)


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """I_E of the first arXiv version: an hourglass over the image, before both generators."""

    width: int = 64
    """Channels at full size. Each step down doubles them, to at most four times as many."""
    depth: int = 3
    """Steps down, each halving the size."""
    channels: int = 64
    """Channels that the generators get."""

    def __post_init__(self) -> None:
        for name in ("width", "depth", "channels"):
            at_least(name, getattr(self, name), 1)


@dataclass(frozen=True, kw_only=True)
class NetworksConfig:
    """All networks of one model."""

    size_px: int = 128
    """Side of the crops."""
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    neutraliser: bool = True
    """Whether G_N comes before G_A. False is the paper's ablation."""
    image_encoder: EncoderConfig | None = None
    """I_E of the first arXiv version. None: the generators see the image itself."""

    def __post_init__(self) -> None:
        if self.size_px < 32 or self.size_px % 16:
            raise ConfigError(f"size_px {self.size_px} is not a multiple of 16 from 32 on")
        if self.image_encoder is not None:
            depth = self.image_encoder.depth
            # Each step halves the size, and the reflecting convolutions at the lowest size need two pixels.
            if self.size_px % 2**depth or self.size_px < 2 ** (depth + 1):
                raise ConfigError(
                    f"image_encoder.depth {depth} is too deep for size_px {self.size_px}: {depth} halvings have to "
                    "leave a whole number of pixels, at least 2"
                )

    def to_dict(self) -> dict[str, Any]:
        """As JSON and TOML take it."""
        return dataclasses.asdict(self)


def from_dict(kind: type[_T], raw: Any, where: str = "") -> _T:
    """A config dataclass from a table of JSON or TOML. Every key has to be known and every value of its type.

    Raises:
        ConfigError: with the path of the key that does not fit.
    """
    if not isinstance(raw, Mapping):
        name = where.rstrip(".") or "the configuration"
        raise ConfigError(f"{name} should be a table of settings, not {raw!r}")
    types = typing.get_type_hints(kind)
    unknown = [key for key in raw if key not in types]
    if unknown:
        raise ConfigError(f"unknown setting {where}{unknown[0]!s}; known: {', '.join(types)}")
    return kind(**{key: _value(types[key], value, f"{where}{key}") for key, value in raw.items()})


def _value(wanted: Any, value: Any, where: str) -> Any:
    choices = typing.get_args(wanted) or (wanted,)
    if value is None and type(None) in choices:
        return None
    for choice in choices:
        if dataclasses.is_dataclass(choice) and isinstance(choice, type):
            return from_dict(choice, value, where + ".")
        if choice is float and type(value) is int:
            return float(value)
        # JSON's and TOML's true is an int to Python.
        if isinstance(choice, type) and type(value) is choice:
            return value
        if typing.get_origin(wanted) is tuple and isinstance(value, list | tuple):
            return tuple(value)
    names = " or ".join(getattr(choice, "__name__", str(choice)) for choice in choices)
    raise ConfigError(f"{where} should be {names}, not {value!r}")


def choose(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} {value!r} is unknown; choose {' or '.join(choices)}")


def at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{name} {value} is too small; at least {least}")
