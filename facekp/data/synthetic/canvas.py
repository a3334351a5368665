"""Antialiased drawing in face units, with a mask for every part of the face.

Points are complex numbers, x + iy, in face units: the origin lies between the eyes, x points to the right of the image,
y down, and 1 is half the width of the head.
"""

import cv2
import numpy as np
import numpy.typing as npt

from facekp.classes import CELEBAMASK_HQ

Points = npt.NDArray[np.complexfloating]
MIN_VISIBLE = 3  # pixels; a part with fewer counts as absent


class Canvas:
    """A square picture of `size` pixels that records which part of the face each pixel shows.

    `origin` and `unit` are the face's origin and one face unit, as fractions of the side; the angle of `unit` is the
    roll of the head.

    Attributes:
        image: (3, S, S) float32, RGB, 0..1.
        light: (S, S) float32, brightness of what is painted; 1 is neutral.
        places: (S, S) complex128, the point at every pixel's centre.
    """

    def __init__(self, size: int, origin: complex, unit: complex) -> None:
        self.size, self._origin, self._unit = size, origin * size, unit * size
        self.image, self.light = np.zeros((3, size, size), np.float32), np.ones((size, size), np.float32)
        ticks = np.arange(size) + 0.5
        self.places = (ticks + 1j * ticks[:, None] - self._origin) / self._unit
        self._visible, self._shapes = np.zeros((size, size), np.uint8), dict[str, npt.NDArray[np.bool_]]()

    def paint(
        self, curves: npt.ArrayLike, colour: npt.ArrayLike, part: str = "", *, width: float = 0, blur: float = 0,
        opacity: float = 1, inside: str = "",
    ) -> None:  # fmt: skip
        """Fill closed curves, (n,) or (k, n) points, with a colour (3,) RGB, 0..1, times `light`, or draw lines.

        `part` is the attribute that these pixels show from now on, `inside` the one to paint within. `width` is the
        thickness of lines, at least a pixel (0 fills the curves), and `blur` the softness of the edges, face units.
        """
        points = np.array(curves, np.complex128, ndmin=2) * self._unit + self._origin
        thickness, soft = max(1, round(width * abs(self._unit))), round(1.7 * blur * abs(self._unit))
        axes = np.stack([points.real, points.imag], axis=-1)  # (k, n, 2)
        low = np.clip(axes.min((0, 1)) - 1.2 * soft - thickness - 2, 0, self.size - 1).astype(int)
        high = np.clip(axes.max((0, 1)) + 1.2 * soft + thickness + 3, low + 1, self.size).astype(int)
        window, alpha = np.s_[low[1] : high[1], low[0] : high[0]], np.zeros((high - low)[::-1], np.uint8)
        # OpenCV takes sixteenths of a pixel, and puts pixel centres at whole numbers, not at halves.
        fixed = list(np.round((axes - low - 0.5) * 16).astype(np.int32))
        if width:
            cv2.polylines(alpha, fixed, False, 255, thickness, cv2.LINE_AA, 4)
        else:
            cv2.fillPoly(alpha, fixed, 255, cv2.LINE_AA, 4)
        if soft > 1:  # two box filters approximate a Gaussian at the same cost for any width
            alpha = cv2.blur(cv2.blur(alpha, (soft, soft)), (soft, soft))
        seen, area, cover = self._visible[window], self.image[:, *window], alpha * np.float32(1 / 255)
        if inside:
            cover = cover * (seen == CELEBAMASK_HQ.index(inside))
        ink = np.asarray(colour, np.float32)[:, None, None] * self.light[window]
        area += np.float32(opacity) * cover * (ink - area)
        if part:
            self._shapes.setdefault(part, np.zeros_like(self._visible, np.bool_))[window] |= cover > 0.5
            seen[cover > 0.5] = CELEBAMASK_HQ.index(part)

    def masks(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Return the mask, (S, S) bool, of each visible attribute.

        A part extends beneath the parts in front of it that have larger ids, as in the official files (skin beneath the
        eyes). Painting the masks in the order of ids therefore gives the label of what the picture shows.
        """
        counts = np.bincount(self._visible.ravel(), minlength=len(CELEBAMASK_HQ))
        present = [
            (k, part) for k, part in enumerate(CELEBAMASK_HQ.names) if part in self._shapes and counts[k] >= MIN_VISIBLE
        ]
        return {part: self._shapes[part] & (self._visible >= k) for k, part in present}


def smooth(pairs: npt.ArrayLike, closed: bool = False) -> Points:
    """Return a Catmull-Rom curve with 8 points per segment through knots (n, 2)."""
    knots = np.asarray(pairs, np.float64) @ (1, 1j)
    padded = np.concatenate([knots[-1:], knots, knots[:2]] if closed else [knots[:1], knots, knots[-1:]])
    a, b, c, d = padded[:-3, None], padded[1:-2, None], padded[2:-1, None], padded[3:, None]
    t = np.arange(8) / 8
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.append(curve, knots[0 if closed else -1])


def mirrored(half: npt.ArrayLike) -> Points:
    """Return the closed curve whose right half has knots (n, 2), from top to bottom, both ends at x = 0."""
    right = np.asarray(half, np.float64)
    return smooth(np.concatenate([right, (right * (-1, 1))[-2:0:-1]]), closed=True)


def ellipse(centre: complex | Points, width: float, height: float) -> Points:
    """Return a closed ellipse with these half axes, (33,)."""
    angle = np.linspace(0, 2 * np.pi, 33)
    return np.asarray(centre + width * np.cos(angle) + 1j * height * np.sin(angle))
