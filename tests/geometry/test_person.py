"""A person whom a bundle knows: what is read, what is refused, and that a person like everybody changes nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save

from icface.arrays import Tensors
from icface.attributes import FloatArray
from icface.bundle import DEFAULT_BUNDLE, MANIFEST, Bundle
from icface.errors import BundleError
from icface.families import open_family
from icface.geometry import teeth
from icface.geometry import topology as mesh
from icface.geometry.person import KnownMouth, laid_on, read_person, rest_of
from icface.geometry.shape import SourceShape, rotation_matrix
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


def changed(at: float) -> FloatArray:
    tensor = face_tables().displacements.copy()
    tensor[3, 200, 1] = at
    return tensor


def mouth(
    shape: tuple[int, ...] = (40, 60, 4), edge: float = 0.0, light: float = 150.0, seen: int = 255
) -> dict[str, NDArray[Any]]:
    return {
        "mouth": np.full(shape, seen, dtype=np.uint8),
        "mouth_edge": np.array([edge], dtype=np.float32),
        "mouth_light": np.full(3, light, dtype=np.float32),
    }


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"nose": np.zeros(3, dtype=np.float32)}, "the tensor 'nose' is unknown"),
        ({"displacements": np.zeros((17, 468), dtype=np.float32)}, "displacements should be of shape"),
        ({"extensions": np.zeros((20, 468, 3))}, "extensions should not be of float64"),
        ({"displacements": changed(np.nan)}, "displacements has numbers beyond -1 and 1, or none"),
        ({"displacements": changed(np.inf)}, "displacements has numbers beyond -1 and 1, or none"),
        ({"displacements": changed(-1.1)}, "displacements has numbers beyond -1 and 1, or none"),
        ({"neutral_shape": np.zeros((468, 3), dtype=np.float16)}, "neutral_shape is no face"),
        (
            {"mouth": np.zeros((40, 60, 4), dtype=np.uint8)},
            "mouth, mouth_edge and mouth_light belong together",
        ),
        (mouth((40, 60, 3)), r"mouth should be a picture \(h, w, 4\)"),
        (mouth((40, 2000, 4)), "of 16 to 1024 pixels"),
        (mouth((0, 60, 4)), "of 16 to 1024 pixels"),
        (mouth(edge=0.5), "mouth_edge has numbers beyond"),
        (mouth(light=np.nan), "mouth_light has numbers beyond"),
        (mouth(seen=127), "mouth shows nothing"),
    ],
)
def test_a_damaged_person_is_refused(tensors: Tensors, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        read_person(tensors)
    assert "\n" not in str(caught.value)


def test_a_bundle_with_a_damaged_person_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(DEFAULT_BUNDLE, tmp_path / "me.icface"))
    content = save({"displacements": changed(np.nan)})
    (folder / "person.safetensors").write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    manifest["person"] = "person.safetensors"
    manifest["files"]["person.safetensors"] = hashlib.sha256(content).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(
        BundleError, match=r"person\.safetensors: displacements has .*; make the model again"
    ) as caught:
        open_family(Bundle.load(folder))
    assert "\n" not in str(caught.value)


def test_a_face_is_laid_on_itself_by_a_turn_and_a_shift() -> None:
    face = face_tables().canonical
    moved = (face @ rotation_matrix(0.2, -0.3, 0.1) + np.array([0.1, -0.2, 0.3], dtype=np.float32)).astype(
        np.float32
    )
    np.testing.assert_allclose(laid_on(moved, face), face, atol=1e-5)


def test_a_smiling_photo_gets_the_persons_own_mouth_and_a_calm_one_keeps_its() -> None:
    face = face_tables().canonical
    person = read_person({"neutral_shape": face})
    guess = face.copy()
    lips, lids = list(mesh.UPPER_LIP + mesh.LOWER_LIP), list(mesh.UPPER_LID)
    guess[lips + lids] += np.array([0.0, 0.05, 0.0], dtype=np.float32)
    rest = rest_of(person, guess, 0.8)
    np.testing.assert_allclose(rest[lips], face[lips], atol=0.006)
    np.testing.assert_array_equal(rest[lids], guess[lids])
    np.testing.assert_array_equal(rest_of(person, guess, 0.05), guess)
    np.testing.assert_array_equal(rest_of(read_person({}), guess, 0.8), guess)


def test_a_known_mouth_is_shown_in_the_light_of_the_photo() -> None:
    face = face_tables().canonical
    points = np.zeros((478, 3), dtype=np.float32)
    points[:468, :2] = 128 + 60 * face[:, :2] * [1, -1]  # closed lips: the photo shows no teeth
    shape = SourceShape(
        face,
        np.eye(3, dtype=np.float32),
        np.array([128, 128], dtype=np.float32),
        60.0,
        points[:468, :2],
        face,
    )
    picture = np.full((40, 60, 4), 100, dtype=np.uint8)
    picture[..., 3] = 255
    known = KnownMouth(picture, -0.05, np.array([80, 80, 160], dtype=np.float32))
    crop = np.full((256, 256, 3), 160, dtype=np.uint8)
    sclera = np.array([200, 200, 200], dtype=np.float32)
    mouth, rows = teeth.paint_mouth(crop, shape, points, sclera, known)
    assert rows[4] == teeth.KNOWN and rows[3] == np.float32(-0.05)
    assert rows[1] == round((teeth.UPPER_TOP + 0.05) * 90)
    np.testing.assert_array_equal(mouth, np.broadcast_to([200, 200, 100], mouth.shape))
    assert teeth.paint_mouth(crop, shape, points, sclera)[1][4] == 0
    # A single pixel that was seen may be gone where the mouth is drawn smaller. The teeth have a usual colour then.
    known.picture[..., 3] = 0
    assert teeth.paint_mouth(crop, shape, points, sclera, known)[1][4] == teeth.KNOWN
