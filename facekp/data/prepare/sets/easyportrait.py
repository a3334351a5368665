"""EasyPortrait: `images/` and `annotations/`, each with `train/`, `val/` and `test/`.

Its person is everything but the face; its left is read as the image's left, which is the subject's right, as LaPa's.

Reference: Kapitanov et al. 2023, arXiv:2304.13509, https://github.com/hukenovs/easyportrait.
"""

from pathlib import Path
from typing import Final

from facekp.classes import BACKGROUND, Classes
from facekp.data.layout import SPLITS
from facekp.data.prepare.dataset import SETS, DataSet, labelled

EASYPORTRAIT: Final = Classes.of(
    (BACKGROUND, "person", "skin", "r_brow", "l_brow", "r_eye", "l_eye", "lips", "teeth"),
    parts={"cloth": ["person"], "u_lip": ["lips"], "mouth": ["teeth"]},
)


@SETS.register("easyportrait")
def open_easyportrait(raw: Path) -> DataSet | None:
    """Return EasyPortrait in a folder, if it is there; splits may be missing."""
    folders = [(raw / "images" / split, raw / "annotations" / split, split) for split in SPLITS]
    found = [(images, masks, split) for images, masks, split in folders if images.is_dir() and masks.is_dir()]
    return labelled(raw, EASYPORTRAIT, found) if found else None
