"""Names that stand for several attributes, and for one side of the face."""

from __future__ import annotations

from typing import Final

from icface.attributes import ALL_NAMES, GAZE_NAMES, GROUPS, INDEX, PLACE_NAMES, SIDED
from icface.errors import ConfigError, nearest

_MOUTH_ALSO: Final = ("AU18", "AU22", "AU24", "AU29", "AU34", "jaw_side", "mouth_side")
_BASE: Final[dict[str, tuple[str, ...]]] = {
    **GROUPS,
    "mouth": (*GROUPS["mouth"], *_MOUTH_ALSO),
    "gaze": GAZE_NAMES,
    "place": PLACE_NAMES,
}
_EXPRESSION: Final = ("brows", "eyes", "nose", "mouth")
CONTROL_GROUPS: Final[dict[str, tuple[str, ...]]] = {
    **_BASE,
    "expression": tuple(name for group in _EXPRESSION for name in _BASE[group]),
    "all": tuple(name for name in ALL_NAMES if not name.startswith("AU") or not name.endswith("_side")),
}
"""Group: its attributes, without the `AUxx_side` names, which go with theirs."""
SIDES: Final = ("left", "right")
SIDED_NAMES: Final = tuple(f"{side} {name}" for side in SIDES for name in SIDED)
"""`left AU12` and so on: one side of the face by itself, by the person's own left."""


def side_of(name: str) -> str | None:
    """`AU12_side` of `AU12`; None where the two sides are not told apart."""
    return f"{name}_side" if name in SIDED else None


def resolve(name: str) -> tuple[str, ...]:
    """The attributes that an attribute's or a group's name stands for; `left mouth` gives `left AU12` and so on.

    Raises:
        ConfigError: there is no such name, or its sides cannot be told apart.
    """
    side, _, rest = name.partition(" ")
    if side not in SIDES:
        if name in CONTROL_GROUPS:
            return CONTROL_GROUPS[name]
        if name in INDEX:
            return (name,)
        meant = f"AU0{name[2]}" if len(name) == 3 and name[:2].upper() == "AU" else name
        near = nearest(meant, (*CONTROL_GROUPS, *ALL_NAMES))
        raise ConfigError(
            f"{name!r} is neither an attribute nor a group{near}; groups: {', '.join(CONTROL_GROUPS)}; "
            f"attributes: {', '.join(ALL_NAMES[:4])} … (docs/attributes.md)"
        )
    sided = tuple(f"{side} {one}" for one in resolve(rest) if one in SIDED)
    if not sided:
        raise ConfigError(
            f"{name!r}: the two sides of {rest} are not told apart; those of these are: {', '.join(SIDED)}"
        )
    return sided
