"""What of a photo the network sees, and what it says of that."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Final, TypeVar

import numpy as np

from facekp.images import UInt8Array
from facekp.keypoints.score_grid import Scores, argmax_at, sum_on_grid
from facekp.parsing.alignment import distinct, refine
from facekp.parsing.backends import Backend
from facekp.parsing.face_crop import Crop, within

T = TypeVar("T")

LOOK_SIDE: Final = 256
"""Pixels at which a crop's mask is made to find eyes, nose and mouth in it."""
LARGEST_MOVE: Final = 0.25
"""How far the corners of a framed face may move when it is framed again, on average, as a share of its side."""


@dataclass(frozen=True)
class View:
    """A part of a photo as the network sees it.

    Attributes:
        crop: which part; None: the whole photo, as it is.
        pixels: (h, w, 3) uint8 RGB at the network's size.
        scores: what the network says of it, (h', w', 19) float32 each, finest first; empty before it ran.
    """

    crop: Crop | None
    pixels: UInt8Array
    scores: tuple[Scores, ...] = ()


@dataclass(frozen=True)
class Scene:
    """A photo and its views.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        views: what in it is a face, or may be one; all have pixels of one size.
        searched: whether they were looked for; otherwise the one view is the photo, whatever it shows.
    """

    image: UInt8Array
    views: tuple[View, ...] = ()
    searched: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape (h, w, 3) of its views' pixels; () where it has none."""
        return self.views[0].pixels.shape if self.views else ()


def in_batches(items: Iterable[T], size: int, shape: Callable[[T], tuple[int, ...]]) -> Iterator[list[T]]:
    """Yield up to `size` items at a time that follow each other and are of one shape."""
    for _, alike in groupby(items, key=shape):
        while batch := list(islice(alike, size)):
            yield batch


def score(backend: Backend, scenes: Sequence[Scene]) -> list[Scene]:
    """Run the network, in batches, on the views without scores of scenes of one shape."""
    new = iter([view for scene in scenes for view in scene.views if not view.scores])
    scored: list[View] = []
    while batch := list(islice(new, backend.batch)):
        maps = backend(np.stack([view.pixels for view in batch]))
        scored += [replace(view, scores=tuple(m[i] for m in maps)) for i, view in enumerate(batch)]
    seen = iter(scored)
    return [replace(s, views=tuple(view if view.scores else next(seen) for view in s.views)) for s in scenes]


def faces_in(scene: Scene) -> list[Crop]:
    """Return the crops of a scene's faces, framed by what the network saw of them; the largest first."""
    found = [crop for view in scene.views if (crop := _framed(view, scene.size)) is not None]
    return distinct(sorted(found, key=lambda crop: -crop.side))


def confirmed(scene: Scene) -> Scene:
    """Return a scene without the views in which the network, seeing them framed anew, sees no face any more."""
    framed = [(view, _framed(view, scene.size)) for view in scene.views]
    kept = [v for v, crop in framed if crop and crop.away(v.crop or Crop.central(scene.size)) < LARGEST_MOVE]
    return replace(scene, views=tuple(kept))


def _framed(view: View, size: tuple[int, int]) -> Crop | None:
    """Return the crop of the face that the network saw in a view of a photo of `size` (H, W); None where it is none."""
    crop = view.crop or Crop.central(size)
    mask = argmax_at(sum_on_grid(view.scores), (LOOK_SIDE, LOOK_SIDE))
    mask[~within(crop, LOOK_SIDE, size)] = 0  # mirrored there
    return refine(crop, mask)
