"""Join the files of all photos that shards have left: `facekp merge OUT`, after `facekp predict ... OUT shard=K/N`."""

import json
import shutil
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from omegaconf import MISSING

from facekp.cli import parse_cli
from facekp.errors import DataError, run_command
from facekp.files import OVERWRITE, begins_with, expand, keep_foreign
from facekp.formats.base import RunFormat, all_formats
from facekp.predict.results import LIST, OF, SHARDS, join, piece
from facekp.settings import Affects, Settings, setting


@dataclass
class MergeSettings(Settings):
    """The folder of the results."""

    out: str = setting(MISSING, "the out= of the shards", affects=Affects.PLACE, path=True)
    overwrite: bool = setting(False, OVERWRITE, affects=Affects.PLACE)


def main(argv: list[str]) -> None:
    """Join the files of the folder that `argv` names, and print their names."""
    settings = parse_cli(MergeSettings, argv, program="facekp merge", about=__doc__ or "")
    for path in merge(expand(settings.out), overwrite=settings.overwrite):
        print(path)


def merge(out: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the files of all photos of a run from its shards' pieces, which are removed, and return their paths.

    They are equal to those of one run on all photos.

    Raises:
        DataError: shards that have not finished or do not belong together, or files that facekp did not write.
    """
    counts = {path.name.partition(OF)[2] for path in (out / SHARDS).glob(f"*{OF}*")}
    again = f"remove '{out / SHARDS}', run all shards again, and merge"
    if not counts:
        remedy = "predict with shard=1/N to N/N and export=[coco] or [csv]"
        raise DataError(f"out is '{out}', which has no shards: {remedy}")
    if len(counts) > 1:
        raise DataError(f"out is '{out}', which has shards of {' and of '.join(sorted(counts))}: {again}")
    (n,) = counts
    folders = [out / SHARDS / f"{k}{OF}{n}" for k in range(1, int(n) + 1)]
    if absent := [folder.name.replace(OF, "/") for folder in folders if not (folder / LIST).is_file()]:
        raise DataError(f"out is '{out}', where shards have not finished: run shard={', '.join(absent)}, then merge")
    lists = [json.loads((folder / LIST).read_text(encoding="utf-8")) for folder in folders]
    if len({(one["source"], *one["files"]) for one in lists}) != 1:
        raise DataError(f"out is '{out}', whose shards are of different photos or formats: {again}")
    forms = [form for form in all_formats().values() if isinstance(form, RunFormat) and form.file in lists[0]["files"]]
    written = {out / form.file: begins_with(form.mark) for form in forms}
    keep_foreign(written, overwrite=overwrite)
    skipped = sum(one["skipped"] for one in lists)
    for form in forms:
        pairs = zip(folders, lists, strict=True)
        shares = [[piece(folder, photo, form) for photo in one["photos"]] for folder, one in pairs]
        join(form, [path for turn in zip_longest(*shares) for path in turn if path is not None], skipped, out)
    shutil.rmtree(out / SHARDS)
    return list(written)


if __name__ == "__main__":
    run_command(main)
