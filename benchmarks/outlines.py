"""Which method's outlines lie nearer the true masks': `python -m benchmarks.outlines ckpt=... data.root=...`.

Without `ckpt`, the scores are the true masks themselves, averaged over squares of `stride` pixels: what a network
without errors could give.

Distances are from places on a found outline, a quarter of a pixel apart, to the nearest of the true one, and back; an
outline is left out where the image's border cuts it. The true outline runs midway between pixels inside and outside.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from contourpy import contour_generator
from scipy.spatial import cKDTree
from tqdm import tqdm

from facekp.classes import ATTRIBUTES, NUM_CLASSES
from facekp.cli import parse_cli
from facekp.config import DataConfig
from facekp.data.layout import SPLITS, Sample, read_index
from facekp.data.sources import prepared_root
from facekp.errors import DataError, one_line_errors, require
from facekp.files import expand, make_folder, replacing
from facekp.hardware import describe_machine, keep_freed_memory, list_versions
from facekp.images import UInt8Array, read_image, read_label
from facekp.keypoints.contour import Contour
from facekp.keypoints.outlines import trace
from facekp.keypoints.score_grid import Scores, argmax_at, sum_on_grid
from facekp.keypoints.settings import METHODS
from facekp.parsing.parser import FaceParser

SPACING = 0.25
"""Pixels between the places on an outline whose distances are taken."""
Places = npt.NDArray[np.float64]
GridOf = Callable[[Sample, UInt8Array], Scores]


@dataclass
class Settings:
    """Whose scores, on which faces."""

    ckpt: str | None = field(default=None, metadata={"help": "checkpoint or ONNX file; null: the true masks, averaged"})
    stride: int = field(default=8, metadata={"help": "pixels of a side of the squares, without ckpt"})
    data: DataConfig = field(default_factory=DataConfig)
    split: str = field(default="val", metadata={"help": "train, val or test"})
    images: int | None = field(default=None, metadata={"help": "only the first so many; null: all"})
    out: str | None = field(default=None, metadata={"help": "JSON file that the figures are written to"})

    def __post_init__(self) -> None:
        """Check values."""
        require("stride", self.stride, self.stride >= 2, "give at least 2")
        require("split", self.split, self.split in SPLITS, f"choose one of {', '.join(SPLITS)}")
        require("images", self.images, self.images is None or self.images >= 1, "give at least 1, or null")


def network_grid(parser: FaceParser, sample: Sample, label: UInt8Array) -> Scores:
    """Return a network's summed scores for a face."""
    pixels = parser.stages.resized(read_image(sample.image))
    return sum_on_grid([scores[0] for scores in parser.stages.backend(pixels[None])])


