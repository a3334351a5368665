"""The stages of parsing a photo: look, score, align, score, trace.

`FaceParser` runs them one after the other; `facekp.predict.pipeline` runs them on many photos at the same time.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

import numpy as np

from facekp.images import UInt8Array, resize
from facekp.keypoints.score_grid import argmax_at, mean_confidence, sum_on_grid
from facekp.keypoints.settings import KeypointConfig
from facekp.models.heads import STRIDE
from facekp.parsing.alignment import distinct
from facekp.parsing.backends import Backend
from facekp.parsing.choices import Align
from facekp.parsing.detectors import Detector
from facekp.parsing.face import Face, face_from_mask
from facekp.parsing.face_crop import Crop, cut
from facekp.parsing.scenes import Scene, View, suppress_neighbours

WHOLE: Final = 0.1
"""A crop counts as the whole photo if the mean distance of their corners is below this share of the side."""


class Stages:
    """The stages of parsing, from scene to scene and finally to faces; each may be called from several threads.

    Args:
        backend: runs the network.
        keypoints: settings of the key points.
        detector: searches for faces.
    """

    def __init__(self, backend: Backend, keypoints: KeypointConfig, detector: Detector) -> None:
        self.backend = backend
        self.keypoints = keypoints
        self.detector = detector

    def look(self, image: UInt8Array, align: Align) -> Scene:
        """Return a photo (H, W, 3) uint8 RGB with its views that may be faces; at least one."""
        if align == "none":
            return Scene(image, (View(None, self.resized(image)),))
        scene = Scene(image, searched=True)
        # A portrait fills the middle of its photo, whatever the detector finds.
        return self._with_views(scene, distinct([*self.detector(image), Crop.central(scene.size)]))

    def score(self, scenes: Sequence[Scene]) -> list[Scene]:
        """Run the network, in batches, on the views without scores; the scenes are of one shape."""
        new = iter([view for scene in scenes for view in scene.views if not view.scores])
        scored: list[View] = []
        while batch := list(islice(new, self.backend.batch)):
            maps = self.backend(np.stack([view.pixels for view in batch]))
            scored += [replace(view, scores=tuple(m[i] for m in maps)) for i, view in enumerate(batch)]
        rest = iter(scored)
        return [replace(s, views=tuple(view if view.scores else next(rest) for view in s.views)) for s in scenes]

    def align(self, scene: Scene) -> Scene:
        """Drop the views without a face, and align the others by the eyes, nose and mouth that the network saw."""
        return self._with_views(scene, scene.aligned_crops()) if scene.searched else scene

    def parse(self, scenes: Sequence[Scene]) -> list[Scene]:
        """Run all stages between `look` and `trace` on scenes of one shape."""
        return self.score([self.align(scene) for scene in self.score(scenes)])

    def trace(self, scene: Scene) -> list[Face]:
        """Return the faces in a scored scene, the largest first."""
        scene = scene.confirmed()
        return [self._trace(scene, view) for view in scene.views]

    def resized(self, image: UInt8Array) -> UInt8Array:
        """Return `image` (H, W, 3) uint8 RGB with its longer side at the network's size, both multiples of 32."""
        steps = self.backend.size / max(image.shape[:2]) / STRIDE
        height, width = (max(1, round(side * steps)) * STRIDE for side in image.shape[:2])
        # A copy if nothing was resized: torch takes no read-only array, such as a PIL image's.
        return np.require(resize(image, (height, width)), requirements=["C", "W"])

    def cut(self, image: UInt8Array, crop: Crop) -> UInt8Array:
        """Return a crop of `image` (H, W, 3) uint8 RGB at the network's size."""
        return cut(image, crop, self.backend.size)

    def _with_views(self, scene: Scene, crops: Sequence[Crop]) -> Scene:
        """Return a scene with views of these crops; views it already has keep their scores."""
        views = {view.crop: view for view in scene.views}
        whole = Crop.central(scene.size)
        square = scene.size[0] == scene.size[1]
        # A photo that is aligned already is taken as it is.
        wanted = [None if square and crop.distance_to(whole) < WHOLE else crop for crop in crops]
        for crop in (crop for crop in wanted if crop not in views):
            views[crop] = View(crop, self.cut(scene.image, crop) if crop else self.resized(scene.image))
        return replace(scene, views=tuple(views[crop] for crop in wanted))

    def _trace(self, scene: Scene, view: View) -> Face:
        """Turn the scores of one view into a face in the photo."""
        grid, own = sum_on_grid(view.scores), scene.crop_of(view)
        if whole := view.crop is None and len(scene.views) == 1:
            size = scene.size
        else:
            grid = suppress_neighbours(grid, own, [scene.crop_of(other) for other in scene.views if other is not view])
            # As fine as the photo, so that no pixel of it is lost, and as the network's input, for smooth outlines.
            side = max(self.backend.size, min(math.ceil(own.side), max(scene.size)))
            size = (side, side)
        face = face_from_mask(argmax_at(grid, size), mean_confidence(grid), self.keypoints, grid)
        return replace(face, image=scene.image) if whole else face.to_photo(own, scene.image, self.keypoints)
