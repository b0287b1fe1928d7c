"""The numbers of the networks. The generators' defaults are the configuration that the paper's authors released.

docs/paper-numbers.md says of each number where it comes from.
"""

from __future__ import annotations

import typing
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from icface.errors import ConfigError

_T = TypeVar("_T")

INSTANCE_NORM: Final = (
    "norm 'instance' is refused: attributes enter as constant planes, which stay constant through a reflection-padded "
    "convolution, and instance normalisation subtracts them, so that the generator never sees them; choose batch or none"
)


class GeneratorConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """G_N or G_A: a ResNet between two downsamplings and two upsamplings."""

    width: Annotated[int, Meta(ge=1)] = 128
    """Channels after the first convolution (ngf); twice and four times as many further in."""
    blocks: Annotated[int, Meta(ge=0)] = 6
    """Residual blocks at a quarter of the size."""
    norm: str = "batch"
    """`batch` or `none`."""
    padding: str = "reflect"
    """`reflect` or `zero`, of the first and last convolution and of the blocks."""
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.5
    """Share of dropout inside the residual blocks, while training."""
    head_kernel: int = 7
    """Side of the last convolution's kernel: 3, 5 or 7. 3 is faster."""

    def __post_init__(self) -> None:
        if self.norm == "instance":
            raise ConfigError(INSTANCE_NORM)
        choices = {"norm": ("batch", "none"), "padding": ("reflect", "zero"), "head_kernel": (3, 5, 7)}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; choose {' or '.join(map(str, known))}")


class DiscriminatorConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """D: one trunk with the heads C1 (patch realism), C2 (attributes) and, in the first version, identities."""

    width: Annotated[int, Meta(ge=2)] = 256
    """Channels of the first stage (ndf); 2, 4 and 8 times as many in the next."""
    layers: Literal["relu", "release"] = "relu"
    """`relu`: one after each convolution, which all have biases. `release`: as in the authors' release, where some have
    neither."""
    attributes: bool = True
    """Whether there is a head C2."""
    identities: Annotated[int, Meta(ge=2)] | None = None
    """Classes of the identity head of the first arXiv version. None: no such head, as in the final version."""


class EncoderConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """I_E of the first arXiv version, before both generators."""

    kind: Literal["hourglass", "release"] = "hourglass"
    """`release`: four convolutions at full size, as in the authors' first release. `hourglass`: what the paper says."""
    width: Annotated[int, Meta(ge=1)] = 64
    """Channels at full size. In an hourglass each step down doubles them, to at most four times as many."""
    depth: Annotated[int, Meta(ge=0, le=16)] = 3
    """Steps down, each halving the size; 0 for `release`, and only there."""
    channels: Annotated[int, Meta(ge=1)] = 64
    """Channels that the generators get; 3 in the release."""

    def __post_init__(self) -> None:
        if (self.kind == "release") != (self.depth == 0):
            raise ConfigError(
                f"image_encoder.depth is {self.depth}, but kind {self.kind!r} has "
                + ("no steps down; set it to 0" if self.kind == "release" else "at least 1 step down")
            )


class NetworksConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All networks of one model."""

    size_px: Annotated[int, Meta(ge=32, multiple_of=16)] = 128
    """Side of the crops."""
    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    neutraliser: bool = True
    """Whether G_N comes before G_A. False is the paper's ablation."""
    image_encoder: EncoderConfig | None = None
    """I_E of the first arXiv version. None: the generators see the image itself."""

    def __post_init__(self) -> None:
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
        result: dict[str, Any] = msgspec.to_builtins(self)
        return result


def read_settings(kind: type[_T], raw: object) -> _T:
    """A config from a table of JSON or TOML. Every key has to be known and every value of its type.

    Raises:
        ConfigError: with the path of the key that does not fit.
    """
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        told, at, path = str(error).rpartition(" - at `$")
        told, name = (told, path.strip(".`")) if at else (path, "")
        told = told.replace("`object`", "a table of settings")
        told = told.replace("Object contains unknown field", "unknown setting")
        if told.startswith("Invalid enum"):
            wanted: Any = kind
            for part in name.split("."):
                wanted = typing.get_type_hints(wanted)[part]
            told += f"; choose {', '.join(map(str, typing.get_args(wanted)))}"
        raise ConfigError(f"{name}: {told}" if name else told) from error
