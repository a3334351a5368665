"""Detection and parsing of faces pasted into pictures: `python -m benchmarks.align data.root=... [ckpt=...]`.

Each labelled face is rotated, scaled and pasted onto a background. The result is compared with that of the same face
before pasting (`framed`), and of the picture cropped at the known frame (`known`), which isolates the loss by pasting
from that by detection and alignment. Crowds are large pictures of many such faces. Without `ckpt`, the labels replace
a network's scores. The time of looking is compared with that of another detector.
"""

import time
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import product
from statistics import median
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from tabulate import tabulate
from tqdm import tqdm

from benchmarks.card.scores import Counts, class_scores, count
from benchmarks.harness import run, stamp, write_json
from benchmarks.samples import SIZE, FaceOptions, LabelParser, read_samples
from facekp.classes import CELEBAMASK_HQ, IGNORE_INDEX
from facekp.data.layout import Sample
from facekp.images import UInt8Array, read_image, read_label, resize
from facekp.parsing.choices import AUTO, BackendName
from facekp.parsing.detectors import Detector, open_detector
from facekp.parsing.face_crop import Crop
from facekp.parsing.parser import FaceParser
from facekp.parsing.scenes import Scene, View
from facekp.predict.settings import DETECTOR, DETECTOR_HELP
from facekp.settings import at_least, one_of, setting

BACKGROUNDS = ("noise", "gradient", "picture")
CANVAS = (900, 1200)  # height and width of the pictures, which grow with faces that would not fit
CROWDS = {96: (24, (1200, 1600)), 200: (40, (4000, 6000)), 64: (40, (3000, 4000))}
"""Side of the frames in pixels: number of faces, height and width of the picture."""
CROWD_TURN = 30.0  # faces of crowds are turned by up to so many degrees
Samples = Sequence[Sample]
NEAR = 0.2  # a face is found if the crop's corners are on average within this share of the side of the true ones


@dataclass
class Options(FaceOptions):
    """Network, faces, and how they are pasted."""

    ckpt: str | None = setting(None, "a checkpoint; null: the labels replace scores")
    backend: str = setting("auto", "what runs the checkpoint; openvino runs CenterFace too", one_of(BackendName))
    images: int | None = setting(12, "pictures per scale and angle", check=at_least(1))
    scales: list[float] = setting([0.12, 0.25, 0.5, 1.0, 2.0, 8.0], "widths of the faces, in units of 512 pixels")
    angles: list[float] = setting([-45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0], "degrees")
    cut: bool = setting(True, "whether to measure faces cut by the border too, 512 pixels wide")
    crowds: int = setting(3, "pictures of each kind of crowd", check=at_least(0))
    scores: bool = setting(True, "whether to score the masks too; otherwise the faces are only found")
    detector: str = setting(AUTO, DETECTOR_HELP, DETECTOR)
    peer: str | None = setting(None, "a detector whose time of looking is compared with the other's")
    seed: int = setting(0, "seed of places and backgrounds")


@dataclass(frozen=True)
class Case:
    """How faces are pasted: `scale` times 512 pixels wide, turned clockwise by `angle` degrees, cut by the border."""

    scale: float
    angle: float
    beyond: bool = False


def draw_scene(samples: Samples, index: int, case: Case, seed: int) -> tuple[UInt8Array, UInt8Array, Crop]:
    """Paste a labelled face at a random place; return the picture, its label (255 around the face) and the frame."""
    rng = np.random.default_rng((seed, index))
    face, label = read_image(samples[index].image), read_label(samples[index].label)
    side = SIZE * case.scale
    height, width = (max(length, round(1.3 * side)) for length in CANVAS)
    room = np.maximum((width - side, height - side), 0)
    middle = complex(width, height) / 2 + complex(*(rng.uniform(-0.5, 0.5, 2) * room))
    if case.beyond:  # the border, by a fifth of the side
        middle = complex(0.3 * side, middle.imag)
    frame = Crop.around(middle, side * np.exp(1j * np.radians(case.angle)))
    image = draw_background(samples, index, (height, width), rng)
    truth = paste(image, face, label, frame)
    return image, truth, frame


def draw_background(samples: Samples, index: int, size: tuple[int, int], rng: np.random.Generator) -> UInt8Array:
    """Return a picture of `size` (H, W) without a face: noise, a gradient or parts of a photo, by its index."""
    height, width = size
    kind = BACKGROUNDS[index % len(BACKGROUNDS)]
    if kind == "noise":
        return rng.integers(0, 256, (height, width, 3), np.uint8)
    if kind == "gradient":
        ramp = np.linspace(rng.uniform(0, 255, 3), rng.uniform(0, 255, 3), width).astype(np.uint8)
        return np.broadcast_to(ramp, (height, width, 3)).copy()
    # The photo's upper corner, beside the head, repeated and mirrored
    other = read_image(samples[(index + 1) % len(samples)].image)[:96, :96]
    return np.pad(other, ((0, height - len(other)), (0, width - other.shape[1]), (0, 0)), "symmetric")


