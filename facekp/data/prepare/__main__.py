"""`facekp prepare raw=... out=...`: convert a data set to the prepared layout."""

from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import MISSING

from facekp.cli import parse_cli
from facekp.data.layout import MIN_SIDE
from facekp.errors import printable, run_command
from facekp.files import expand
from facekp.settings import Settings, at_least, setting


@dataclass
class PrepareSettings(Settings):
    """Settings of the command."""

    raw: str = setting(MISSING, "CelebAMask-HQ, LaPa or EasyPortrait as downloaded, or a folder of images/ and masks/")
    out: str = setting(MISSING, "folder to write: images/, labels/, index.csv")
    map: dict[str, str] = setting({}, "new names of classes, to rename or merge them, such as {teeth: mouth}")
    classes: str | None = setting(
        None, "classes to end with: lapa, celebamask, a classes.json or a folder with one; null: those of raw"
    )
    size: int = setting(512, "side of the prepared images, pixels", check=at_least(MIN_SIDE))
    workers: int | None = setting(None, "number of processes; null: one per core", check=at_least(1))
    skip_bad: bool = setting(False, "skip images that are damaged or have no mask")


def main(argv: Sequence[str]) -> None:
    """Prepare a data set and print its summary."""
    about = (
        "Converts CelebAMask-HQ, LaPa, EasyPortrait, or a folder of images/ and masks/ with a classes.json, to the "
        "layout that training reads. Continues an interrupted run."
    )
    config = parse_cli(PrepareSettings, argv, program="facekp prepare", about=about)
    from facekp.data.class_sets import read_target
    from facekp.data.prepare.build import prepare  # only now: it imports OpenCV and Pillow

    done = prepare(
        expand(config.raw), expand(config.out), size=config.size, workers=config.workers, skip_bad=config.skip_bad,
        classes=None if config.classes is None else read_target(config.classes), mapping=config.map,
    )  # fmt: skip
    print(printable(done.text))


if __name__ == "__main__":
    run_command(main)
