"""Distances of both methods' outlines from the true masks': `python -m benchmarks.outlines ckpt=... data.root=...`.

Without `ckpt`, the scores are the true masks averaged over squares of 8 pixels: those of a network without errors.
Distances are measured from places on a traced outline, a quarter of a pixel apart, to the nearest place on the true
one, and back, without the image's border. The true outline runs midway between pixels inside and outside.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from contourpy import contour_generator
from scipy.spatial import cKDTree
from tabulate import tabulate
from tqdm import tqdm

from benchmarks.harness import run, stamp, write_json
from benchmarks.samples import FaceOptions, read_samples
from facekp.classes import CELEBAMASK_HQ
from facekp.data.layout import Sample
from facekp.images import UInt8Array, read_image, read_label
from facekp.keypoints.contour import Contour
from facekp.keypoints.outlines import trace
from facekp.keypoints.score_grid import ScoreGrid, argmax_at, sum_on_grid
from facekp.keypoints.settings import METHODS
from facekp.parsing.parser import FaceParser
from facekp.settings import setting

STRIDE, SPACING = 8, 0.25  # pixels: side of the squares, and largest distance between places on an outline
Places = npt.NDArray[np.float64]


@dataclass
class Options(FaceOptions):
    """Which scores, on which faces."""

    ckpt: str | None = setting(None, "checkpoint or ONNX file; null: the true masks, averaged")


def grid_of(parser: FaceParser | None, sample: Sample, label: UInt8Array) -> ScoreGrid:
    """Return a network's summed scores for a face, or each class's share of the pixels in squares of `STRIDE`."""
    if parser:
        pixels = parser.stages.resized(read_image(sample.image))
        return sum_on_grid([scores[0] for scores in parser.stages.backend(pixels[None])])
    height, width = (side // STRIDE for side in label.shape)
    one_hot = np.eye(len(CELEBAMASK_HQ), dtype=np.float32)[label[: height * STRIDE, : width * STRIDE]]
    return sum_on_grid([one_hot.reshape(height, STRIDE, width, STRIDE, -1).mean((1, 3))])


def true_places(mask: npt.NDArray[np.bool_]) -> Places:
    """Return places along the true outline (n, 2): between pixels inside and outside, without the image's border."""
    lines: list[Places] = contour_generator(z=mask.astype(np.float64)).lines(0.5)  # type: ignore[assignment]  # its default type
    return np.concatenate([np.empty((0, 2)), *(spread(line[:-1], line[1:]) for line in lines)])


def traced_places(contours: Sequence[Contour]) -> Places:
    """Return places along traced outlines (n, 2), without the image's border."""
    pieces = [(c.points[~c.cut], np.roll(c.points, -1, 0)[~c.cut]) for c in contours]
    return np.concatenate([np.empty((0, 2)), *(spread(start, end) for start, end in pieces)])


def spread(start: npt.NDArray[np.floating], end: npt.NDArray[np.floating]) -> Places:
    """Return places along straight pieces, (m, 2) to (m, 2), at most `SPACING` apart."""
    count = np.maximum(1, np.ceil(np.linalg.norm(end - start, axis=1) / SPACING)).astype(np.intp)
    piece = np.repeat(np.arange(len(count)), count)
    share = (np.arange(len(piece)) - (np.cumsum(count) - count)[piece] + 0.5) / count[piece]
    return np.asarray(start[piece] + share[:, None] * (end - start)[piece], np.float64)


def compare(samples: Sequence[Sample], parser: FaceParser | None) -> Iterator[dict[str, Any]]:
    """Yield each method's mean and 95th percentile for every attribute in a true and a found mask."""
    for sample in tqdm(samples, unit="face"):
        label = read_label(sample.label)
        grid = grid_of(parser, sample, label)
        mask = argmax_at(grid, (label.shape[0], label.shape[1]))
        found = {method: trace(mask, method=method, grid=grid) for method in METHODS}
        for i in range(1, len(CELEBAMASK_HQ)):
            true = true_places(label == i)
            places = {method: traced_places(found[method].get(i, [])) for method in METHODS}
            if len(true) and all(map(len, places.values())):
                row: dict[str, Any] = {"attribute": CELEBAMASK_HQ.names[i]}
                for method, own in places.items():
                    away = np.concatenate([cKDTree(true).query(own)[0], cKDTree(own).query(true)[0]])
                    row |= {f"{method} mean": away.mean(), f"{method} 95 %": np.percentile(away, 95)}
                yield row


def summarise(rows: Iterator[dict[str, Any]]) -> pd.DataFrame:
    """Return by attribute: number of images, each method's mean figures, and how often contour is nearer."""
    table = pd.DataFrame(rows)
    table["contour nearer"] = (table["contour mean"] < table["canny mean"]).astype(float)
    by_attribute = table.groupby("attribute")
    means = by_attribute.mean().round(4)
    means.insert(0, "images", by_attribute.size())
    return means.reindex([name for name in CELEBAMASK_HQ.names if name in means.index])


def main(settings: Options) -> None:
    """Print the figures, and write them."""
    samples, ckpt = read_samples(settings.data, "val", settings.images), settings.ckpt
    means = summarise(compare(samples, FaceParser.from_checkpoint(ckpt) if ckpt else None))
    print(tabulate(means, headers="keys", floatfmt=".2f"))
    columns = {method: [f"{method} mean", f"{method} 95 %"] for method in METHODS}
    whole = {method: means[columns[method]].mean().round(4).tolist() for method in METHODS}
    print(f"mean and 95th percentile over attributes: {whole}")
    scores = Path(ckpt).name if ckpt else f"true masks, averaged over squares of {STRIDE}"
    about = {"scores": scores, "split": "val", "unit": "pixels of the labels: mean and 95th percentile"}
    attributes: dict[Any, Any] = {}
    for name, row in means.iterrows():
        own = {method: row[columns[method]].tolist() for method in METHODS}
        attributes[name] = {"images": int(row["images"]), **own, "contour_nearer": row["contour nearer"]}
    write_json(settings.out, stamp() | about | {"attributes": attributes, "mean": whole})


if __name__ == "__main__":
    run(Options, main, __doc__)
