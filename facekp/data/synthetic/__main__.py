"""`python -m facekp.data.synthetic out=FOLDER`: draw synthetic faces in CelebAMask-HQ's official layout."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from omegaconf import MISSING

from facekp.cli import parse_cli
from facekp.errors import one_line_errors, require
from facekp.files import expand


@dataclass
class SyntheticSettings:
    """Number and size of the faces, and their folder."""

    out: str = field(default=MISSING, metadata={"help": "folder for the faces, in CelebAMask-HQ's official layout"})
    train: int = field(default=320, metadata={"help": "faces of the training split"})
    val: int = field(default=48, metadata={"help": "faces of the validation split"})
    test: int = field(default=16, metadata={"help": "faces of the test split"})
    seed: int = field(default=0, metadata={"help": "other seeds give other faces"})
    size: int = field(default=512, metadata={"help": "side of the images, pixels"})

    def __post_init__(self) -> None:
        """Check ranges."""
        for name, least in (("train", 0), ("val", 0), ("test", 0), ("seed", 0), ("size", 64)):
            require(name, getattr(self, name), getattr(self, name) >= least, f"give {least} or more")


def main(argv: Sequence[str]) -> None:
    """Draw the faces that `argv` asks for."""
    config = parse_cli(SyntheticSettings, argv, program="python -m facekp.data.synthetic", about=__doc__ or "")
    from facekp.data.synthetic.write import write_synthetic  # OpenCV, only once the settings are right

    counts = {"train": config.train, "val": config.val, "test": config.test}
    write_synthetic(expand(config.out), counts, config.seed, config.size)


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])
