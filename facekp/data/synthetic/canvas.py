"""The canvas: shapes become soft stencils, colours are blended through them, and each pixel knows what it shows."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from facekp.classes import ATTRIBUTES

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]
Points = npt.ArrayLike
"""(n, 2) face units, x then y."""

SUBPIXEL_BITS = 4
MIN_VISIBLE = 3
"""A part of which fewer pixels can be seen counts as absent."""


@dataclass(frozen=True)
class Stencil:
    """What a shape covers: a window of the picture (rows, columns) and the share, 0..1, of each pixel in it."""

    window: tuple[slice, slice]
    cover: FloatArray

    def within(self, other: "Stencil") -> "Stencil":
        """Return this stencil, cut where `other` ends."""
        frame = np.zeros_like(self.cover)
        pairs = list(zip(self.window, other.window, strict=True))
        common = [slice(max(a.start, b.start), max(a.start, b.start, min(a.stop, b.stop))) for a, b in pairs]
        here = tuple(slice(c.start - a.start, c.stop - a.start) for c, (a, _) in zip(common, pairs, strict=True))
        there = tuple(slice(c.start - b.start, c.stop - b.start) for c, (_, b) in zip(common, pairs, strict=True))
        frame[here] = self.cover[here] * other.cover[there]
        return Stencil(self.window, frame)


class Canvas:
    """A square RGB picture, with the id of what each pixel shows and the whole shape of every part.

    Args:
        size: side, pixels.
        origin: where the face's origin lies, as fractions (x, y) of the picture.
        unit: length of one face unit as a fraction of the picture.
        roll: turn in the picture's plane, radians, clockwise.
    """

    def __init__(self, size: int, origin: tuple[float, float], unit: float, roll: float) -> None:
        self.size = size
        self.unit = unit * size
        cos, sin = np.cos(roll) * self.unit, np.sin(roll) * self.unit
        self._axes = np.array([[cos, sin], [-sin, cos]], np.float32)
        self._origin = np.array(origin, np.float32) * size
        self.image: FloatArray = np.zeros((size, size, 3), np.float32)
        self._visible = np.zeros((size, size), np.uint8)
        self._shapes: dict[str, npt.NDArray[np.bool_]] = {}

    def grid(self, size: int | None = None) -> tuple[FloatArray, FloatArray]:
        """Return the face coordinates x, y of a grid of `size` by `size` pixel centres over the whole picture."""
        size = size or self.size
        ticks = (np.arange(size, dtype=np.float32) + 0.5) * (self.size / size)
        offset = np.stack(np.meshgrid(ticks, ticks), axis=-1) - self._origin
        points = offset @ np.linalg.inv(self._axes)
        return points[..., 0], points[..., 1]

    def fill(self, outline: Points, blur: float = 0.0) -> Stencil:
        """Return the stencil of a closed outline, its edge softened over `blur` face units."""
        pixels = self._pixels(outline)
        window, cover = self._window(pixels, 2 * blur * self.unit + 2)
        cv2.fillPoly(cover, [self._fixed(pixels, window)], 255.0, cv2.LINE_AA, SUBPIXEL_BITS)
        return self._stencil(window, cover, blur)

    def stroke(
        self,
        curves: Sequence[Points] | FloatArray,
        width: float,
        blur: float = 0.0,
        closed: bool = False,
        levels: Sequence[float] | None = None,
    ) -> Stencil:
        """Return the stencil of curves, `width` face units thick (never under a pixel); later ones lie on top.

        Args:
            curves: curves of (n, 2) points each.
            width: thickness.
            blur: how far the edges are softened.
            closed: whether each curve's last point is joined to its first.
            levels: how much each curve covers, 0..1; all of them fully by default.
        """
        arrays = [np.asarray(curve) for curve in curves]
        pixels = self._pixels(np.concatenate(arrays))
        thickness = max(1, round(width * self.unit))
        window, cover = self._window(pixels, 2 * blur * self.unit + thickness + 2)
        fixed, ends = self._fixed(pixels, window), np.cumsum([len(array) for array in arrays])
        lines = [fixed[end - len(array) : end] for array, end in zip(arrays, ends, strict=True)]
        for line, level in zip(lines, [1.0] * len(lines) if levels is None else levels, strict=True):
            cv2.polylines(cover, [line], closed, 255.0 * level, thickness, cv2.LINE_AA, SUBPIXEL_BITS)
        return self._stencil(window, cover, blur)

    def dot(self, centre: Points, radius: npt.ArrayLike, blur: float = 0.0) -> Stencil:
        """Return the stencil of an ellipse of one radius or of two, (x, y)."""
        angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
        circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return self.fill(np.asarray(centre) + circle * np.asarray(radius), blur)

    def paint(
        self,
        stencil: Stencil,
        colour: npt.ArrayLike,
        opacity: float = 1.0,
        part: str | None = None,
        tone: FloatArray | None = None,
    ) -> None:
        """Blend a colour through a stencil.

        Args:
            stencil: where.
            colour: (3,), or a whole picture (S, S, 3).
            opacity: how much of what was there is hidden, 0..1.
            part: the attribute that can be seen there from now on, or none.
            tone: (S, S) how bright the colour is in each place; 1 everywhere by default.
        """
        area = self.image[stencil.window]
        ink = np.asarray(colour, np.float32)
        if tone is not None:
            ink = dye(ink, tone[stencil.window])
        elif ink.ndim == 3:
            ink = ink[stencil.window]
        cover = stencil.cover * np.float32(opacity)
        # Merged planes instead of broadcasting: numpy is slow where the last axis is only 3 long.
        if ink.ndim == 3:
            area += cv2.merge([cover] * 3) * (ink - area)
        else:
            area *= cv2.merge([1 - cover] * 3)
            area += dye(ink, cover)
        if part is not None:
            self.mark(stencil, part)

    def tint(self, stencil: Stencil, factor: npt.ArrayLike) -> None:
        """Multiply the picture by `factor`, a number or (3,), through a stencil: a shadow or a flush."""
        area = self.image[stencil.window]
        area *= 1 + dye(np.broadcast_to(np.asarray(factor, np.float32), 3) - 1, stencil.cover)

    def mark(self, stencil: Stencil, part: str, through: Sequence[str] = ()) -> None:
        """Note that a stencil shows `part`, except where it lets parts in `through` be seen."""
        covered = stencil.cover > 0.5
        shape = self._shapes.setdefault(part, np.zeros((self.size, self.size), np.bool_))
        shape[stencil.window] |= covered
        seen = self._visible[stencil.window]
        kept = np.isin(seen, [ATTRIBUTES.index(name) for name in through])
        seen[covered & ~kept] = ATTRIBUTES.index(part)

    def masks(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Return the mask, (S, S) bool, of each part that can be seen.

        A part goes on beneath what covers it, as in the official files (skin beneath the eyes), but only where the
        part that is seen has the larger id: thus painting the masks in the order of ids gives what the picture shows.
        """
        masks = {}
        for number, part in enumerate(ATTRIBUTES):
            if part in self._shapes and np.count_nonzero(self._visible == number) >= MIN_VISIBLE:
                masks[part] = self._shapes[part] & (self._visible >= number)
        return masks

    def _pixels(self, points: Points) -> FloatArray:
        return np.asarray(points, np.float32) @ self._axes + self._origin

    def _window(self, pixels: FloatArray, margin: float) -> tuple[tuple[slice, slice], ByteArray]:
        # At least one pixel even for a shape outside the picture: OpenCV takes no empty array.
        low = np.clip(np.floor(pixels.min(axis=0) - margin), 0, self.size - 1).astype(int)
        high = np.clip(np.ceil(pixels.max(axis=0) + margin), low + 1, self.size).astype(int)
        window = slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))
        return window, np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)

    def _fixed(self, pixels: FloatArray, window: tuple[slice, slice]) -> npt.NDArray[np.int32]:
        # OpenCV puts pixel centres at whole numbers, we put them at halves.
        local = pixels - (window[1].start + 0.5, window[0].start + 0.5)
        fixed: npt.NDArray[np.int32] = np.round(local * (1 << SUBPIXEL_BITS)).astype(np.int32)
        return fixed

    def _stencil(self, window: tuple[slice, slice], cover: ByteArray, blur: float) -> Stencil:
        width = round(1.7 * blur * self.unit)
        if width > 1 and cover.size:
            # Two box filters look like a Gaussian and cost the same at any width.
            cover = np.asarray(cv2.blur(cv2.blur(cover, (width, width)), (width, width)), np.uint8)
        return Stencil(window, cover * np.float32(1 / 255))


