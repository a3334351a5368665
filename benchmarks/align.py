"""Faces put into larger pictures, found and parsed there: `python -m benchmarks.align data.root=... [ckpt=...]`.

Each labelled face is turned, scaled and pasted on a background, so that its label in that picture is known. The result
is compared with that of the same face, as large, framed as it came, put into the picture by the frame that is known;
and with that of the picture cut by that frame, which has lost what pasting loses, but nothing by finding and framing.
Without `ckpt` the label itself answers instead of a network: what is lost then is lost by finding, cropping and putting
back.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import product
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from benchmarks.labels import LabelParser
from facekp.classes import IGNORE_INDEX, NUM_CLASSES
from facekp.cli import parse_cli
from facekp.data.layout import SPLITS, Sample, read_index
from facekp.errors import DataError, one_line_errors, require
from facekp.files import expand, replacing
from facekp.hardware import describe_machine, keep_freed_memory, list_versions
from facekp.images import UInt8Array, read_image, read_label, resize
from facekp.parsing import scenes as views
from facekp.parsing.choices import HAAR
from facekp.parsing.detectors import open_detector
from facekp.parsing.face import Face
from facekp.parsing.face_crop import Crop
from facekp.parsing.parser import FaceParser

Confusion = npt.NDArray[np.int64]
BACKGROUNDS = ("noise", "gradient", "picture")
SIZE = 512
CANVAS = (900, 1200)
"""Height and width of the pictures, which grow with faces that would not fit."""
BEYOND = 0.2
"""Share of a frame's side that lies beyond the border of the picture, in the rows about that."""
NEAR = 0.2
"""A crop is of the face where its corners are, on average, within this share of the side of the true ones."""


@dataclass
class Root:
    """Where the labelled faces are."""

    root: str | None = None


@dataclass
class AlignConfig:
    """What is pasted, and how."""

    data: Root = field(default_factory=Root, metadata={"help": "a prepared CelebAMask-HQ"})
    ckpt: str | None = field(default=None, metadata={"help": "a checkpoint; null: the labels answer"})
    split: str = field(default="val", metadata={"help": "train, val or test"})
    images: int = field(default=12, metadata={"help": "pictures of each scale and angle"})
    scales: list[float] = field(default_factory=lambda: [0.25, 0.5, 1.0, 2.0, 8.0], metadata={"help": "of 512 pixels"})
    angles: list[float] = field(default_factory=lambda: [-30.0, -15.0, 0.0, 15.0, 30.0], metadata={"help": "degrees"})
    detector: str = field(default=HAAR, metadata={"help": "haar, or the path of a YuNet .onnx file"})
    seed: int = 0
    out: str | None = field(default=None, metadata={"help": "JSON file that the table is written to"})

    def __post_init__(self) -> None:
        """Check values."""
        require("data.root", self.data.root, self.data.root is not None, "give a prepared CelebAMask-HQ")
        require("split", self.split, self.split in SPLITS, f"choose one of {', '.join(SPLITS)}")
        require("images", self.images, self.images >= 1, "give at least 1")


@dataclass(frozen=True)
class Case:
    """How faces are pasted: `scale` times 512 pixels wide, turned by `angle` degrees, clockwise as seen."""

    scale: float
    angle: float
    beyond: bool = False  # whether the picture's border cuts them


@dataclass(frozen=True)
class Scene:
    """A picture (H, W, 3) uint8 RGB with one face in it, its label (H, W) uint8 (255 around it), and its frame."""

    image: UInt8Array
    label: UInt8Array
    frame: Crop


@dataclass(frozen=True)
class Row:
    """What became of the faces of a case.

    Attributes:
        detected: share of them that the detector gave a crop of.
        found: share of them that were parsed.
        others: faces per picture that are none.
        miou: mean IoU over the classes but background, of those that were parsed.
        framed: the same of the results for the same faces framed as they came.
        known: the same of the results for the pictures cut by the true frame.
        ratio: miou / framed.
    """

    scale: float
    angle: float
    beyond: bool
    detected: float
    found: float
    others: float
    miou: float
    framed: float
    known: float
    ratio: float


def draw_scene(samples: Sequence[Sample], index: int, case: Case, seed: int) -> Scene:
    """Paste a labelled face somewhere in a picture, by `case`."""
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
    around = _background(samples, index, (height, width), rng)
    image = np.where((truth == IGNORE_INDEX)[..., None], around, np.asarray(turned, np.uint8))
    return Scene(image, truth, frame)


def put_back(mask: UInt8Array, frame: Crop, size: tuple[int, int]) -> UInt8Array:
    """Return a mask (s, s) of a frame as that of the picture of `size` (H, W), 255 around it."""
    matrix = frame.matrix(len(mask))
    placed = cv2.warpAffine(mask, matrix, size[::-1], flags=cv2.INTER_NEAREST, borderValue=IGNORE_INDEX)
    return np.asarray(placed, np.uint8)


def _background(samples: Sequence[Sample], index: int, size: tuple[int, int], rng: np.random.Generator) -> UInt8Array:
    height, width = size
    kind = BACKGROUNDS[index % len(BACKGROUNDS)]
    if kind == "noise":
        return rng.integers(0, 256, (height, width, 3), np.uint8)
    if kind == "gradient":
        ramp = np.linspace(rng.uniform(0, 255, 3), rng.uniform(0, 255, 3), width)
        return np.broadcast_to(ramp, (height, width, 3)).astype(np.uint8)
    other = read_image(samples[(index + 1) % len(samples)].image)[::-1]  # upside down: no face to be found
    return np.asarray(cv2.resize(other, (width, height)), np.uint8)


