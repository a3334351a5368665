"""Detection and parsing of faces pasted into pictures: `python -m benchmarks.align data.root=... [ckpt=...]`.

Each labelled face is rotated, scaled and pasted onto a background. The result is compared with that of the same face
before pasting (`framed`), and of the picture cropped at the known frame (`known`), which isolates the loss by pasting
from that by detection and alignment. Without `ckpt`, the labels replace a network's scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import cv2
import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from benchmarks.card.scores import Counts, class_scores, count
from benchmarks.harness import run, stamp, write_json
from benchmarks.samples import SIZE, LabelParser, read_samples
from facekp.classes import IGNORE_INDEX, NUM_CLASSES
from facekp.config import DataConfig
from facekp.data.layout import Sample
from facekp.files import expand
from facekp.images import UInt8Array, read_image, read_label, resize
from facekp.parsing.face_crop import Crop
from facekp.parsing.parser import FaceParser
from facekp.parsing.scenes import Scene, View
from facekp.settings import Settings, at_least, setting

BACKGROUNDS = ("noise", "gradient", "picture")
CANVAS = (900, 1200)  # height and width of the pictures, which grow with faces that would not fit
BEYOND = 0.2  # share of a frame's side that lies beyond the picture's border in the cases with `beyond`
NEAR = 0.2  # a face is found if the crop's corners are on average within this share of the side of the true ones


@dataclass
class Options(Settings):
    """Network, faces, and how they are pasted."""

    data: DataConfig = field(default_factory=DataConfig)
    ckpt: str | None = setting(None, "a checkpoint; null: the labels replace scores")
    images: int = setting(12, "pictures per scale and angle", check=at_least(1))
    scales: list[float] = setting([0.25, 0.5, 1.0, 2.0, 8.0], "widths of the faces, in units of 512 pixels")
    angles: list[float] = setting([-30.0, -15.0, 0.0, 15.0, 30.0], "degrees")
    seed: int = setting(0, "seed of places and backgrounds")
    out: str | None = setting(None, "JSON file for the table")


@dataclass(frozen=True)
class Case:
    """How faces are pasted: `scale` times 512 pixels wide, turned clockwise by `angle` degrees, cut by the border."""

    scale: float
    angle: float
    beyond: bool = False


def draw_scene(samples: Sequence[Sample], index: int, case: Case, seed: int) -> tuple[UInt8Array, UInt8Array, Crop]:
    """Paste a labelled face at a random place; return the picture, its label (255 around the face) and the frame."""
    rng = np.random.default_rng((seed, index))
    face, label = read_image(samples[index].image), read_label(samples[index].label)
    side = SIZE * case.scale
    height, width = (max(length, round(1.3 * side)) for length in CANVAS)
    room = np.maximum((width - side, height - side), 0)
    middle = complex(width, height) / 2 + complex(*(rng.uniform(-0.5, 0.5, 2) * room))
    if case.beyond:
        middle = complex((0.5 - BEYOND) * side, middle.imag)
    frame = Crop.around(middle, side * np.exp(1j * np.radians(case.angle)))
    small = shrink(face, case.scale)
    turned = cv2.warpAffine(small, frame.matrix(len(small)), (width, height), borderMode=cv2.BORDER_REFLECT_101)
    truth = put_back(label, frame, (height, width))
    kind = BACKGROUNDS[index % len(BACKGROUNDS)]
    if kind == "noise":
        around = rng.integers(0, 256, (height, width, 3), np.uint8)
    elif kind == "gradient":
        around = np.linspace(rng.uniform(0, 255, 3), rng.uniform(0, 255, 3), width).astype(np.uint8)
    else:  # upside down, so that no face is found
        other = read_image(samples[(index + 1) % len(samples)].image)[::-1]
        around = np.asarray(cv2.resize(other, (width, height)), np.uint8)
    return np.where((truth == IGNORE_INDEX)[..., None], around, np.asarray(turned, np.uint8)), truth, frame


def put_back(mask: UInt8Array, frame: Crop, size: tuple[int, int]) -> UInt8Array:
    """Map a mask (s, s) from a frame to the picture of `size` (H, W), with 255 around it."""
    matrix = frame.matrix(len(mask))
    placed = cv2.warpAffine(mask, matrix, size[::-1], flags=cv2.INTER_NEAREST, borderValue=IGNORE_INDEX)
    return np.asarray(placed, np.uint8)


def mean_iou(confusion: Counts) -> float:
    """Return the mean IoU of the classes that occur, without background; 0 if none does."""
    iou = class_scores(confusion)[1][1:]
    return float(np.nanmean(iou)) if np.isfinite(iou).any() else 0.0


def measure(parser: FaceParser, samples: Sequence[Sample], case: Case, seed: int) -> dict[str, float]:
    """Return the shares of a case's faces that were `detected` and `found`, `others` per picture, and mean IoUs.

    `miou` is that of the parsed faces, without background; `framed` that of the same faces before pasting; `known` that
    of the pictures cropped at the true frame; `ratio` is miou / framed.
    """
    stages, shares = parser.stages, dict.fromkeys(("detected", "found", "others"), 0.0)
    ours, framed, known = np.zeros((3, NUM_CLASSES, NUM_CLASSES), np.int64)
    for index in tqdm(range(len(samples)), desc=f"{case.scale:g} {case.angle:g}", leave=False):
        alone = parse_alone(parser, samples[index], case.scale)
        image, truth, frame = draw_scene(samples, index, case, seed)
        if isinstance(parser, LabelParser):
            parser.stages.label = without_ignored(truth)
        shares["detected"] += any(crop.distance_to(frame) < 2 * NEAR for crop in stages.detector(image))
        parsed = stages.parse([stages.look(image, "auto")])[0].confirmed()
        crops = [view.crop or Crop.central(parsed.size) for view in parsed.views]
        faces = zip(crops, stages.trace(parsed), strict=True)
        near = [face for crop, face in faces if crop.distance_to(frame) < NEAR]
        shares["others"] += len(crops) - len(near[:1])
        shares["found"] += bool(near)
        if near:
            view = View(frame, stages.cut(image, frame))
            (cut_by_frame,) = stages.trace(stages.score([Scene(image, (view,))])[0])
            ours += count(truth, without_ignored(near[0].mask))
            framed += count(truth, without_ignored(put_back(alone, frame, parsed.size)))
            known += count(truth, without_ignored(cut_by_frame.mask))
    scores = {"miou": mean_iou(ours), "framed": mean_iou(framed), "known": mean_iou(known)}
    shares = {name: number / len(samples) for name, number in shares.items()}
    return {**vars(case), **shares, **scores, "ratio": scores["miou"] / (scores["framed"] or 1)}


def without_ignored(label: UInt8Array) -> UInt8Array:
    """Return a label with its ignored pixels set to background."""
    return np.where(label == IGNORE_INDEX, np.uint8(0), label)


def parse_alone(parser: FaceParser, sample: Sample, scale: float) -> UInt8Array:
    """Return the mask of a face before pasting, at the resolution it has when pasted by `scale`."""
    small = shrink(read_image(sample.image), scale)
    if isinstance(parser, LabelParser):
        label = cv2.resize(read_label(sample.label), small.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        parser.stages.label = np.asarray(label, np.uint8)
    return parser(small)[0].mask


def shrink(face: UInt8Array, scale: float) -> UInt8Array:
    """Return a face at `scale` times 512 pixels, or as it is if that is larger."""
    side = round(min(SIZE, SIZE * scale))
    return resize(face, (side, side))


def main(config: Options) -> None:
    """Print a table, and write it."""
    parser = FaceParser.from_checkpoint(config.ckpt) if config.ckpt else LabelParser()
    samples = read_samples(config.data, "val", config.images)
    cases = [Case(scale, angle) for scale, angle in product(config.scales, config.angles)]
    cases += [Case(1.0, angle, beyond=True) for angle in config.angles]
    rows = [measure(parser, samples, case, config.seed) for case in cases]
    shown = [{"pixels": SIZE * row["scale"], **row} for row in rows]
    print(tabulate(shown, headers="keys", floatfmt=("g", "g", "g", "", *[".3f"] * 7)))
    if config.out:
        about = {"answers": "a checkpoint" if config.ckpt else "the labels", "detector": "haar", "split": "val"}
        counts = {"images": config.images, "seed": config.seed}
        write_json(expand(config.out), stamp() | about | counts | {"rows": rows})


if __name__ == "__main__":
    run(Options, main, __doc__)
