"""Inputs for fuzzing: seeds of the corpus with changes, and JSON of any kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hypothesis import strategies as st

_NUMBERS: Final = tuple(
    value.to_bytes(width, order)
    for width in (2, 4, 8)
    for value in (0, 1, 2 ** (8 * width) - 1, 2 ** (8 * width - 1) - 1, 2 ** (8 * width - 1))
    for order in ("little", "big")
)
"""Sizes at the ends of their range, where lengths and products overflow."""

WORDS: Final = (
    *("", " ", "\x00", "../../x", "/etc/passwd", "a" * 300, "\x1b[2J", "é😀", "\n", "nan", "inf", "-1e999"),
    *("9" * 5000, "0x10", "[" * 50, "AU12", "pitch", "left mouth", "driver 1", "track x", "idle", "camera"),
)


@st.composite
def changed(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """A seed with up to four changes: bytes replaced, put in or taken out, parts repeated, the end cut off."""
    content = draw(st.sampled_from(list(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(content)))
        match draw(st.sampled_from(("bits", "number", "insert", "remove", "repeat", "cut", "splice"))):
            case "bits":
                new = draw(st.binary(min_size=1, max_size=4))
                content = content[:at] + new + content[at + len(new) :]
            case "number":
                new = draw(st.sampled_from(_NUMBERS))
                content = content[:at] + new + content[at + len(new) :]
            case "insert":
                word = st.sampled_from(WORDS).map(str.encode)
                content = content[:at] + draw(st.one_of(st.binary(max_size=16), word)) + content[at:]
            case "remove":
                content = content[:at] + content[at + draw(st.integers(1, 64)) :]
            case "repeat":
                part = content[at : at + draw(st.integers(1, 64))]
                content = content[:at] + part * draw(st.integers(2, 40)) + content[at:]
            case "cut":
                content = content[:at]
            case "splice":
                other = draw(st.sampled_from(list(seeds)))
                content = content[:at] + other[draw(st.integers(0, len(other))) :]
    return content


PLAIN: Final[st.SearchStrategy[Any]] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.sampled_from(WORDS),
        st.text(max_size=12),
    ),
    lambda inside: st.one_of(
        st.lists(inside, max_size=4), st.dictionaries(st.sampled_from(WORDS), inside, max_size=3)
    ),
    max_leaves=6,
)
"""What JSON may hold, with numbers that it may not."""


@st.composite
def changed_document(draw: st.DrawFn, document: Any) -> Any:
    """A JSON document with up to three values replaced, removed or renamed, anywhere in it."""
    import copy

    result = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        inside = result
        while True:
            keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(inside[key], (dict, list)) and inside[key] and draw(st.booleans()):
                inside = inside[key]
                continue
            if isinstance(inside, dict) and draw(st.integers(0, 3)) == 0:
                inside[draw(st.sampled_from(WORDS))] = inside.pop(key)
            elif draw(st.integers(0, 3)) == 0:
                del inside[key]
            else:
                inside[key] = draw(PLAIN)
            break
    return result
