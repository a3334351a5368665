"""Points over time: which face is which from frame to frame, and each point smoothed without trailing behind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from math import pi
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from facekp.errors import require
from facekp.keypoints.curves import Points
from facekp.keypoints.landmarks import Landmark
from facekp.keypoints.landmarks.names import PARTS
from facekp.parsing.face import Face

Vectors = npt.NDArray[np.float64]

SPEED_CUTOFF: Final = 1.0
"""Hz, of the filter of the speeds; the paper's value."""
JUMP: Final = 1.0
"""Face widths from one frame to the next beyond which it is another face, or an outline that is traced elsewhere."""
MEMORY: Final = 1.0
"""Seconds for which a face that is not found keeps its number."""


@dataclass
class OneEuroConfig:
    """How strongly points are smoothed over time.

    A point that moves steadily trails by at most 1 / (2 pi beta) face widths: 0.013 with the default, or 3 pixels of a
    face that is 200 wide.
    """

    min_cutoff: float = field(
        default=1.0, metadata={"help": "Hz; changes of a still point that are faster are noise, so less is calmer"}
    )
    beta: float = field(
        default=12.0, metadata={"help": "Hz added per face width that a point moves in a second; more trails less"}
    )

    def __post_init__(self) -> None:
        """Check ranges."""
        require("one_euro.min_cutoff", self.min_cutoff, self.min_cutoff > 0, "give a frequency above 0")
        require("one_euro.beta", self.beta, self.beta >= 0, "give 0 or more")


class OneEuro:
    """The One-Euro filter of points: a low-pass filter whose cutoff rises with the speed of the point.

    The speed is taken in face widths a second, so what the filter does depends neither on the video's resolution nor,
    since it is that in x and y together, on the direction. Time is that of the frames, which need not be evenly spaced.

    Reference: Casiez, Roussel and Vogel, "1 EUR filter", CHI 2012, algorithm 1.

    Args:
        config: how strongly.
    """

    def __init__(self, config: OneEuroConfig) -> None:
        self.config = config
        self._points: Vectors | None = None
        self._speed: Vectors | None = None
        self._time = 0.0

    def __call__(self, points: Points, time: float, width: float) -> Points:
        """Return the points of the next frame, smoothed; as they are in the first, and where half of them jumped.

        Args:
            points: (n, 2) float32, pixels.
            time: seconds; later than at the last call.
            width: the face's, in pixels.
        """
        new = points.astype(np.float64)
        elapsed, self._time = time - self._time, time
        if self._points is None or self._speed is None or _jumped(new, self._points, width):
            self._points, self._speed = new, np.zeros_like(new)
            return points
        speed = (new - self._points) / elapsed
        self._speed += _alpha(SPEED_CUTOFF, elapsed) * (speed - self._speed)
        widths_per_second = np.linalg.norm(self._speed, axis=1, keepdims=True) / width
        cutoff = self.config.min_cutoff + self.config.beta * widths_per_second
        self._points = self._points + _alpha(cutoff, elapsed) * (new - self._points)
        return self._points.astype(np.float32)


def _alpha(cutoff: float | Vectors, elapsed: float) -> float | Vectors:
    """Return the share of the new value in exponential smoothing with a cutoff in Hz."""
    return 1 / (1 + 1 / (2 * pi * cutoff * elapsed))


def _jumped(new: Vectors, old: Vectors, width: float) -> bool:
    return new.shape != old.shape or bool(np.median(np.linalg.norm(new - old, axis=1)) > JUMP * width)


@dataclass(frozen=True)
class TrackedFace:
    """A face, its key points and landmarks smoothed, and the number that it keeps from frame to frame."""

    track: int
    face: Face


@dataclass(eq=False)  # one is another's equal if it is the same
class _Track:
    number: int
    centre: Vectors
    width: float
    seen: float
    filters: dict[str, OneEuro] = field(default_factory=dict)


class FaceTracks:
    """Follow the faces of a video and smooth the key points and landmarks of each.

    A face is the one whose centre was nearest in the frame before, and not farther than its own width. Each attribute
    and each of `landmarks.names.PARTS` has a filter, which starts anew when it was not there in the frame
    before. Masks and outlines stay as they are, and so does which landmarks are visible.

    Args:
        config: how strongly; None: all points stay as they are.
    """

    def __init__(self, config: OneEuroConfig | None) -> None:
        self.config = config
        self._tracks: list[_Track] = []
        self._numbers = count()

    def __call__(self, faces: Sequence[Face], time: float) -> list[TrackedFace]:
        """Return the faces of the next frame, in their order.

        Args:
            faces: what was found in it.
            time: seconds; later than at the last call.
        """
        extents = [_extent(face) for face in faces]
        before = [track for track in self._tracks if time - track.seen <= MEMORY]
        found = self._match(extents, before)
        for track in before:
            if track not in found:
                track.filters.clear()
        for track, (centre, width) in zip(found, extents, strict=True):
            track.centre, track.width, track.seen = centre, width, time
        self._tracks = found + [track for track in before if track not in found]
        return [TrackedFace(t.number, self._smooth(face, t, time)) for t, face in zip(found, faces, strict=True)]

    def _match(self, extents: Sequence[tuple[Vectors, float]], before: Sequence[_Track]) -> list[_Track]:
        """Return the track of each face: one of `before`, or a new one."""
        distance = np.array([[np.linalg.norm(centre - t.centre) / width for t in before] for centre, width in extents])
        # Far is far: otherwise one pair within reach could be given up for two that are nearly so.
        rows, columns = linear_sum_assignment(np.minimum(distance, 2 * JUMP).reshape(len(extents), len(before)))
        nearest = {i: before[k] for i, k in zip(rows, columns, strict=True) if distance[i, k] <= JUMP}
        return [nearest.get(i) or _Track(next(self._numbers), *extent, seen=0.0) for i, extent in enumerate(extents)]

    def _smooth(self, face: Face, track: _Track, time: float) -> Face:
        if self.config is None:
            return face
        points = face.keypoints | _by_part(face.landmarks)
        track.filters = {name: track.filters.get(name) or OneEuro(self.config) for name in points}
        calm = {name: track.filters[name](own, time, track.width) for name, own in points.items()}
        attributes = {name: replace(a, keypoints=calm[name]) for name, a in face.attributes.items()}
        moved = {
            name: replace(face.landmarks[name], xy=xy)
            for part in PARTS
            if part[0] in calm
            for name, xy in zip(part, calm[part[0]], strict=True)
        }
        return replace(face, attributes=attributes, smoothed=face.landmarks | moved)


def _by_part(landmarks: Mapping[str, Landmark]) -> dict[str, Points]:
    """Return the points (n, 2) of every part that is in the picture, by the name of its first landmark."""
    points = {part[0]: [landmarks[name].xy for name in part] for part in PARTS}
    return {first: np.array(own, np.float32) for first, own in points.items() if own[0] is not None}


def _extent(face: Face) -> tuple[Vectors, float]:
    """Return the centre and the width, in pixels, of a face's skin, or else of the part that was parsed."""
    skin = face.attributes.get("skin")
    corners = skin.keypoints if skin else np.reshape(face.box, (2, 2))
    low, high = corners.min(0).astype(np.float64), corners.max(0).astype(np.float64)
    return (low + high) / 2, max(float(high[0] - low[0]), 1.0)