def true_grid(stride: int, sample: Sample, label: UInt8Array) -> Scores:
    """Return the share of each class in squares of `stride` pixels, for scores."""
    height, width = (side // stride for side in label.shape)
    one_hot = np.eye(NUM_CLASSES, dtype=np.float32)[label[: height * stride, : width * stride]]
    return sum_on_grid([one_hot.reshape(height, stride, width, stride, -1).mean((1, 3))])


def true_places(mask: npt.NDArray[np.bool_]) -> Places:
    """Return places along the true outline (n, 2): between pixels inside and outside, nothing at the image's border."""
    lines: list[Places] = contour_generator(z=mask.astype(np.float64)).lines(0.5)  # type: ignore[assignment]  # its default type
    return np.concatenate([np.empty((0, 2)), *(spread(line[:-1], line[1:]) for line in lines)])


def traced_places(contours: Sequence[Contour]) -> Places:
    """Return places along traced outlines (n, 2), nothing at the image's border."""
    pieces = [(c.points[~c.cut], np.roll(c.points, -1, 0)[~c.cut]) for c in contours]
    return np.concatenate([np.empty((0, 2)), *(spread(start, end) for start, end in pieces)])


def spread(start: npt.NDArray[np.floating], end: npt.NDArray[np.floating]) -> Places:
    """Return places along straight pieces, (m, 2) to (m, 2), at most `SPACING` apart."""
    count = np.maximum(1, np.ceil(np.linalg.norm(end - start, axis=1) / SPACING)).astype(np.intp)
    piece = np.repeat(np.arange(len(count)), count)
    share = (np.arange(len(piece)) - (np.cumsum(count) - count)[piece] + 0.5) / count[piece]
    return np.asarray(start[piece] + share[:, None] * (end - start)[piece], np.float64)


def distances(ours: Places, true: Places) -> Places:
    """Return how far each place is from the nearest one of the other outline, in both directions."""
    return np.concatenate([cKDTree(true).query(ours)[0], cKDTree(ours).query(true)[0]])


def compare(samples: Sequence[Sample], grid_of: GridOf) -> Iterator[tuple[str, dict[str, tuple[float, float]]]]:
    """Yield each attribute that is in both a true and a found mask, with each method's mean and 95th percentile."""
    for sample in tqdm(samples, unit="face"):
        label = read_label(sample.label)
        grid = grid_of(sample, label)
        mask = argmax_at(grid, (label.shape[0], label.shape[1]))
        found = {method: trace(mask, method=method, grid=grid) for method in METHODS}
        for i in range(1, NUM_CLASSES):
            true = true_places(label == i)
            places = {method: traced_places(found[method].get(i, [])) for method in METHODS}
            if len(true) and all(len(own) for own in places.values()):
                away = {method: distances(own, true) for method, own in places.items()}
                yield ATTRIBUTES[i], {m: (float(d.mean()), float(np.percentile(d, 95))) for m, d in away.items()}


def summarise(rows: Iterator[tuple[str, dict[str, tuple[float, float]]]]) -> dict[str, Any]:
    """Return by attribute: how many images, each method's mean figures, and how often contour is nearer."""
    by_name: dict[str, list[dict[str, tuple[float, float]]]] = defaultdict(list)
    for name, figures in rows:
        by_name[name].append(figures)
    table: dict[str, Any] = {}
    for name in (name for name in ATTRIBUTES if name in by_name):
        own = by_name[name]
        means = {m: np.mean([figures[m] for figures in own], axis=0).round(4).tolist() for m in METHODS}
        nearer = np.mean([figures["contour"][0] < figures["canny"][0] for figures in own])
        table[name] = {"images": len(own), **means, "contour_nearer": round(float(nearer), 4)}
    everything = {m: np.mean([row[m] for row in table.values()], axis=0).round(4).tolist() for m in METHODS}
    return {"attributes": table, "mean": everything}


def describe(settings: Settings, results: dict[str, Any]) -> dict[str, Any]:
    """Return the figures with what they were measured on and with."""
    scores = Path(settings.ckpt).name if settings.ckpt else f"true masks, averaged over squares of {settings.stride}"
    return {
        "machine": describe_machine(),
        "versions": list_versions(),
        "date": datetime.now(UTC).date().isoformat(),
        "scores": scores,
        "split": settings.split,
        "unit": "pixels of the labels: mean and 95th percentile",
        **results,
    }


def table(results: dict[str, Any]) -> str:
    """Return the figures as a table."""
    lines = [
        f"pixels of the labels {'canny':>14} {'contour':>15}",
        "attribute    images     mean    95 %     mean    95 %  contour nearer",
    ]
    for name, row in results["attributes"].items():
        figures = " ".join(f"{value:>7.2f}" for value in (*row["canny"], *row["contour"]))
        lines.append(f"{name:<12} {row['images']:>6} {figures} {row['contour_nearer']:>15.0%}")
    means = " ".join(f"{value:>7.2f}" for method in METHODS for value in results["mean"][method])
    return "\n".join([*lines, f"{'mean':<19} {means}"])


def main(argv: Sequence[str]) -> None:
    """Print the figures, and write them."""
    keep_freed_memory()
    settings = parse_cli(Settings, argv, program="python -m benchmarks.outlines", about=__doc__ or "")
    samples = read_index(prepared_root(settings.data))[settings.split][: settings.images]
    if not samples:
        raise DataError(f"split '{settings.split}' has no images: choose another")
    ckpt = settings.ckpt
    grid_of = partial(network_grid, FaceParser.from_checkpoint(ckpt)) if ckpt else partial(true_grid, settings.stride)
    results = describe(settings, summarise(compare(samples, grid_of)))
    print(table(results))
    if settings.out:
        out = expand(settings.out)
        make_folder(out.parent)
        with replacing(out) as part:
            part.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])
