"""Compare runs: `facekp compare RUN... out=FOLDER` writes comparison.html, .md, .csv and -*.svg.

A RUN is a run folder, the folder of a sweep (all its jobs), or a metrics.json under any name.
"""

from dataclasses import dataclass
from pathlib import Path

from facekp.cli import parse_cli
from facekp.errors import ConfigError, printable, run_command
from facekp.files import OVERWRITE, expand
from facekp.settings import Affects, Settings, between, setting


@dataclass
class CompareConfig(Settings):
    """Output folder and target of a comparison."""

    out: str | None = setting(
        None, "folder for the files; null: a single RUN's own, else comparison", affects=Affects.PLACE, path=True
    )
    target: float | None = setting(
        None, "mIoU to report the time to; null: the highest that all reached, in steps of 0.05", between(0, 1, "(]")
    )
    overwrite: bool = setting(False, OVERWRITE, affects=Affects.PLACE)


def main(argv: list[str]) -> None:
    """Compare the runs and print the ranking."""
    # A sweep's folders may have names such as lr=0.1.
    own = ("-", "out=", "target=", "overwrite=")
    runs = [a for a in argv if not a.startswith(own) and ("=" not in a or Path(a).exists())]
    paths = [expand(run) for run in runs if run != "help"]
    settings = [a for a in argv if a not in runs or a == "help"]
    config = parse_cli(CompareConfig, settings, program="facekp compare RUN...", about=__doc__ or "")
    if not any(path.exists() for path in paths):
        places = " or ".join(f"'{path}'" for path in paths)
        where = f"in {places}" if paths else "is given"
        raise ConfigError(f"no run {where}: give run folders, a sweep's folder, or metrics.json files")
    from facekp.compare.report import compare  # pandas and matplotlib take a second

    out = paths[0] if len(paths) == 1 and paths[0].is_dir() else Path("comparison")
    found = compare(paths, expand(config.out) if config.out else out, config.target, overwrite=config.overwrite)
    print(printable(found))


if __name__ == "__main__":
    run_command(main)
