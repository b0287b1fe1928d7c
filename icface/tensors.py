"""Tensors from the content of a safetensors file that somebody else may have made."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.numpy import load

from icface.arrays import Tensors

MAX_HEADER_BYTES: Final = 1_000_000
"""Names, types and places of the tensors. The files that ship have 2,000 bytes."""


def read_tensors(content: bytes) -> Tensors:
    """The tensors by name.

    The library refuses tensors that overlap, leave gaps or lie outside of the file. It takes the last of several
    entries of one name, and headers of up to 100 MB; these are refused here.

    Raises:
        ValueError: it is no such file, in a few words.
    """
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > len(content) - 8:
        raise ValueError("it is no safetensors file, or cut short")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header has more than {MAX_HEADER_BYTES} bytes")
    try:
        json.loads(content[8 : 8 + length], object_pairs_hook=_once)
        return load(content)
    except RecursionError as error:
        raise ValueError("its header is no list of tensors") from error
    # KeyError: a type that NumPy has not, such as bfloat16.
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(" ".join(str(error).split())) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"its header has {twice[:60]!r} twice")
    return found
