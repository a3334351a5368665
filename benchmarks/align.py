"""Faces pasted into larger pictures, found and parsed there: `python -m benchmarks.align data.root=... [ckpt=...]`.

Each labelled face is turned, scaled and pasted on a background, so that its label in that picture is known. The result
is compared with that of the same face, as large, parsed before it was pasted (`framed`), and with that of the picture
cut by the known frame (`known`), which loses what pasting loses, but nothing by detection and alignment. Without `ckpt`
the labels stand in for a network's scores: what is lost then is lost by detection, cropping and placing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from tabulate import tabulate
from tqdm import tqdm

from benchmarks.card.scores import class_scores
from benchmarks.harness import run, stamp, write_json
from benchmarks.samples import SIZE, LabelParser, read_samples
from facekp.classes import IGNORE_INDEX, NUM_CLASSES
from facekp.config import DataConfig
from facekp.data.layout import Sample
from facekp.files import expand
from facekp.images import UInt8Array, read_image, read_label, resize
from facekp.parsing import scenes as views
from facekp.parsing.face import Face
from facekp.parsing.face_crop import Crop
from facekp.parsing.parser import FaceParser
from facekp.settings import Settings as Checked
from facekp.settings import at_least, setting

Confusion = npt.NDArray[np.int64]
BACKGROUNDS = ("noise", "gradient", "picture")
CANVAS = (900, 1200)  # height and width of the pictures, which grow with faces that would not fit
BEYOND = 0.2  # share of a frame's side that lies beyond the picture's border in the cases with `beyond`
NEAR = 0.2  # A crop is of the face if its corners are, on average, within this share of the side of the true ones


@dataclass
class Settings(Checked):
    """What is pasted, and how."""

    data: DataConfig = field(default_factory=DataConfig)
    ckpt: str | None = setting(None, "a checkpoint; null: the labels stand in for scores")
    images: int = setting(12, "pictures of each scale and angle", check=at_least(1))
    scales: list[float] = setting([0.25, 0.5, 1.0, 2.0, 8.0], "widths of the faces over 512 pixels")
    angles: list[float] = setting([-30.0, -15.0, 0.0, 15.0, 30.0], "degrees")
    seed: int = setting(0, "seed of places and backgrounds")
    out: str | None = setting(None, "JSON file for the table")


@dataclass(frozen=True)
class Case:
    """How faces are pasted: `scale` times 512 pixels wide, turned clockwise by `angle` degrees, cut by the border."""

    scale: float
    angle: float
    beyond: bool = False


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture (H, W, 3) uint8 RGB with one face in it, its label (H, W) uint8 (255 around it), and its frame."""

    image: UInt8Array
    label: UInt8Array
    frame: Crop


@dataclass(frozen=True, kw_only=True)
class Row(Case):
    """Shares of a case's faces that were `detected` and `found`, other detections per picture, and mean IoUs.

    `miou` is of the faces that were parsed, without background; `framed` of them before they were pasted; `known` of
    the pictures cut by the true frame; `ratio` is miou / framed.
    """

    detected: float
    found: float
    others: float
    miou: float
    framed: float
    known: float
    ratio: float


def draw_scene(samples: Sequence[Sample], index: int, case: Case, seed: int) -> Scene:
    """Paste a labelled face at a random place in a picture."""
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
    return Scene(np.where((truth == IGNORE_INDEX)[..., None], around, np.asarray(turned, np.uint8)), truth, frame)


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
    other = read_image(samples[(index + 1) % len(samples)].image)[::-1]  # upside down, so that no face is found
    return np.asarray(cv2.resize(other, (width, height)), np.uint8)


def count(truth: UInt8Array, guess: UInt8Array) -> Confusion:
    """Return the confusion matrix (19, 19), truth by guess, of the pixels that have a truth."""
    known = truth != IGNORE_INDEX
    pairs = truth[known] * np.int64(NUM_CLASSES) + np.where(guess[known] == IGNORE_INDEX, 0, guess[known])
    return np.bincount(pairs, minlength=NUM_CLASSES**2).reshape(NUM_CLASSES, NUM_CLASSES)


def mean_iou(confusion: Confusion) -> float:
    """Return the mean IoU of the classes but background that occur; 0 if none does."""
    iou = class_scores(confusion)[1][1:]
    return float(np.nanmean(iou)) if np.isfinite(iou).any() else 0.0


def measure(parser: FaceParser, samples: Sequence[Sample], case: Case, seed: int) -> Row:
    """Return what is found of the faces pasted by a case."""
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
    shares: dict[str, Any] = {
        "detected": detected / len(samples),
        "found": found / len(samples),
        "others": others / len(samples),
    }
    scores: dict[str, Any] = {"miou": mean_iou(ours), "framed": mean_iou(framed), "known": mean_iou(known)}
    return Row(**vars(case), **shares, **scores, ratio=scores["miou"] / (scores["framed"] or 1))


def see(parser: FaceParser, scene: Scene) -> tuple[list[Crop], list[Face]]:
    """Return the faces found in a picture, and their crops."""
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
    """Yield the masks of the faces as they came, in the pixels that they have where they are pasted by `scale`."""
    for sample in samples:
        small = shrink(read_image(sample.image), scale)
        if isinstance(parser, LabelParser):
            label = cv2.resize(read_label(sample.label), small.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
            parser.stages.label = np.asarray(label, np.uint8)
        yield parser(small)[0].mask


def shrink(face: UInt8Array, scale: float) -> UInt8Array:
    """Return a face at `scale` times 512 pixels, or as it is if that is larger."""
    side = round(min(SIZE, SIZE * scale))
    return resize(face, (side, side))


def main(config: Settings) -> None:
    """Print a table, and write it."""
    parser = FaceParser.from_checkpoint(config.ckpt) if config.ckpt else LabelParser()
    samples = read_samples(config.data, "val", config.images)
    cases = [Case(scale, angle) for scale, angle in product(config.scales, config.angles)]
    cases += [Case(1.0, angle, beyond=True) for angle in config.angles]
    rows = [asdict(measure(parser, samples, case, config.seed)) for case in cases]
    shown = [{"pixels": SIZE * row["scale"], **row} for row in rows]
    print(tabulate(shown, headers="keys", floatfmt=("g", "g", "g", "", *[".3f"] * 7)))
    if config.out:
        about = {"answers": "a checkpoint" if config.ckpt else "the labels", "detector": "haar", "split": "val"}
        counts = {"images": config.images, "seed": config.seed}
        write_json(expand(config.out), stamp() | about | counts | {"rows": rows})


if __name__ == "__main__":
    run(Settings, main, __doc__)
