"""What can be measured on one labelled face, as a number."""

from dataclasses import dataclass
from functools import cached_property
from math import nan

import cv2
import numpy as np
import numpy.typing as npt

from facekp.attributes import ATTRIBUTES
from facekp.images import UInt8Array

INNER = ("l_brow", "r_brow", "l_eye", "r_eye", "nose", "mouth", "u_lip", "l_lip")
"""The parts whose convex hull is the inside of the face."""


@dataclass(frozen=True)
class Labelled:
    """A photo (H, W, 3) uint8 RGB, and its label (H, W) uint8, ids or 255."""

    photo: UInt8Array
    label: UInt8Array

    @cached_property
    def luma(self) -> UInt8Array:
        """Brightness (H, W) uint8: 0.299 R + 0.587 G + 0.114 B, as in Rec. 601."""
        return np.asarray(cv2.cvtColor(self.photo, cv2.COLOR_RGB2GRAY), np.uint8)

    def where(self, *names: str) -> npt.NDArray[np.bool_]:
        """Return (H, W): which pixels have one of these classes."""
        return np.isin(self.label, [ATTRIBUTES.index(name) for name in names])

    def has(self, name: str) -> bool:
        """Return whether a pixel has this class."""
        return bool((self.label == ATTRIBUTES.index(name)).any())

    def centre(self, name: str) -> npt.NDArray[np.float64]:
        """Return (2,), x and y in pixels, the mean of a class's pixels; nan where there are none."""
        places = np.argwhere(self.where(name))[:, ::-1]
        return places.mean(axis=0) if len(places) else np.full(2, nan)


def hair_over_face(face: Labelled) -> float:
    """Return the share of hair within the convex hull of brows, eyes, nose, mouth and lips; nan without those.

    A brow or an eye that hair hides altogether is not in the label, and the hull the smaller for it: see `hidden_brow`.
    """
    inner = cv2.findNonZero(face.where(*INNER).astype(np.uint8))
    if inner is None:
        return nan
    hull = np.zeros_like(face.label)
    cv2.fillConvexPoly(hull, cv2.convexHull(inner), 1)
    return float(face.where("hair")[hull > 0].mean())


def hidden_brow(face: Labelled) -> float:
    """Return 1 where a brow is not in the label, else 0."""
    return float(not (face.has("l_brow") and face.has("r_brow")))


def hidden_eye(face: Labelled) -> float:
    """Return 1 where an eye is not in the label, else 0; nan with glasses, which may be labelled over the eyes."""
    return nan if face.has("eye_g") else float(not (face.has("l_eye") and face.has("r_eye")))


def one_ear(face: Labelled) -> float:
    """Return 1 where one ear is in the label and the other is not, else 0."""
    return float(face.has("l_ear") != face.has("r_ear"))


def no_hair(face: Labelled) -> float:
    """Return 1 where no hair is in the label, else 0."""
    return float(not face.has("hair"))


def turn(face: Labelled) -> float:
    """Return how far the nose's centre stands from the middle between the eyes, along their line.

    In distances between the eyes' centres, towards the subject's left; about 0 from the front. nan where an eye or the
    nose is not in the label.
    """
    right, left, nose = (face.centre(name) for name in ("r_eye", "l_eye", "nose"))
    axis = left - right
    return float((nose - (left + right) / 2) @ axis / (axis @ axis))


def face_luma(face: Labelled) -> float:
    """Return the mean luma, 0..255, of the pixels of skin and nose; nan without any."""
    skin = face.where("skin", "nose")
    return float(face.luma[skin].mean()) if skin.any() else nan


def photo_luma(face: Labelled) -> float:
    """Return the mean luma, 0..255, of the whole photo."""
    return float(face.luma.mean())


def uneven_light(face: Labelled) -> float:
    """Return how much brighter one half of the face is than the other: the difference over the mean of both.

    Halves are the pixels of skin and nose left and right of the nose's centre; nan where one has none.
    """
    skin = face.where("skin", "nose")
    columns = np.arange(skin.shape[1])
    middle = face.centre("nose")[0]
    halves = [face.luma[skin & side] for side in (columns < middle, columns > middle)]
    if not all(len(half) for half in halves):
        return nan
    first, second = (float(half.mean()) for half in halves)
    return 2 * abs(first - second) / max(first + second, 1.0)