def count(truth: UInt8Array, guess: UInt8Array) -> Confusion:
    """Return the confusion matrix (19, 19), truth by guess, of the pixels that have a truth."""
    known = truth != IGNORE_INDEX
    pairs = truth[known] * np.int64(NUM_CLASSES) + np.where(guess[known] == IGNORE_INDEX, 0, guess[known])
    return np.bincount(pairs, minlength=NUM_CLASSES**2).reshape(NUM_CLASSES, NUM_CLASSES)


def mean_iou(confusion: Confusion) -> float:
    """Return the mean IoU of the classes but background that are there; 0 where none is."""
    both = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    there = np.flatnonzero(both[1:] > 0) + 1
    return float((confusion.diagonal()[there] / both[there]).mean()) if len(there) else 0.0


def measure(parser: FaceParser, samples: Sequence[Sample], case: Case, seed: int) -> Row:
    """Return what becomes of the faces pasted by a case."""
    aligned = list(align_masks(parser, samples, case.scale))
    detected, found, others = 0, 0, 0
    ours, framed, known = np.zeros((3, NUM_CLASSES, NUM_CLASSES), np.int64)
    for index in tqdm(range(len(samples)), desc=f"{case.scale:g} {case.angle:g}", leave=False):
        scene = draw_scene(samples, index, case, seed)
        detected += any(crop.distance_to(scene.frame) < 2 * NEAR for crop in parser.stages.detector(scene.image))
        crops, faces = see(parser, scene)
        near = [face for crop, face in zip(crops, faces, strict=True) if crop.distance_to(scene.frame) < NEAR]
        others += len(faces) - len(near[:1])
        if near:
            found += 1
            ours += count(scene.label, near[0].mask)
            size = (scene.image.shape[0], scene.image.shape[1])
            framed += count(scene.label, put_back(aligned[index], scene.frame, size))
            known += count(scene.label, see_framed(parser, scene).mask)
    n = len(samples)
    miou, reference = mean_iou(ours), mean_iou(framed)
    return Row(**asdict(case), detected=detected / n, found=found / n, others=others / n, miou=miou,
               framed=reference, known=mean_iou(known), ratio=miou / (reference or 1))  # fmt: skip


def see(parser: FaceParser, scene: Scene) -> tuple[list[Crop], list[Face]]:
    """Return the faces found in a picture, and where they are framed."""
    if isinstance(parser, LabelParser):
        parser.stages.label = np.where(scene.label == IGNORE_INDEX, np.uint8(0), scene.label)
    parsed = parser.stages.parse([parser.stages.look(scene.image, "auto")])[0].confirmed()
    return [view.crop or Crop.central(parsed.size) for view in parsed.views], parser.stages.trace(parsed)


def see_framed(parser: FaceParser, scene: Scene) -> Face:
    """Return the face in a picture, cut by its true frame."""
    view = views.View(scene.frame, parser.stages.cut(scene.image, scene.frame))
    (face,) = parser.stages.trace(parser.stages.score([views.Scene(scene.image, (view,))])[0])
    return face


def align_masks(parser: FaceParser, samples: Sequence[Sample], scale: float) -> Iterator[UInt8Array]:
    """Yield the masks of faces framed as they came, in the pixels that they have where they are pasted by `scale`."""
    for sample in samples:
        small = shrink(read_image(sample.image), scale)
        if isinstance(parser, LabelParser):
            label = cv2.resize(read_label(sample.label), small.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
            parser.stages.label = np.asarray(label, np.uint8)
        yield parser(small)[0].mask


def shrink(face: UInt8Array, scale: float) -> UInt8Array:
    """Return a face at `scale` times 512 pixels, or as it is where that is larger."""
    side = round(min(SIZE, SIZE * scale))
    return resize(face, (side, side))


def describe(config: AlignConfig, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the content of `align.json`."""
    return {
        "machine": describe_machine(),
        "versions": list_versions(),
        "date": datetime.now(UTC).date().isoformat(),
        "answers": "a checkpoint" if config.ckpt else "the labels",
        "detector": HAAR if config.detector == HAAR else "yunet",
        "split": config.split,
        "images": config.images,
        "seed": config.seed,
        "rows": [asdict(row) for row in rows],
    }


def main(argv: Sequence[str]) -> None:
    """Print a table, and write it."""
    keep_freed_memory()
    config = parse_cli(AlignConfig, argv, program="python -m benchmarks.align", about=__doc__ or "")
    detector = open_detector(config.detector)
    parser = FaceParser.from_checkpoint(config.ckpt, detector=config.detector) if config.ckpt else LabelParser(detector)
    samples = read_index(expand(config.data.root or ""))[config.split][: config.images]
    if not samples:
        raise DataError(f"split '{config.split}' has no images: choose another")
    cases = [Case(scale, angle) for scale, angle in product(config.scales, config.angles)]
    cases += [Case(1.0, angle, beyond=True) for angle in config.angles]
    rows = []
    print("pixels  angle  cut detected found others   mIoU framed  known  ratio")
    for case in cases:
        row = measure(parser, samples, case, config.seed)
        rows.append(row)
        print(
            f"{SIZE * row.scale:>6g} {row.angle:>6g} {'yes' if row.beyond else 'no':>4} {row.detected:>8.2f} "
            f"{row.found:>5.2f} {row.others:>6.2f} {row.miou:>6.3f} {row.framed:>6.3f} {row.known:>6.3f} "
            f"{row.ratio:>6.3f}",
            flush=True,
        )
    if config.out:
        with replacing(expand(config.out)) as part:
            part.write_text(json.dumps(describe(config, rows), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])
