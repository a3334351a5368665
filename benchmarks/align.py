"""`python -m benchmarks.align data.root=... [ckpt=...]`: faces put into larger pictures, found and parsed there.

Each labelled face is turned, scaled and pasted on a background, so that its label in that picture is known. Without a
checkpoint the label itself answers instead of a network; what is lost then is lost by cropping and putting back.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, product

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from facekp.align import Crop
from facekp.attributes import NUM_CLASSES
from facekp.cli import parse_cli
from facekp.config import expand, require
from facekp.data.layout import SPLITS, Sample, read_index
from facekp.errors import one_line_errors
from facekp.face import Face
from facekp.images import UInt8Array, read_image, read_label
from facekp.parser import FaceParser
from facekp.upsample import Scores

Confusion = npt.NDArray[np.int64]
BACKGROUNDS = ("noise", "gradient", "picture")
SIZE = 512
CANVAS = (900, 1200)
"""Height and width of the pictures, which grow with faces that would not fit."""
STRIDE = 4
SURE = 10.0
NEAR = 0.25
"""A face is found where a crop's middle is within this share of its side of the true one, and its side within twice."""


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
    images: int = field(default=30, metadata={"help": "pictures of each scale and angle"})
    scales: list[float] = field(default_factory=lambda: [0.25, 0.5, 1.0, 2.0, 4.0])
    angles: list[float] = field(default_factory=lambda: [0.0, 15.0, -15.0, 30.0, -30.0])
    detector: str = field(default="haar", metadata={"help": "haar, or the path of a YuNet .onnx file"})
    seed: int = 0

    def __post_init__(self) -> None:
        """Check values."""
        require("data.root", self.data.root, self.data.root is not None, "give a prepared CelebAMask-HQ")
        require("split", self.split, self.split in SPLITS, f"choose one of {', '.join(SPLITS)}")
        require("images", self.images, self.images >= 1, "give at least 1")


@dataclass(frozen=True)
class Scene:
    """A picture (H, W, 3) uint8 RGB with one face in it, its label (H, W) uint8, and the face's frame."""

    image: UInt8Array
    label: UInt8Array
    frame: Crop


class Labels:
    """A backend that answers with the labels which `LabelParser` gives it for pixels."""

    size, batch, streams = SIZE, 16, 1

    def __call__(self, images: UInt8Array) -> list[Scores]:
        """Return one score map, at stride 4: each class's share of the pixels."""
        cells = SIZE // STRIDE
        shares: list[Scores] = [
            (images[..., 0] == i).reshape(-1, cells, STRIDE, cells, STRIDE).mean((2, 4), dtype=np.float32)
            for i in range(NUM_CLASSES)
        ]
        return [SURE * np.stack(shares, axis=-1)]


