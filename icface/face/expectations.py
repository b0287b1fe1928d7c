"""What to expect of a photo, one sentence each: what hides, cuts or distorts the face that was chosen."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from icface.arrays import Array, Frame
from icface.attributes import INDEX
from icface.face.action_units import measure_attributes
from icface.face.landmarker import Landmarks
from icface.face.photo import UPRIGHT_RAD, is_panorama, tilt_rad
from icface.face.pose import head_pose
from icface.face.suitability import TURNED_RAD, face_extent_px

CUT_SHARE: Final = 0.03
"""A face is cut that reaches so far beyond the photo, as a share of its height."""
CROWN: Final = 0.28
EAR: Final = 0.1
NECK: Final = 0.08
"""The head reaches so far above, beside and below the face's landmarks, as a share of their height."""
DARK: Final = 16.0
"""Skin below this lightness (CIELAB, 0 to 100) is noise more than face."""
LENSES: Final = 0.28
"""Eyes are covered where the brighter quarter of what surrounds them has less than this share of the skin's lightness."""
COVERED: Final = 10.0
"""So much more (CIELAB, lightness counted half) differ lips, chin and cheeks from the forehead than from each other."""
MOUTH_LINE: Final = 7.0
"""Lips vary by more than this in lightness, in a beard too, and cloth by less."""
CLOSED: Final = 0.6
OPEN: Final = 0.5

_FOREHEAD: Final = (9, 107, 336, 151, 108, 337)
_CHEEKS: Final = (50, 280, 117, 346, 118, 347, 205, 425)
_LIPS: Final = (0, 13, 14, 17, 37, 267, 84, 314)
_CHIN: Final = (199, 200, 18, 83, 313, 201, 421)
_JOWLS: Final = (207, 427, 214, 434, 192, 416)
_EYES: Final = ((33, 133, 159, 145), (263, 362, 386, 374))
_CORNERS: Final = (33, 263)


def expectations(
    photo: Frame, seen: Landmarks, frame: Frame, face: Landmarks, *, opens_eyes: bool = False
) -> list[str]:
    """Sentences about one face, most important first; none of a good photo.

    Args:
        photo: (H, W, 3) RGB, as it was given.
        seen: the face in it.
        frame: the photo, upright.
        face: the same face in `frame`.
        opens_eyes: whether a network will paint eyes that are shut.
    """
    cut = _cuts_face(photo, seen)
    part = "of the panorama the part around the face is shown" if is_panorama(photo) else None
    looks = [] if cut else _looks(frame, face, opens_eyes)  # what is missing has no colours
    return [note for note in (_border(photo, seen), part, _tilt(seen), _turn(face), *looks) if note]


def hides_mouth(frame: Frame, face: Landmarks) -> bool:
    """Whether something of another colour than the forehead covers lips, chin and cheeks (a face mask).

    Args:
        frame: (H, W, 3) RGB, upright.
        face: the face in it.
    """
    if _cuts_face(frame, face):  # what is missing has no colours
        return False
    points = face.points_px[:, :2].astype(np.float64)
    radius_px = 0.03 * float(np.linalg.norm(points[_CORNERS[0]] - points[_CORNERS[1]]))
    forehead, cheeks, *others = (
        _colour(frame, points[list(group)], radius_px) for group in (_FOREHEAD, _CHEEKS, _LIPS, _CHIN, _JOWLS)
    )
    if float(forehead[0] + cheeks[0]) / 2 < DARK:
        return False
    apart = min(_apart(forehead, colour) for colour in others)
    among = max(_apart(one, other) for one in others for other in others)
    patches = [_lab(frame, points[place], 2 * radius_px, 2 * radius_px) for place in _LIPS]
    varies = float(np.median([patch[:, 0].std() for patch in patches if len(patch)]))
    return apart - among > COVERED and varies < MOUTH_LINE


def numbered(faces: list[Landmarks], chosen: int) -> str:
    """Where the faces of a photo are, from left to right; `chosen` counts from 0."""
    places = []
    for number, face in enumerate(faces, 1):
        left, top, right, bottom = face.box_px
        places.append(
            f"{number} at ({(left + right) / 2:.0f}, {(top + bottom) / 2:.0f}), {bottom - top:.0f} px"
        )
    return (
        f"{len(faces)} faces, from left to right: {'; '.join(places)}; number {chosen + 1} is taken "
        "(--face N takes another, --list-faces out.png shows them)"
    )


def _cuts_face(photo: Frame, face: Landmarks) -> bool:
    """The landmarks of what lies beyond the photo are guessed."""
    return not all(_inside(photo, face, corner) for corner in np.reshape(face.box_px, (2, 2)))


