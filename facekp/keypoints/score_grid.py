"""The exact argmax of the summed, upsampled scores at any size, without upsampling them.

Every head's upsampled scores are bilinear between the centres of its own pixels. The centres of the heads at strides 8,
16 and 32 all lie on one grid with a spacing of 4 input pixels, so the sum is bilinear within each cell of that grid.
A class that wins at all four corners of a cell wins in all of it; only the other cells, those along outlines, are
evaluated pixel by pixel. The scores of a single head are such a grid themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from facekp.images import UInt8Array

Scores = npt.NDArray[np.float32]
T = TypeVar("T", bound=np.generic)
CHUNK_PIXELS = 1 << 16
"""Pixels evaluated at once along outlines: 19 scores each, 5 MB, so that they stay in cache."""


@dataclass(frozen=True, eq=False)
class ScoreGrid:
    """Scores on a grid that covers an image, between whose points they are bilinear.

    Attributes:
        points: (rows, columns, C) float32.
        beyond: distance in cells by which the outermost points lie beyond the image's border, 0 or 0.5.
    """

    points: Scores
    beyond: float

    @property
    def cells(self) -> tuple[int, int]:
        """Cells that span the image from border to border, down and across."""
        rows, columns = (count - 1 - round(2 * self.beyond) for count in self.points.shape[:2])
        return rows, columns

    @cached_property
    def winners(self) -> UInt8Array:
        """The class (rows, columns) uint8 with the highest score at each point."""
        return self.points.argmax(2).astype(np.uint8)

    def at_centres(self, values: npt.NDArray[T]) -> npt.NDArray[T]:
        """Return those of the points' values (rows, columns, ...) at the centres of the finest map's pixels."""
        return values[1:-1, 1:-1] if self.beyond else values[1::2, 1::2]


def sum_on_grid(maps: Sequence[Scores]) -> ScoreGrid:
    """Sum the upsampled score maps on a grid between whose points the sum is bilinear.

    Args:
        maps: (h, w, C) float32, finest first, each of the same size as the one before or half as large.

    Returns:
        For one map, its pixels' centres and one row or column more on each side, half a cell beyond the border. For
        several, (2h + 1, 2w + 1) points for the finest map's h and w, the first on the image's corner: point
        (2i + 1, 2j + 1) is the centre of pixel (i, j).

    Raises:
        ValueError: maps of other sizes, or none.
    """
    if len(maps) == 1:
        return ScoreGrid(np.pad(maps[0], ((1, 1), (1, 1), (0, 0)), mode="edge"), 0.5)
    total: Scores | None = None
    for scores in reversed(maps):
        if total is not None and total.shape[0] == scores.shape[0] + 1:  # of half the size
            total = _refined(_refined(total, 0), 1)
        own = _refined(_refined(scores, 0, ends=1), 1, ends=1)
        if total is not None and total.shape != own.shape:
            raise ValueError(f"score maps of shapes {[m.shape for m in maps]}: each must be half of the one before")
        total = own if total is None else np.add(own, total, out=own)
    if total is None:
        raise ValueError("no score maps")
    return ScoreGrid(total, 0.0)


def _refined(scores: Scores, axis: int, ends: int = 0) -> Scores:
    """Insert the mean between neighbours along `axis`; with `ends` = 1, the first and last value are repeated.

    So n points become 2n - 1, and n pixel centres 2n + 1 points: from one border of the image to the other.
    """
    values = np.moveaxis(scores, axis, 0)
    out = np.empty((2 * len(values) - 1 + 2 * ends, *values.shape[1:]), np.float32)
    out[0], out[-1] = values[0], values[-1]
    out[ends : len(out) - ends : 2] = values
    between = out[ends + 1 : len(out) - ends : 2]
    np.add(values[:-1], values[1:], out=between)
    between *= 0.5
    return np.moveaxis(out, 0, axis)


def argmax_at(grid: ScoreGrid, size: tuple[int, int]) -> UInt8Array:
    """Return the argmax (H, W) uint8 over classes of scores upsampled bilinearly (`align_corners=False`).

    Args:
        grid: from `sum_on_grid`.
        size: (H, W) in pixels.
    """
    winner = grid.winners
    corner = winner[:-1, :-1]
    rows, columns = (_Axis(cells, pixels, grid.beyond) for cells, pixels in zip(corner.shape, size, strict=True))
    mask: UInt8Array = corner.take(rows.cell, 0).take(columns.cell, 1)
    mixed = (corner != winner[1:, :-1]) | (corner != winner[:-1, 1:]) | (corner != winner[1:, 1:])
    # In an image smaller than the grid, some cells contain no pixel.
    i, j = np.nonzero(mixed & rows.filled[:, None] & columns.filled)
    step = max(1, CHUNK_PIXELS // (rows.pixels.shape[1] * columns.pixels.shape[1]))
    for k in range(0, len(i), step):
        _fill(mask, grid.points, rows, columns, i[k : k + step], j[k : k + step])
    return mask


class _Axis:
    """The cells of the grid and the pixels in them, along one axis.

    Attributes:
        cell: (pixels,) the cell of each pixel.
        filled: (cells,) whether a cell has pixels.
        pixels: (cells, most) the pixels of each cell; cells with fewer repeat their last one.
        at: (cells, most) float32, the position of each of them in its cell, 0..1.
    """

    def __init__(self, cells: int, pixels: int, beyond: float) -> None:
        position = (np.arange(pixels) + 0.5) * ((cells - 2 * beyond) / pixels) + beyond
        self.cell = np.minimum(position.astype(np.intp), cells - 1)
        first = np.searchsorted(self.cell, np.arange(cells))
        count = np.bincount(self.cell, minlength=cells)
        self.filled = count > 0
        offset = np.minimum(np.arange(count.max()), np.maximum(count - 1, 0)[:, None])
        self.pixels = np.minimum(first[:, None] + offset, pixels - 1)
        self.at = (position[self.pixels] - np.arange(cells)[:, None]).astype(np.float32)


def _fill(
    mask: UInt8Array, grid: Scores, rows: _Axis, columns: _Axis, i: npt.NDArray[np.intp], j: npt.NDArray[np.intp]
) -> None:
    """Evaluate the cells (i, j), (n,) each, at all their pixels, and write the winners to `mask`."""
    top = np.stack([grid[i, j], grid[i, j + 1]], 1)[:, None]  # (n, 1, 2, C): left and right corner
    bottom = np.stack([grid[i + 1, j], grid[i + 1, j + 1]], 1)[:, None]
    sides = top + rows.at[i][:, :, None, None] * (bottom - top)  # (n, rows, 2, C)
    left, right = sides[:, :, None, 0], sides[:, :, None, 1]
    scores = columns.at[j][:, None, :, None] * (right - left)  # (n, rows, columns, C)
    scores += left
    mask[rows.pixels[i][:, :, None], columns.pixels[j][:, None, :]] = scores.argmax(3)


def mean_confidence(grid: ScoreGrid) -> dict[int, float]:
    """Return each class's mean probability over its own mask, at the resolution of the finest map of `sum_on_grid`.

    A class that is absent at that resolution can still win between two pixels of the upsampled scores; it gets its
    highest probability.
    """
    scores, winner = grid.at_centres(grid.points), grid.at_centres(grid.winners)
    # NumPy's product is faster than its sum along so short an axis.
    likelihood = np.exp(scores - np.take_along_axis(scores, winner[..., None], 2))  # relative to the winner's
    highest = 1 / (likelihood @ np.ones(scores.shape[2], np.float32))
    area = np.bincount(winner.ravel(), minlength=scores.shape[2])
    total = np.bincount(winner.ravel(), highest.ravel(), minlength=len(area))
    return {i: float(total[i] / area[i] if area[i] else (likelihood[..., i] * highest).max()) for i in range(len(area))}
