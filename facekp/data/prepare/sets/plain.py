"""Data of one's own: `images/`, `masks/` of ids with the same names, and `classes.json`.

`index.csv`, or `train.txt`, `val.txt` and `test.txt`, give the splits; otherwise a tenth of the images is val and a
tenth test, drawn with a seed. A prepared data set, whose masks are `labels/`, is one of these too.
"""

from pathlib import Path

from facekp.data.class_sets import CLASS_FILE, read_class_file, read_classes
from facekp.data.layout import IMAGES, INDEX, LABELS, SPLITS, list_samples
from facekp.data.prepare.dataset import SETS, SUFFIXES, DataSet, labelled, share_splits
from facekp.errors import DataError

MASKS = "masks"


@SETS.register("plain")
def open_plain(raw: Path) -> DataSet | None:
    """Return the images and masks of a folder, if it has such."""
    images = raw / IMAGES
    index = {sample.id: sample.split for sample in list_samples(raw)} if (raw / INDEX).is_file() else {}
    if index and (raw / LABELS).is_dir():
        return labelled(raw, read_classes(raw), [(images, raw / LABELS, None)], splits=index)
    if not images.is_dir() or not (raw / MASKS).is_dir():
        return None
    path = raw / CLASS_FILE
    if not path.is_file():
        raise DataError(f"folder '{raw}': no {CLASS_FILE} for its {MASKS}/; write one (docs/guides/classes.md)")
    classes, values = read_class_file(path)
    ids = {value: i for i, value in enumerate(values)}
    return labelled(raw, classes, [(images, raw / MASKS, None)], ids=ids, splits=index or _read_splits(raw))


def _read_splits(raw: Path) -> dict[str, str]:
    """Return the split of each image by its name without a suffix, from lists of names or else drawn."""
    splits: dict[str, str] = {}
    for path in (raw / f"{split}.txt" for split in SPLITS):
        for line in path.read_text(encoding="utf-8-sig").split() if path.is_file() else ():
            name = Path(line).stem if Path(line).suffix.lower() in SUFFIXES else line
            if splits.setdefault(name, path.stem) != path.stem:
                raise DataError(f"{path}: lists {name}, which {splits[name]}.txt lists too; keep it in one of them")
    return splits or share_splits(p.stem for p in (raw / IMAGES).iterdir() if p.suffix.lower() in SUFFIXES)
