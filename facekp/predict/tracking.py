"""Tracking the faces of a video, and smoothing their points over time."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from math import pi
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from facekp.keypoints.curves import Points
from facekp.keypoints.landmarks import Landmark
from facekp.keypoints.landmarks.names import PARTS
from facekp.parsing.face import Face
from facekp.predict.settings import OneEuroConfig

Vectors = npt.NDArray[np.float64]

JUMP: Final = 1.0  # face widths per frame; a larger jump means another face, or an outline traced elsewhere
MEMORY: Final = 1.0  # seconds for which a lost face keeps its track number


class OneEuro:
    """One-Euro filter of points: a low-pass filter whose cutoff rises with the speed of each point.

    Speed is the length of (x, y) in face widths per second, so the filter depends neither on the video's resolution nor
    on the direction of motion. Frames need not be evenly spaced in time. Points may have other dimensions than two.

    Reference: Casiez, Roussel and Vogel, "1 EUR filter", CHI 2012, algorithm 1.
    """

    def __init__(self, config: OneEuroConfig) -> None:
        self.config = config
        self._points = self._speed = np.empty((0, 2))
        self._time = 0.0

    def __call__(self, points: Points, time: float, width: float) -> Points:
        """Return the smoothed points of the next frame; unchanged in the first frame, and when half of them jump.

        `points` are (n, 2) float32 in pixels, `time` is in seconds, and `width` the face's in pixels.
        """
        new = points.astype(np.float64)
        elapsed, self._time = time - self._time, time
        old, speed = self._points, self._speed
        if new.shape != old.shape or np.median(np.linalg.norm(new - old, axis=1)) > JUMP * width:
            self._points, self._speed = new, np.zeros_like(new)
            return points
        self._speed = speed + _weight(1.0, elapsed) * ((new - old) / elapsed - speed)  # the paper's cutoff
        widths_per_second = np.linalg.norm(self._speed, axis=1, keepdims=True) / width
        cutoff = self.config.min_cutoff + self.config.beta * widths_per_second
        self._points = old + _weight(cutoff, elapsed) * (new - old)
        return self._points.astype(np.float32)


def _weight(cutoff: float | Vectors, elapsed: float) -> float | Vectors:
    """Return the weight of the new value in exponential smoothing with a cutoff in Hz."""
    return 1 / (1 + 1 / (2 * pi * cutoff * elapsed))


@dataclass(frozen=True, eq=False)
class TrackedFace:
    """A face of a video frame, with smoothed key points and landmarks; `track` is its number in all frames."""

    track: int
    face: Face
    landmarks: dict[str, Landmark]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the mask as plain data for JSON; docs/reference/formats.md describes it."""
        landmarks = [landmark.to_dict() for landmark in self.landmarks.values()]
        return {"track": self.track, **self.face.to_dict(), "landmarks": landmarks}


@dataclass(eq=False)  # compared by identity
class _Track:
    number: int
    centre: Vectors
    width: float
    seen: float
    filters: dict[str, OneEuro] = field(default_factory=dict)


class FaceTracks:
    """Track the faces of a video and smooth the key points and landmarks of each.

    A face continues the track whose centre was nearest in the previous frame, at most its own width away. Each
    attribute and each of `landmarks.names.PARTS` has its own filter, which restarts if it was absent in that frame.
    Masks and outlines are not smoothed, and the visibility of landmarks is not changed. `config` None disables
    smoothing.
    """

    def __init__(self, config: OneEuroConfig | None) -> None:
        self.config = config
        self._tracks: list[_Track] = []
        self._numbers = count()

    def __call__(self, faces: Sequence[Face], time: float) -> list[TrackedFace]:
        """Return the faces of the next frame, in their order; `time` is in seconds, later than at the last call."""
        extents = [_extent(face) for face in faces]
        before = [track for track in self._tracks if time - track.seen <= MEMORY]
        found = self._match(extents, before)
        absent = [track for track in before if track not in found]
        for track in absent:
            track.filters.clear()
        for track, (centre, width) in zip(found, extents, strict=True):
            track.centre, track.width, track.seen = centre, width, time
        self._tracks = found + absent
        return [self._smooth(face, track, time) for track, face in zip(found, faces, strict=True)]

    def _match(self, extents: Sequence[tuple[Vectors, float]], before: Sequence[_Track]) -> list[_Track]:
        """Return the track of each face: one of `before`, or a new one."""
        distance = np.array([[np.linalg.norm(centre - t.centre) / width for t in before] for centre, width in extents])
        # Capped, so that a pair within reach is never traded for two pairs just out of reach.
        rows, columns = linear_sum_assignment(np.minimum(distance, 2 * JUMP).reshape(len(extents), len(before)))
        nearest = {i: before[k] for i, k in zip(rows, columns, strict=True) if distance[i, k] <= JUMP}
        return [nearest.get(i) or _Track(next(self._numbers), *extent, seen=0.0) for i, extent in enumerate(extents)]

    def _smooth(self, face: Face, track: _Track, time: float) -> TrackedFace:
        if self.config is None:
            return TrackedFace(track.number, face, face.landmarks)
        points = face.keypoints
        for part in PARTS:
            if face.landmarks[part[0]].xy is not None:
                points[part[0]] = np.array([face.landmarks[name].xy for name in part], np.float32)
        track.filters = {name: track.filters.get(name) or OneEuro(self.config) for name in points}
        smooth = {name: track.filters[name](own, time, track.width) for name, own in points.items()}
        attributes = {name: replace(a, keypoints=smooth[name]) for name, a in face.attributes.items()}
        moved = {
            name: replace(face.landmarks[name], xy=xy)
            for part in PARTS
            if part[0] in smooth
            for name, xy in zip(part, smooth[part[0]], strict=True)
        }
        return TrackedFace(track.number, replace(face, attributes=attributes), face.landmarks | moved)


def _extent(face: Face) -> tuple[Vectors, float]:
    """Return the centre and width, in pixels, of a face's skin; without skin, of its box."""
    skin = next((face.attributes[name] for name in face.classes.showing("skin") if name in face.attributes), None)
    corners = skin.keypoints if skin else np.reshape(face.box, (2, 2))
    low, high = corners.min(0).astype(np.float64), corners.max(0).astype(np.float64)
    return (low + high) / 2, max(float(high[0] - low[0]), 1.0)
