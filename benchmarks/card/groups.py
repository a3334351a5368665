"""Groups of faces by what their labels and photos show, not by who the people are."""

from collections.abc import Callable, Sequence
from math import nan

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from facekp.classes import CELEBAMASK_HQ
from facekp.data.dataset import read_sample
from facekp.data.layout import Sample
from facekp.images import UInt8Array

Floats = npt.NDArray[np.float64]
Members = npt.NDArray[np.bool_]
INNER = ("l_brow", "r_brow", "l_eye", "r_eye", "nose", "mouth", "u_lip", "l_lip")  # their hull: the inner face
HAIR_SHARE = 0.01  # minimum share of the inside of the face that a fringe covers to be visible


def any_positive(values: Floats) -> Members:
    """Select the values above 0."""
    return values > 0


def lowest_tenth(values: Floats) -> Members:
    """Select the lowest tenth, rounded, but at least one; of equal values the first.

    Example:
        >>> np.flatnonzero(lowest_tenth(np.array([5, 2, 9, 2, 7, 8, 6, 3, 4, 1, 1, 8, 8, 8, 8.0]))).tolist()
        [9, 10]
    """
    lowest = np.argsort(values, kind="stable")[: max(1, round(len(values) / 10))]
    return np.isin(np.arange(len(values)), lowest)


def highest_tenth(values: Floats) -> Members:
    """Select the highest tenth by the same rule."""
    return lowest_tenth(-values)


HAIR = f"hair on at least {HAIR_SHARE:.0%} of the convex hull of brows, eyes, nose, mouth and lips"
MIDDLE = "the middle between the eyes"
GROUPS: dict[str, tuple[str, Callable[[Floats], Members]]] = {
    "glasses": ("`eye_g` in the label", any_positive),
    "hat": ("`hat` in the label", any_positive),
    "earring": ("`ear_r` in the label", any_positive),
    "necklace": ("`neck_l` in the label, if only a few pixels", any_positive),
    "hair_over_face": (HAIR, lambda shares: shares >= HAIR_SHARE),
    "hidden_brow": ("a brow is not in the label", any_positive),
    "hidden_eye": ("an eye is not in the label; faces with glasses are on neither side", any_positive),
    "one_ear": ("one ear in the label, not the other", any_positive),
    "no_hair": ("no hair in the label", any_positive),
    "open_mouth": ("`mouth`, its inside, in the label", any_positive),
    "turned_left": (f"the nose is on the person's own left of {MIDDLE}", any_positive),
    "turned_head": (f"the tenth whose nose is farthest from {MIDDLE}", highest_tenth),
    "dark_face": ("the tenth with the darkest skin and nose: mean luma", lowest_tenth),
    "bright_face": ("the tenth with the brightest skin and nose", highest_tenth),
    "dark_photo": ("the tenth of the darkest photos, all pixels", lowest_tenth),
    "uneven_light": ("the tenth whose halves of the face differ most in luma", highest_tenth),
}
"""Description of each group, and the rule that selects its members by the numbers of `measure`.

A dark face has dark skin, little light, or both: a photo cannot distinguish them."""


def measure(photo: UInt8Array, label: UInt8Array) -> dict[str, float]:
    """Return the numbers that decide the groups of a photo (H, W, 3) uint8 RGB and its label; nan if not measurable.

    `turned_left` is the offset of the nose's centre from the midpoint of the eyes, along their line, relative to the
    eye distance; `uneven_light` is the difference in mean luma between the halves of skin and nose, over their mean.
    """
    has = dict(zip(CELEBAMASK_HQ.names, np.bincount(label.ravel(), minlength=256) > 0, strict=False))
    luma = np.asarray(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY))  # 0.299 R + 0.587 G + 0.114 B, as in Rec. 601
    right, left, nose = (_centre(label, name) for name in ("r_eye", "l_eye", "nose"))
    turn = (nose - (left + right) / 2) @ (left - right) / ((left - right) @ (left - right))
    skin, columns = _where(label, "skin", "nose"), np.arange(label.shape[1])
    halves = [luma[skin & side] for side in (columns < nose[0], columns > nose[0])]
    first, second = (half.mean() if all(map(len, halves)) else nan for half in halves)
    face_luma = luma[skin].mean() if skin.any() else nan
    inner, hull = cv2.findNonZero(_where(label, *INNER).astype(np.uint8)), np.zeros_like(label)
    if inner is not None:
        cv2.fillConvexPoly(hull, cv2.convexHull(inner), 1)
    return {
        "glasses": has["eye_g"],
        "hat": has["hat"],
        "earring": has["ear_r"],
        "necklace": has["neck_l"],
        "hair_over_face": nan if inner is None else _where(label, "hair")[hull > 0].mean(),
        "hidden_brow": not (has["l_brow"] and has["r_brow"]),
        # Glasses may be labelled over the eyes.
        "hidden_eye": nan if has["eye_g"] else not (has["l_eye"] and has["r_eye"]),
        "one_ear": has["l_ear"] != has["r_ear"],
        "no_hair": not has["hair"],
        "open_mouth": has["mouth"],
        "turned_left": turn,
        "turned_head": abs(turn),
        "dark_face": face_luma,
        "bright_face": face_luma,
        "dark_photo": luma.mean(),
        "uneven_light": 2 * abs(first - second) / max(first + second, 1.0),
    }


def _where(label: UInt8Array, *names: str) -> Members:
    return np.isin(label, [CELEBAMASK_HQ.index(name) for name in names])


def _centre(label: UInt8Array, name: str) -> Floats:
    places = np.argwhere(_where(label, name))[:, ::-1]
    return places.mean(axis=0) if len(places) else np.full(2, nan)


def select_members(values: pd.DataFrame) -> pd.DataFrame:
    """Return 1 for members and 0 for others, by the numbers of all faces (images x groups); nan stays nan."""
    members = values.copy()
    for name in values:
        known = values[name].notna()
        members.loc[known, name] = GROUPS[name][1](values.loc[known, name].to_numpy()).astype(float)
    return members


def measure_all(samples: Sequence[Sample]) -> pd.DataFrame:
    """Return the numbers of all faces (images x groups), at the size of their labels."""
    rows = [measure(*read_sample(sample)) for sample in tqdm(samples, unit="face", desc="measuring")]
    return pd.DataFrame(rows, columns=list(GROUPS), dtype=float)
