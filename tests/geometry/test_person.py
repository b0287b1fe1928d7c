"""A person whom a bundle knows: what is read, what is refused, and that a person like everybody changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from icface.arrays import Array
from icface.geometry.person import read_person
from icface.geometry.topology import face_tables


def test_what_is_left_out_is_the_tables() -> None:
    person = read_person({})
    np.testing.assert_array_equal(person.displacements, face_tables().displacements)
    np.testing.assert_array_equal(person.extensions, face_tables().extensions)
    assert person.neutral_shape is None


def test_halves_are_read() -> None:
    own = (face_tables().displacements * 0.5).astype(np.float16)
    person = read_person({"displacements": own, "neutral_shape": face_tables().canonical})
    assert person.displacements.dtype == np.float32
    np.testing.assert_array_equal(person.displacements, own.astype(np.float32))
    np.testing.assert_array_equal(person.neutral_shape, face_tables().canonical)


def changed(at: float) -> Array:
    tensor = face_tables().displacements.copy()
    tensor[3, 200, 1] = at
    return tensor


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"nose": np.zeros(3, dtype=np.float32)}, "the tensor 'nose' is unknown"),
        ({"displacements": np.zeros((17, 468), dtype=np.float32)}, "displacements should be"),
        ({"extensions": np.zeros((20, 468, 3))}, "extensions should be .* of float16 or float32"),
        ({"displacements": changed(np.nan)}, "displacements has numbers beyond 1"),
        ({"displacements": changed(np.inf)}, "displacements has numbers beyond 1"),
        ({"displacements": changed(-1.1)}, "displacements has numbers beyond 1"),
        ({"neutral_shape": np.zeros((468, 3), dtype=np.float16)}, "neutral_shape is no face"),
    ],
)
def test_a_damaged_person_is_refused(tensors: dict[str, Array], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        read_person(tensors)
    assert "\n" not in str(caught.value)
