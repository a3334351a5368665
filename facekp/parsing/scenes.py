"""Scenes: a photo and the views of it that the network sees."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Final, TypeVar

import numpy as np

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.images import UInt8Array
from facekp.keypoints.score_grid import ScoreGrid, Scores, argmax_at, mean_confidence, sum_on_grid
from facekp.parsing.alignment import refine
from facekp.parsing.face_crop import Crop, within

T = TypeVar("T")

SEARCH_SIDE: Final = 256
"""Side in pixels of the mask in which eyes, nose and mouth are located."""
MAX_MOVE: Final = 0.25
"""Maximum mean distance by which an aligned crop's corners may move when aligned again, as a share of its side."""
MIN_SKIN_CONFIDENCE: Final = 0.55
"""Minimum mean confidence of a face's skin. On validation faces it is at least 0.71, and 0.61 if they are blurred to 96
pixels; where the network imagines a face in noise, about 0.5."""
SLOPE: Final = 1e4
"""Slope of the background's lead across the boundary between two faces. Scores differ by tens; the lead reaches a
hundred within a hundredth of a crop's side."""


@dataclass(frozen=True, eq=False)
class View:
    """A part of a photo as the network sees it.

    Attributes:
        crop: the part's crop; None for the whole photo, unaligned.
        pixels: (h, w, 3) uint8 RGB at the network's size.
        scores: the network's score maps, (h', w', C) float32 each, finest first; empty before it has run.
        wider: views of the larger crops around a face, each larger than the one before.
    """

    crop: Crop | None
    pixels: UInt8Array
    scores: tuple[Scores, ...] = ()
    wider: tuple["View", ...] = ()

    @cached_property
    def grid(self) -> ScoreGrid:
        """The sum of the scores."""
        return sum_on_grid(self.scores)


@dataclass(frozen=True, eq=False)
class Scene:
    """A photo and its views.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        views: the faces or candidates.
        searched: whether faces were searched for; otherwise the only view is the whole photo, whatever it shows.
        classes: those of the scores.
    """

    image: UInt8Array
    views: tuple[View, ...] = ()
    searched: bool = False
    classes: Classes = CELEBAMASK_HQ

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def crop_of(self, view: View) -> Crop:
        """Return the crop of a view; for the whole photo, its central square."""
        return view.crop or Crop.central(self.size)

    def aligned(self) -> list[tuple[View, Crop]]:
        """Return the views in which the network saw a face, and the crops aligned to these faces."""
        found = []
        for view in self.views:
            crop = self.crop_of(view)
            mask = argmax_at(view.grid, (SEARCH_SIDE, SEARCH_SIDE))
            mask[~within(crop, SEARCH_SIDE, self.size)] = 0  # mirrored content
            if (face := refine(crop, mask, self.classes)) is not None:
                found.append((view, face))
        return found

    def confirmed(self) -> "Scene":
        """Drop the views in which the network, after alignment, sees no face any more, or hardly any skin."""
        if not self.searched:
            return self
        still = (view for view, crop in self.aligned() if crop.distance_to(self.crop_of(view)) < MAX_MOVE)
        return replace(self, views=tuple(view for view in still if self._skin(view) >= MIN_SKIN_CONFIDENCE))

    def _skin(self, view: View) -> float:
        """Return the mean confidence of a view's skin."""
        confidence = mean_confidence(view.grid)
        return max(confidence[i] for i in self.classes.ids("skin"))


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield batches of up to `size` consecutive items."""
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch


def suppress_neighbours(grid: ScoreGrid, part: Crop, crop: Crop, others: Sequence[Crop]) -> ScoreGrid:
    """Return a face's scores with background winning wherever another crop's face is nearer.

    Otherwise the largest left eye in a crop might be a neighbour's. Distances are measured from the centres of the
    crops, relative to their sides, so a small face beside a large one takes only its own surroundings. The grid is
    from `score_grid.sum_on_grid`, of a square `part` of the photo.
    """
    if not others:
        return grid
    at = (np.arange(len(grid.points)) - grid.beyond) / grid.cells[0]
    places = part.origin + part.edge * (at + 1j * at[:, None])
    own, *theirs = (abs(places - one.middle) ** 2 / one.side**2 for one in (crop, *others))
    lead = (np.min(theirs, axis=0) - own).astype(np.float32)
    points = grid.points.copy()
    np.maximum(points[..., 0], points.max(2) - SLOPE * lead, out=points[..., 0])
    return replace(grid, points=points)