def paste(image: UInt8Array, face: UInt8Array, label: UInt8Array, frame: Crop) -> UInt8Array:
    """Paste a face (s, s, 3) into a picture at a frame; return its label in the picture, 255 around the face."""
    small = shrink(face, frame.side / SIZE)
    truth = put_back(label, frame, (image.shape[0], image.shape[1]))
    inside = truth != IGNORE_INDEX
    size = image.shape[1::-1]
    image[inside] = cv2.warpAffine(small, frame.matrix(len(small)), size, borderMode=cv2.BORDER_REFLECT_101)[inside]
    return truth


def draw_crowd(samples: Samples, index: int, side: int, seed: int) -> tuple[UInt8Array, UInt8Array, list[Crop]]:
    """Draw faces framed `side` pixels at places of a grid; return the picture, its label and the frames."""
    count, (height, width) = CROWDS[side]
    rng = np.random.default_rng((seed, index, side))
    image = draw_background(samples, index, (height, width), rng)
    truth = np.full((height, width), IGNORE_INDEX, np.uint8)
    step = int(side * 1.5)  # frames turned by up to 30 degrees do not overlap
    cells = rng.permutation((height // step) * (width // step))[:count]
    frames = []
    for number, cell in enumerate(cells.tolist()):
        row, column = divmod(cell, width // step)
        middle = complex(column + 0.5, row + 0.5) * step
        turn = np.exp(1j * np.radians(rng.uniform(-CROWD_TURN, CROWD_TURN)))
        sample = samples[(index * count + number) % len(samples)]
        frames.append(Crop.around(middle, side * turn))
        own = paste(image, read_image(sample.image), read_label(sample.label), frames[-1])
        np.copyto(truth, own, where=own != IGNORE_INDEX)
    return image, truth, frames


def find(
    parser: FaceParser, image: UInt8Array, truth: UInt8Array, frames: Sequence[Crop]
) -> tuple[Scene, npt.NDArray[np.int64], float]:
    """Return the scored faces of a picture, how many are detected, found and spurious, and the detector's seconds."""
    if isinstance(parser, LabelParser):
        parser.stages.label = without_ignored(truth)
    stages, calls = copy(parser.stages), list[tuple[float, list[Crop]]]()

    def timed(image: UInt8Array) -> list[Crop]:
        start = time.perf_counter()
        crops = parser.stages.detector(image)
        calls.append((time.perf_counter() - start, crops))
        return crops

    stages.detector = timed
    scene = stages.parse([stages.look(image, "auto")])[0].confirmed()
    seconds, proposed = calls[0]  # later calls look for turned faces
    detected = sum(any(crop.distance_to(frame) < 2 * NEAR for crop in proposed) for frame in frames)
    found = sum(any(scene.crop_of(view).distance_to(frame) < NEAR for view in scene.views) for frame in frames)
    return scene, np.array([detected, found, len(scene.views) - found]), seconds


def measure_crowds(parser: FaceParser, samples: Samples, side: int, pictures: int, seed: int) -> dict[str, float]:
    """Return the shares of a crowd's faces that were detected and found, spurious faces a picture, and seconds."""
    counts, times, faces = np.zeros(3), [], CROWDS[side][0]
    for index in tqdm(range(pictures), desc=f"crowd {side}", leave=False):
        _, own, seconds = find(parser, *draw_crowd(samples, index, side, seed))
        times.append(seconds)
        counts += own
    detected, found, others = (counts / pictures / (faces, faces, 1)).tolist()
    shares = {"detected": detected, "found": found, "others": others}
    return {"pixels": side, "faces": faces, **shares, "look_s": median(times)}


def measure_looks(detectors: Sequence[Detector], pictures: Iterable[UInt8Array]) -> dict[str, float]:
    """Return the seconds in which two detectors look at pictures in turn, and the median ratio of the pairs.

    Seconds are of the processor, summed over threads, so that other programs disturb them little. The first picture
    warms up.
    """
    pairs = [[seconds_of(detector, image) for detector in detectors] for image in pictures]
    ours, peer = np.array(pairs[1:]).T
    seconds = {"look_s": float(np.median(ours)), "peer_s": float(np.median(peer))}
    return seconds | {"ratio": float(np.median(ours / peer)), "pictures": len(ours)}


def seconds_of(detector: Detector, image: UInt8Array) -> float:
    """Return the seconds of the processor in which a detector looks at a picture."""
    start = time.process_time()
    detector(image)
    return time.process_time() - start


def put_back(mask: UInt8Array, frame: Crop, size: tuple[int, int]) -> UInt8Array:
    """Map a mask (s, s) from a frame to the picture of `size` (H, W), with 255 around it."""
    matrix = frame.matrix(len(mask))
    placed = cv2.warpAffine(mask, matrix, size[::-1], flags=cv2.INTER_NEAREST, borderValue=IGNORE_INDEX)
    return np.asarray(placed, np.uint8)


def mean_iou(confusion: Counts) -> float:
    """Return the mean IoU of the classes that occur, without background; 0 if none does."""
    iou = class_scores(confusion)[1][1:]
    return float(np.nanmean(iou)) if np.isfinite(iou).any() else 0.0


def measure(parser: FaceParser, samples: Samples, case: Case, seed: int, *, score: bool = True) -> dict[str, float]:
    """Return the shares of a case's faces that were `detected` and `found`, `others` per picture, and mean IoUs.

    `miou` is that of the parsed faces, without background; `framed` that of the same faces before pasting; `known` that
    of the pictures cropped at the true frame; `ratio` is miou / framed. All are 0 without `score`.
    """
    stages, counts, times = parser.stages, np.zeros(3), []
    ours, framed, known = np.zeros((3, len(CELEBAMASK_HQ), len(CELEBAMASK_HQ)), np.int64)
    for index in tqdm(range(len(samples)), desc=f"{case.scale:g} {case.angle:g}", leave=False):
        image, truth, frame = draw_scene(samples, index, case, seed)
        parsed, own, seconds = find(parser, image, truth, [frame])
        times.append(seconds)
        counts += own
        near = [parsed.crop_of(view).distance_to(frame) < NEAR for view in parsed.views]
        if score and any(near):
            face = stages.trace(parsed)[near.index(True)]
            view = View(frame, stages.cut(image, frame))
            (cut_by_frame,) = stages.trace(stages.score([Scene(image, (view,))])[0])
            ours += count(truth, without_ignored(face.mask))
            alone = parse_alone(parser, samples[index], case.scale)
            framed += count(truth, without_ignored(put_back(alone, frame, parsed.size)))
            known += count(truth, without_ignored(cut_by_frame.mask))
    scores = {"miou": mean_iou(ours), "framed": mean_iou(framed), "known": mean_iou(known)}
    shares = dict(zip(("detected", "found", "others"), (counts / len(samples)).tolist(), strict=True))
    ratio = scores["miou"] / (scores["framed"] or 1)
    return {**vars(case), **shares, **scores, "ratio": ratio, "look_s": median(times)}


def without_ignored(label: UInt8Array) -> UInt8Array:
    """Return a label with its ignored pixels set to background."""
    return np.where(label == IGNORE_INDEX, np.uint8(0), label)


def parse_alone(parser: FaceParser, sample: Sample, scale: float) -> UInt8Array:
    """Return the mask of a face before pasting, at the resolution it has when pasted by `scale`."""
    small = shrink(read_image(sample.image), scale)
    if isinstance(parser, LabelParser):
        label = cv2.resize(read_label(sample.label), small.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        parser.stages.label = np.asarray(label, np.uint8)
    return parser(small, align="none")[0].mask


def shrink(face: UInt8Array, scale: float) -> UInt8Array:
    """Return a face at `scale` times 512 pixels, or as it is if that is larger."""
    side = round(min(SIZE, SIZE * scale))
    return resize(face, (side, side))


def main(config: Options) -> None:
    """Print a table, and write it."""
    detector = config.detector
    if config.ckpt:
        parser = FaceParser.from_checkpoint(config.ckpt, detector=detector, backend=config.backend)
    else:
        parser = LabelParser(detector)
    samples = read_samples(config.data, "val", config.images)
    cases = [Case(scale, angle) for scale, angle in product(config.scales, config.angles)]
    cases += [Case(1.0, angle, beyond=True) for angle in config.angles if config.cut]
    rows = [measure(parser, samples, case, config.seed, score=config.scores) for case in cases]
    shown = [{"pixels": SIZE * row["scale"], **row} for row in rows]
    print(tabulate(shown, headers="keys", floatfmt=("g", "g", "g", "", *[".3f"] * 8)))
    everyone = read_samples(config.data, "val")
    kinds = CROWDS if config.crowds else ()
    crowds = [measure_crowds(parser, everyone, side, config.crowds, config.seed) for side in kinds]
    print(tabulate(crowds, headers="keys", floatfmt=("g", "g", *[".3f"] * 4)))
    looks: list[dict[str, Any]] = []
    if config.peer:
        detectors = parser.stages.detector, open_detector(config.peer)
        for enlarged, name in ((1, "1200 x 900"), (10 / 3, "4000 x 3000")):
            size = round(CANVAS[0] * enlarged), round(CANVAS[1] * enlarged)
            cases = [Case(0.25, CROWD_TURN * (i % 3 - 1)) for i in range(4)]  # one warms up, then one a background
            drawn = (draw_scene(everyone, i, case, config.seed)[0] for i, case in enumerate(cases))
            looks.append({"picture": name, **measure_looks(detectors, (resize(image, size) for image in drawn))})
        print(tabulate(looks, headers="keys", floatfmt=".3f"))
    about = {"answers": "a checkpoint" if config.ckpt else "the labels", "split": "val"}
    about["detector"] = type(parser.stages.detector).__name__
    counts = {"images": config.images, "seed": config.seed}
    write_json(config.out, stamp() | about | counts | {"rows": rows, "crowds": crowds, "looks": looks})


if __name__ == "__main__":
    run(Options, main, __doc__)
