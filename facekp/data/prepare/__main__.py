"""`facekp prepare raw=... out=...`: convert CelebAMask-HQ to the prepared layout."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import MISSING

from facekp.cli import parse_cli
from facekp.data.layout import MIN_SIDE
from facekp.errors import one_line_errors
from facekp.files import expand
from facekp.settings import Settings, at_least, setting


@dataclass
class PrepareSettings(Settings):
    """Settings of the command."""

    raw: str = setting(MISSING, "official CelebAMask-HQ folder, as downloaded")
    out: str = setting(MISSING, "folder to write: images/, labels/, index.csv")
    size: int = setting(512, "side of the prepared images, pixels", check=at_least(MIN_SIDE))
    workers: int | None = setting(None, "number of processes; null: one per core", check=at_least(1))
    skip_bad: bool = setting(False, "skip images that are damaged or have no mask")


def main(argv: Sequence[str]) -> None:
    """Prepare a data set and print its summary."""
    about = (
        "Converts the official CelebAMask-HQ folder to the layout that training reads. Continues an interrupted run."
    )
    settings = parse_cli(PrepareSettings, argv, program="facekp prepare", about=about)
    from facekp.data.prepare.build import prepare  # only now: it imports OpenCV and Pillow

    raw, out = expand(settings.raw), expand(settings.out)
    print(prepare(raw, out, size=settings.size, workers=settings.workers, skip_bad=settings.skip_bad).text)


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])
