"""What can be measured on one labelled face, as a number."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import nan

import cv2
import numpy as np

from benchmarks.card.scores import Floats, Members
from facekp.classes import ATTRIBUTES
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

    def where(self, *names: str) -> Members:
        """Return (H, W): which pixels have one of these classes."""
        return np.isin(self.label, [ATTRIBUTES.index(name) for name in names])

    def centre(self, name: str) -> Floats:
        """Return (2,), x and y in pixels, the mean of a class's pixels; nan where there are none."""
        places = np.argwhere(self.where(name))[:, ::-1]
        return places.mean(axis=0) if len(places) else np.full(2, nan)


Measure = Callable[[Labelled], float]


def has(name: str) -> Measure:
    """Return a measure that is 1 where a class is in the label, else 0."""
    return lambda face: float(face.where(name).any())


def lacks(*names: str) -> Measure:
    """Return a measure that is 1 where one of these classes is not in the label, else 0."""
    return lambda face: float(not all(face.where(name).any() for name in names))


def hidden_eye(face: Labelled) -> float:
    """Return 1 where an eye is not in the label, else 0; nan with glasses, which may be labelled over the eyes."""
    return nan if has("eye_g")(face) else lacks("l_eye", "r_eye")(face)


def hair_over_face(face: Labelled) -> float:
    """Return the share of hair within the convex hull of brows, eyes, nose, mouth and lips; nan without those.

    A brow or an eye that hair hides altogether is not in the label, and the hull the smaller for it.
    """
    inner = cv2.findNonZero(face.where(*INNER).astype(np.uint8))
    if inner is None:
        return nan
    hull = np.zeros_like(face.label)
    cv2.fillConvexPoly(hull, cv2.convexHull(inner), 1)
    return float(face.where("hair")[hull > 0].mean())


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
