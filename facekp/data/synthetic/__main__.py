"""`facekp synthetic out=FOLDER`: draw synthetic faces in CelebAMask-HQ's official layout."""

from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import MISSING

from facekp.cli import parse_cli
from facekp.errors import run_command
from facekp.files import expand
from facekp.settings import Affects, Settings, at_least, setting


@dataclass
class SyntheticSettings(Settings):
    """Number and size of the faces, and their folder."""

    out: str = setting(
        MISSING, "folder for the faces, in CelebAMask-HQ's official layout", affects=Affects.PLACE, path=True
    )
    train: int = setting(320, "faces of the training split", check=at_least(0))
    val: int = setting(48, "faces of the validation split", check=at_least(0))
    test: int = setting(16, "faces of the test split", check=at_least(0))
    seed: int = setting(0, "random seed; faces differ between seeds", check=at_least(0))
    size: int = setting(512, "side of the images, pixels", check=at_least(64))


def main(argv: Sequence[str]) -> None:
    """Draw the faces that `argv` asks for."""
    config = parse_cli(SyntheticSettings, argv, program="facekp synthetic", about=__doc__ or "")

    from facekp.data.synthetic.write import write_synthetic  # imports OpenCV, so only once the settings are checked

    counts = {"train": config.train, "val": config.val, "test": config.test}
    write_synthetic(expand(config.out), counts, config.seed, config.size)


if __name__ == "__main__":
    run_command(main)
