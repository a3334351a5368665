"""Pixels of things before the face that a network gives to it: `python -m benchmarks.occluders data.root=...`.

A hand, a microphone and a cup on arms, and a mask over nose and mouth, are drawn over each face. Their places, colours
and textures depend on the seed alone; half have a skin's colour. `wrong` is the share of their pixels over the face
that become parts of the face or its skin; `kept` is the share of the face's visible pixels that keep their class,
among those that had the right one without the thing.
"""

import random
from dataclasses import dataclass

import cv2
import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from benchmarks.harness import run, stamp, write_json
from benchmarks.samples import FaceOptions, read_samples
from facekp.classes import CELEBAMASK_HQ, IGNORE_INDEX
from facekp.data.occluders import KINDS, draw_occluder, draw_texture
from facekp.images import UInt8Array, read_image, read_label
from facekp.parsing.parser import FaceParser
from facekp.settings import at_least, setting
from facekp.weights.paths import CKPT_HELP, SHIPPED

FACE = [CELEBAMASK_HQ.index(name) for name in CELEBAMASK_HQ.groups["face"]]
NOSE, *MASKED = (CELEBAMASK_HQ.index(name) for name in ("nose", "skin", "mouth", "u_lip", "l_lip"))


@dataclass
class Options(FaceOptions):
    """Network and faces."""

    ckpt: str = setting(SHIPPED, CKPT_HELP)
    images: int | None = setting(200, "faces of the validation split, from the first; null: all", at_least(1))
    seed: int = setting(0, "seed of the things")


def draw_mask(label: UInt8Array) -> UInt8Array:
    """Return the coverage (H, W) uint8 of a medical mask: the skin, nose and mouth below the nose's middle."""
    rows = np.flatnonzero((label == NOSE).any(1))
    cover = np.isin(label, [NOSE, *MASKED]).astype(np.uint8) * 255
    cover[: int(rows.mean()) if len(rows) else len(label)] = 0
    return np.asarray(cv2.GaussianBlur(cover, (0, 0), 1.0), np.uint8)


def cover_up(image: UInt8Array, cover: UInt8Array, rng: random.Random) -> UInt8Array:
    """Return an image (H, W, 3) uint8 with a random texture where it is covered (H, W), 0..255."""
    alpha = cover[..., None].astype(np.float32) / 255
    return np.rint(alpha * draw_texture(rng, cover.shape) + (1 - alpha) * image).astype(np.uint8)


def main(config: Options) -> None:
    """Print a table, and write it."""
    parser = FaceParser.from_checkpoint(config.ckpt)
    counts = {kind: np.zeros(4, np.int64) for kind in (*KINDS, "mask")}
    for index, sample in enumerate(tqdm(read_samples(config.data, "val", config.images), unit="face")):
        image, label = read_image(sample.image), read_label(sample.label)
        before = parser(image, align="none")[0].mask == label
        for kind, count in counts.items():
            rng = random.Random(f"{config.seed} {index} {kind}")
            cover = draw_mask(label) if kind == "mask" else draw_occluder(rng, label.shape, kind)
            mask = parser(cover_up(image, cover, rng), align="none")[0].mask
            face, known = np.isin(label, FACE), label != IGNORE_INDEX
            over, visible = face & (cover > 127), face & known & (cover == 0) & before
            count += [over.sum(), np.isin(mask[over], FACE).sum(), visible.sum(), (mask == label)[visible].sum()]
    rows = []
    for kind, (covered, wrong, seen, kept) in counts.items():
        shares = {"wrong": wrong / covered if covered else None, "kept": kept / seen if seen else None}
        rows.append({"thing": kind} | shares)
    print(tabulate(rows, headers="keys", floatfmt=".3f"))
    about = {"ckpt": config.ckpt, "split": "val", "images": config.images, "seed": config.seed}
    write_json(config.out, stamp() | about | {"rows": rows})


if __name__ == "__main__":
    run(Options, main, __doc__)