class LabelParser(FaceParser):
    """A parser that looks for faces in the picture, and sees `label` (H, W) uint8 there."""

    label: UInt8Array

    def prepare(self, image: UInt8Array) -> UInt8Array:
        """Return the whole label as pixels."""
        return _as_pixels(cv2.resize(self.label, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST_EXACT))

    def cut(self, image: UInt8Array, crop: Crop) -> UInt8Array:
        """Return the label's crop as pixels."""
        flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        matrix = crop.matrix(SIZE)
        return _as_pixels(
            cv2.warpAffine(self.label, matrix, (SIZE, SIZE), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
        )


def _as_pixels(label: cv2.typing.MatLike) -> UInt8Array:
    return np.repeat(np.asarray(label, np.uint8)[..., None], 3, axis=2)


def draw_scene(samples: list[Sample], index: int, scale: float, angle: float, seed: int) -> Scene:
    """Paste a labelled face, `scale` times 512 pixels wide and turned by `angle` degrees, somewhere in a picture."""
    rng = np.random.default_rng((seed, index))
    face, label = read_image(samples[index].image), read_label(samples[index].label)
    side = SIZE * scale
    height, width = (max(length, round(1.3 * side)) for length in CANVAS)
    canvas = _background(samples, index, (height, width), rng)
    room = np.maximum((width - side, height - side), 0)
    middle = complex(width, height) / 2 + complex(*(rng.uniform(-0.5, 0.5, 2) * room))
    frame = Crop.around(middle, side * np.exp(1j * np.radians(angle)))
    pixels = round(min(SIZE, side))
    face = np.asarray(cv2.resize(face, (pixels, pixels), interpolation=cv2.INTER_AREA), np.uint8)
    size = (width, height)
    inside = cv2.warpAffine(np.ones((pixels, pixels), np.uint8), frame.matrix(pixels), size, flags=cv2.INTER_NEAREST)
    turned = cv2.warpAffine(face, frame.matrix(pixels), size, borderMode=cv2.BORDER_REFLECT_101)
    image = np.where(inside[..., None], turned, canvas).astype(np.uint8)
    truth = cv2.warpAffine(label, frame.matrix(len(label)), size, flags=cv2.INTER_NEAREST)
    return Scene(image, np.asarray(truth, np.uint8), frame)


def _background(samples: list[Sample], index: int, size: tuple[int, int], rng: np.random.Generator) -> UInt8Array:
    height, width = size
    kind = BACKGROUNDS[index % len(BACKGROUNDS)]
    if kind == "noise":
        return rng.integers(0, 256, (height, width, 3), np.uint8)
    if kind == "gradient":
        ramp = np.linspace(rng.uniform(0, 255, 3), rng.uniform(0, 255, 3), width)
        return np.broadcast_to(ramp, (height, width, 3)).astype(np.uint8)
    other = read_image(samples[(index + 1) % len(samples)].image)[::-1]  # upside down: no face to be found
    return np.asarray(cv2.resize(other, (width, height)), np.uint8)


def is_near(crop: Crop, frame: Crop) -> bool:
    """Tell whether a crop is of the face in `frame`."""
    return abs(crop.middle - frame.middle) < NEAR * frame.side and 0.5 < crop.side / frame.side < 2


def count(truth: UInt8Array, guess: UInt8Array) -> Confusion:
    """Return the confusion matrix (19, 19), truth by guess."""
    pairs = np.bincount(truth.ravel() * np.int64(NUM_CLASSES) + guess.ravel(), minlength=NUM_CLASSES**2)
    return pairs.reshape(NUM_CLASSES, NUM_CLASSES)


def mean_iou(confusion: Confusion) -> float:
    """Return the mean IoU of the classes but background that are there."""
    both = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    there = both[1:] > 0
    return float((confusion.diagonal()[1:][there] / both[1:][there]).mean())


def rows(config: AlignConfig, parser: FaceParser) -> Iterator[tuple[float, float, float, float, float, float]]:
    """Yield scale, angle, share of faces detected and parsed, and mIoU in the scenes and framed as in CelebA-HQ."""
    samples = read_index(expand(config.data.root or ""))[config.split][: config.images]
    for scale, angle in product(config.scales, config.angles):
        detected, parsed = 0, 0
        inside, framed = np.zeros((2, NUM_CLASSES, NUM_CLASSES), np.int64)
        for index in tqdm(range(len(samples)), desc=f"{scale:g} {angle:g}", leave=False):
            scene = draw_scene(samples, index, scale, angle, config.seed)
            looks = [parser.detector(scene.image, closer=closer) for closer in (False, True)]
            detected += any(is_near(crop, scene.frame) for crop in chain(*looks))
            face = _parse(parser, scene)
            parsed += face is not None
            inside += count(scene.label, face.mask if face else np.zeros_like(scene.label))
            image, label = read_image(samples[index].image), read_label(samples[index].label)
            alone = _see(parser, image, label)[0].mask
            framed += count(label, alone)
        yield scale, angle, detected / len(samples), parsed / len(samples), mean_iou(inside), mean_iou(framed)


def _parse(parser: FaceParser, scene: Scene) -> Face | None:
    """Return the face of a scene's frame, or None where it was not found."""
    if isinstance(parser, LabelParser):
        parser.label = scene.label
    (photo,) = parser.run([parser.look(scene.image, "auto")], "auto")
    faces = parser.faces(photo)
    whole = Crop(0, photo.size[1])
    near = (face for face, view in zip(faces, photo.views, strict=True) if is_near(view.crop or whole, scene.frame))
    return next(near, None)


def _see(parser: FaceParser, image: UInt8Array, label: UInt8Array) -> list[Face]:
    if isinstance(parser, LabelParser):
        parser.label = label
    return parser(image)


def main(argv: list[str]) -> None:
    """Print a table."""
    config = parse_cli(AlignConfig, argv, program="python -m benchmarks.align", about=__doc__ or "")
    plain = FaceParser.from_checkpoint(config.ckpt) if config.ckpt else LabelParser(Labels())
    parser = plain
    print(f"{'scale':>6} {'angle':>6} {'detected':>9} {'parsed':>7} {'mIoU':>7} {'framed':>7} {'ratio':>6}")
    for scale, angle, detected, parsed, inside, framed in rows(config, parser):
        print(
            f"{scale:>6g} {angle:>6g} {detected:>9.3f} {parsed:>7.3f} {inside:>7.4f} {framed:>7.4f} "
            f"{inside / framed:>6.3f}",
            flush=True,
        )


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])