def _border(photo: Frame, face: Landmarks) -> str | None:
    if _cuts_face(photo, face):
        return "the photo's border cuts the face; what is missing is made up, so take a photo with all of the head"
    tall, turned = face_extent_px(face), tilt_rad(face)
    # These lie beyond the face, whichever way it is turned.
    down = np.array([-np.sin(turned), np.cos(turned)])
    aside = np.array([np.cos(turned), np.sin(turned)])
    ends = (
        ("above the hair", 10, -CROWN * down),
        ("beside the ears", 234, -EAR * aside),
        ("beside the ears", 454, EAR * aside),
        ("below the chin", 152, NECK * down),
    )
    missing = dict.fromkeys(
        where
        for where, place, out in ends
        if not _inside(photo, face, face.points_px[place, :2] + tall * out)
    )
    if not missing:
        return None
    room = " and ".join(missing) if len(missing) < 3 else "around it"
    return f"the photo's border cuts the head; what is missing is made up, so leave some room {room}"


def _inside(photo: Frame, face: Landmarks, place: Array) -> bool:
    """Whether a place is in the photo, or next to it."""
    far = CUT_SHARE * face_extent_px(face)
    height, width = photo.shape[:2]
    return bool((place >= -far).all() and (place <= np.array([width, height]) - 1 + far).all())


def _tilt(face: Landmarks) -> str | None:
    angle_rad = tilt_rad(face)
    if abs(angle_rad) <= UPRIGHT_RAD:
        return None
    way = (
        "upside down" if abs(angle_rad) > np.radians(155) else f"turned by {abs(np.degrees(angle_rad)):.0f}°"
    )
    return f"the face lies {way} in the photo; the photo is put upright first"


def _turn(face: Landmarks) -> str | None:
    pose = head_pose(face)
    aside_rad, up_or_down_rad = abs(pose.yaw_rad), abs(pose.pitch_rad)
    if max(aside_rad, up_or_down_rad) <= TURNED_RAD:
        return None
    if aside_rad >= up_or_down_rad:
        return (
            f"the face is turned by {np.degrees(aside_rad):.0f}°; its hidden side is made up from the other, "
            "so a photo within 20° of the camera looks better"
        )
    way = "down" if pose.pitch_rad > 0 else "up"
    angle = f"{np.degrees(up_or_down_rad):.0f}°"
    return f"the face looks {way} by {angle}, which bends forehead and chin; one within 20° of the camera looks better"


def _looks(frame: Frame, face: Landmarks, opens_eyes: bool) -> list[str | None]:
    """What the colours and the expression tell."""
    iod_px = float(np.linalg.norm(face.points_px[_CORNERS[0], :2] - face.points_px[_CORNERS[1], :2]))
    points = face.points_px[:, :2].astype(np.float64)
    forehead, cheeks = (_colour(frame, points[list(group)], 0.03 * iod_px) for group in (_FOREHEAD, _CHEEKS))
    skin = float(forehead[0] + cheeks[0]) / 2
    if skin < DARK:
        return ["the face is very dark; a photo with more light shows eyes, teeth and skin"]
    notes: list[str | None] = []
    units = measure_attributes(face)
    lenses = max(_around_eye(frame, points[list(eye)].mean(0), iod_px) for eye in _EYES)
    if lenses < LENSES * skin:
        notes.append("the eyes are covered (sunglasses, deep shadow); they will not blink or look about well")
    elif units[INDEX["AU45"]] > CLOSED:
        how = "are painted open, and those are not the person's" if opens_eyes else "will not open"
        notes.append(f"the eyes are closed and {how}; take a photo with open ones")
    if hides_mouth(frame, face):
        notes.append("mouth and chin seem to be covered (a face mask); the mouth will not open")
    elif units[INDEX["AU25"]] > OPEN and units[INDEX["AU26"]] > OPEN:
        notes.append("the mouth is wide open; closing it bends the cheeks, so take a photo with a closed one")
    return notes


def _colour(frame: Frame, places: Array, radius_px: float) -> Array:
    """(3,) CIELAB of the skin at some places, the median."""
    patches = [_lab(frame, place, radius_px, radius_px) for place in places]
    seen = [np.median(patch, axis=0) for patch in patches if len(patch)]
    return np.asarray(np.median(seen, axis=0) if seen else np.full(3, 50.0))


def _around_eye(frame: Frame, place: Array, iod_px: float) -> float:
    """Lightness that a quarter of what surrounds an eye exceeds, 0 to 100."""
    patch = _lab(frame, place, 0.17 * iod_px, 0.12 * iod_px)
    return float(np.percentile(patch[:, 0], 75)) if len(patch) else 100.0


def _lab(frame: Frame, place: Array, half_width_px: float, half_height_px: float) -> Array:
    """(n, 3) CIELAB of a rectangle about a place, as far as it lies in the picture."""
    half = np.array([half_width_px, half_height_px])
    left, top = np.maximum(place - half, 0).astype(int)
    right, bottom = np.maximum(place + half + 1, 0).astype(int)
    part = frame[top:bottom, left:right]
    if part.size == 0:
        return np.zeros((0, 3))
    lab = cv2.cvtColor(part.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
    return np.asarray(lab, dtype=np.float64).reshape(-1, 3)


def _apart(one: Array, other: Array) -> float:
    return float(np.linalg.norm((one - other) * [0.5, 1.0, 1.0]))
