"""`python -m benchmarks.places data.root=...`: where the parts of a face lie in CelebA-HQ's training labels.

The constants of `facekp.parsing.alignment`, and those of the cascade in `facekp.parsing.detectors`, come from here.
"""

import sys
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from benchmarks.align import Root
from facekp.classes import ATTRIBUTES
from facekp.cli import parse_cli
from facekp.data.layout import Sample, read_index
from facekp.errors import one_line_errors, require
from facekp.files import expand
from facekp.images import read_image, read_label
from facekp.parsing.alignment import CLASSES, PLACES, find_part, fit_crop
from facekp.parsing.detectors import BOX_MIDDLE, BOX_SIDE, HaarDetector
from facekp.parsing.face_crop import Crop

PARTS = ("l_eye", "r_eye", "nose", "mouth")
QUANTILES = (0.5, 0.9, 0.99, 0.999, 1)
QUANTILES_LOW = (0.001, 0.01, 0.1)


@dataclass
class PlacesConfig:
    """What is measured."""

    data: Root = field(default_factory=Root, metadata={"help": "a prepared CelebAMask-HQ"})
    labels: int | None = field(default=None, metadata={"help": "training labels that are measured; null: all"})
    boxes: int = field(default=300, metadata={"help": "training images that the cascade looks at"})

    def __post_init__(self) -> None:
        """Check values."""
        require("data.root", self.data.root, self.data.root is not None, "give a prepared CelebAMask-HQ")


def print_parts(samples: list[Sample]) -> None:
    """Print the mean places, how far the parts of a face are from them, how a fitted crop errs, and the least skin."""
    found: list[dict[str, complex]] = []
    skin, areas = [], []
    for sample in tqdm(samples, desc="labels", leave=False):
        label = read_label(sample.label)
        found.append({name: place for name in PLACES if (place := find_part(label, name)) is not None})
        shares = np.bincount(label.ravel(), minlength=len(ATTRIBUTES)) / label.size
        skin.append(shares[ATTRIBUTES.index("skin")])
        areas += [area for name in PARTS if (area := sum(shares[ATTRIBUTES.index(c)] for c in CLASSES[name])) > 0]
    for name in PLACES:
        own = np.array([places[name] for places in found if name in places])
        if name == "eye_g":  # only sunglasses say where the eyes are
            own = np.array([p[name] for p in found if name in p and not p.keys() & {"l_eye", "r_eye"}])
        print(f"{name:<6} {len(own):>5} labels, mean {own.mean():.4f}, median {np.median(own.real):.4f} "
              f"{np.median(own.imag):.4f}, deviation {own.real.std():.4f} {own.imag.std():.4f}")  # fmt: skip
    fits = [fit_crop({name: p[name] for name in PARTS}) for p in found if set(PARTS) <= p.keys()]
    residuals = [residual for _, residual in fits]
    corners = [abs(crop.corners() - Crop(0, 1).corners()).mean() for crop, _ in fits]
    print(f"quantiles {QUANTILES}: residual {np.quantile(residuals, QUANTILES).round(4)}, "
          f"corners {np.quantile(corners, QUANTILES).round(4)}")  # fmt: skip
    print(f"least skin {min(skin):.4f}, part areas at {QUANTILES_LOW}: {np.quantile(areas, QUANTILES_LOW).round(6)}")


def print_boxes(samples: list[Sample]) -> None:
    """Print where the cascade's boxes lie, from the crops that `facekp.parsing.detectors` makes of them."""
    detector = HaarDetector()
    sides, middles = [], []
    for sample in tqdm(samples, desc="images", leave=False):
        image = read_image(sample.image)
        crops = detector(image)
        if len(crops) == 1 and abs(np.angle(crops[0].edge)) < 1e-6:
            sides.append(crops[0].side * BOX_SIDE / len(image))
            middles.append(crops[0].at(BOX_MIDDLE) / len(image))
    print(f"{len(sides)} single upright boxes: side {np.median(sides):.4f}, middle {np.median(np.real(middles)):.4f} "
          f"{np.median(np.imag(middles)):.4f}")  # fmt: skip


def main(argv: list[str]) -> None:
    """Print what was measured."""
    config = parse_cli(PlacesConfig, argv, program="python -m benchmarks.places", about=__doc__ or "")
    samples = read_index(expand(config.data.root or ""))["train"]
    print_parts(samples[: config.labels])
    print_boxes(samples[: config.boxes])


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])
