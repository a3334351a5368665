"""The 19 classes of CelebAMask-HQ: ids, names, colours, left/right pairs and named groups.

`l_` is the *subject's* left, so it lies on the right of the image.

Reference: Lee et al. 2020, MaskGAN, arXiv:1907.11922; the ids match its official code.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "background": (0, 0, 0),
    "skin": (244, 190, 160),
    "nose": (230, 80, 60),
    "eye_g": (70, 200, 255),
    "l_eye": (0, 130, 255),
    "r_eye": (90, 60, 230),
    "l_brow": (255, 200, 0),
    "r_brow": (190, 140, 0),
    "l_ear": (255, 120, 190),
    "r_ear": (190, 60, 140),
    "mouth": (120, 0, 30),
    "u_lip": (220, 0, 70),
    "l_lip": (255, 70, 120),
    "hair": (230, 120, 20),
    "hat": (0, 160, 120),
    "ear_r": (255, 255, 0),
    "neck_l": (180, 255, 60),
    "neck": (150, 180, 160),
    "cloth": (60, 90, 150),
}
"""RGB colours by class name, for masks, overlays and dashboards; a name's position is its class id."""

ATTRIBUTES: Final = tuple(COLOURS)
PALETTE: Final = tuple(COLOURS.values())
NUM_CLASSES: Final = len(ATTRIBUTES)
IGNORE_INDEX: Final = 255
"""Label of pixels that losses and metrics ignore."""

MIRROR_PAIRS: Final[tuple[tuple[int, int], ...]] = ((4, 5), (6, 7), (8, 9))
"""Pairs of ids that are swapped when an image is flipped: eyes, brows and ears."""

REGIONS: Final[dict[str, tuple[str, ...]]] = {
    "face": ("skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "u_lip", "l_lip"),
    "head": (
        "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "u_lip", "l_lip",
        "l_ear", "r_ear", "hair", "hat", "ear_r",
    ),
    "features": ("nose", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "u_lip", "l_lip"),
    "skin_area": ("skin", "nose", "l_ear", "r_ear", "neck"),
    "eyes": ("l_eye", "r_eye"),
    "brows": ("l_brow", "r_brow"),
    "ears": ("l_ear", "r_ear"),
    "lips": ("u_lip", "l_lip"),
    "mouth_area": ("mouth", "u_lip", "l_lip"),
    "accessories": ("eye_g", "hat", "ear_r", "neck_l"),
    "body": ("neck_l", "neck", "cloth"),
    "person": ATTRIBUTES[1:],
}  # fmt: skip
"""Named groups of classes, for `facekp.Face.region`; no name is also a class's."""


def mirror_table() -> npt.NDArray[np.uint8]:
    """Return the lookup table that swaps left and right ids in a label map after a horizontal flip.

    Returns:
        (256,) uint8; `table[4] == 5`, `table[5] == 4`, ..., and every other value maps to itself.
    """
    table = np.arange(256, dtype=np.uint8)
    for left, right in MIRROR_PAIRS:
        table[left], table[right] = right, left
    return table
