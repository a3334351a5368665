"""`facekp audit root=...`: audit a prepared data set."""

from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import MISSING

from facekp.cli import parse_cli
from facekp.errors import run_command
from facekp.files import OVERWRITE, expand
from facekp.settings import Affects, Settings, at_least, setting


@dataclass
class AuditSettings(Settings):
    """Settings of the command."""

    root: str = setting(MISSING, "prepared data set: images/, labels/, index.csv; only read", path=True)
    out: str = setting("audit", "folder that audit.csv and audit.html are written to", affects=Affects.PLACE, path=True)
    overwrite: bool = setting(False, OVERWRITE, affects=Affects.PLACE)
    pictures: int = setting(200, "maximum number of pictures of each kind in audit.html", check=at_least(0))
    workers: int | None = setting(
        None, "number of threads; null: one per core", affects=Affects.SPEED, check=at_least(1)
    )


def main(argv: Sequence[str]) -> None:
    """Audit the data set that `argv` names."""
    about = "Finds duplicates, reversed labels, missing and tiny masks, and damaged files in a prepared data set."
    c = parse_cli(AuditSettings, argv, program="facekp audit", about=about)
    from facekp.data.audit.run import run_audit  # imports OpenCV, so only once the settings are checked

    print(run_audit(expand(c.root), expand(c.out), c.pictures, c.workers, overwrite=c.overwrite))


if __name__ == "__main__":
    run_command(main)