def dye(colour: npt.ArrayLike, tone: FloatArray) -> FloatArray:
    """Return (H, W, 3), a colour (3,) as bright in each place as `tone` (H, W)."""
    return np.asarray(cv2.merge([tone * np.float32(channel) for channel in np.asarray(colour)]), np.float32)


def shifted(points: Points, x: float = 0.0, y: float = 0.0) -> FloatArray:
    """Return points (n, 2) moved by (x, y)."""
    return np.asarray(points, np.float32) + np.array((x, y), np.float32)


def smooth(points: Points, closed: bool = False, steps: int = 8) -> FloatArray:
    """Return a Catmull-Rom curve, (m, 2), through the points, with `steps` points a segment."""
    knots = np.asarray(points, np.float32)
    ends = (knots[-1:], knots[:2]) if closed else (knots[:1], knots[-1:])
    padded = np.concatenate([ends[0], knots, ends[1]])
    a, b, c, d = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    t = np.linspace(0, 1, steps, endpoint=False, dtype=np.float32)[:, None, None]
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    flat = curve.swapaxes(0, 1).reshape(-1, 2)
    return flat if closed else np.concatenate([flat, knots[-1:]])


def mirrored(half: Points) -> FloatArray:
    """Return the closed curve of which `half` is the right side, from the top to the bottom, both at x = 0."""
    right = np.asarray(half, np.float32)
    return smooth(np.concatenate([right, (right * (-1, 1))[-2:0:-1]]), closed=True)


def noise(rng: np.random.Generator, size: int, cells: int | tuple[int, int]) -> FloatArray:
    """Return smooth noise, (size, size), normal with deviation near 1, of `cells` (rows, columns) bumps."""
    shape = (cells, cells) if isinstance(cells, int) else cells
    coarse = rng.standard_normal(shape, dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)
