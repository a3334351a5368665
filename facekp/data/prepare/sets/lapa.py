"""LaPa: `train`, `val` and `test`, each with `images/` and `labels/`.

Reference: Liu et al. 2020, https://github.com/jd-opensource/lapa-dataset; for left and right see `ID_TABLES`.
"""

from pathlib import Path

from facekp.data.class_sets import LAPA
from facekp.data.layout import SPLITS
from facekp.data.prepare.dataset import SETS, DataSet, labelled


@SETS.register("lapa")
def open_lapa(raw: Path) -> DataSet | None:
    """Return LaPa in a folder, if it is there; splits may be missing."""
    splits = [split for split in SPLITS if (raw / split / "images").is_dir() and (raw / split / "labels").is_dir()]
    if not splits:
        return None
    return labelled(raw, LAPA, [(raw / split / "images", raw / split / "labels", split) for split in splits])
