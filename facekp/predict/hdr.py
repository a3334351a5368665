"""Tone mapping of HDR pictures, whose colours would look washed out on an ordinary display."""

from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from facekp.images import UInt8Array

Values = npt.NDArray[np.float64]

WHITE: Final = 203.0  # luminance of a white sheet of paper in HDR video, cd/m2. Reference: ITU-R BT.2408, section 2.1
FROM_BT2020: Final = ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187))
"""Linear BT.2020 colours to BT.709. Reference: ITU-R BT.2407, section 2."""


def _perceptual_quantiser(signal: Values) -> Values:
    """Return the luminance of a PQ signal 0..1, cd/m2. Reference: ITU-R BT.2100, table 4."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = signal ** (1 / m2)
    luminance: Values = 10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return luminance


def _hybrid_log_gamma(signal: Values) -> Values:
    """Return the luminance of an HLG signal 0..1 on a display of 1000 cd/m2. Reference: ITU-R BT.2100, table 5.

    The display's gamma of 1.2 is applied to each channel: exact for grey.
    """
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luminance: Values = 1000 * scene**1.2
    return luminance


CURVES: Final[dict[int, tuple[str, Callable[[Values], Values]]]] = {
    16: ("PQ", _perceptual_quantiser),
    18: ("HLG", _hybrid_log_gamma),
}
"""Name and luminance of each HDR transfer, by its code in ITU-T H.273."""


def tone_map(image: UInt8Array, transfer: int) -> UInt8Array:
    """Convert (H, W, 3) uint8 BT.2020 RGB with an HDR transfer to BT.709 RGB for ordinary displays."""
    return np.asarray(Image.fromarray(image).filter(_table(transfer)), np.uint8)


@cache
def _table(transfer: int) -> ImageFilter.Color3DLUT:
    luminance, steps = CURVES[transfer][1], 65
    levels = np.linspace(0, 1, steps)
    blue, green, red = np.meshgrid(levels, levels, levels, indexing="ij")  # red varies fastest
    linear = luminance(np.stack([red, green, blue], -1).reshape(-1, 3)) / WHITE
    linear = np.maximum(linear @ np.transpose(FROM_BT2020), 0)
    mapped = np.minimum(_mobius(linear), 1) ** (1 / 2.2)
    return ImageFilter.Color3DLUT(steps, [float(v) for v in mapped.ravel()])


def _mobius(x: Values) -> Values:
    """Map shares of white to 0..1: the identity up to a knee, then smoothly ever flatter up to 1000 cd/m2.

    Reference: ffmpeg's filter tonemap, `mobius`.
    """
    knee, peak = 0.3, 1000 / WHITE
    a = -(knee**2) * (peak - 1) / (knee**2 - 2 * knee + peak)
    b = (knee**2 - 2 * knee * peak + peak) / (peak - 1)
    scale = (b + knee) ** 2 / (b - a)
    return np.where(x <= knee, x, scale * (x + a) / (x + b))
