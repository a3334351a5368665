"""What all figures share: sizes, type, colours, and how a photo lies in its panel."""

from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from facekp.images import UInt8Array, resize

WIDTH: Final = 7.2
"""Inches: two columns of a journal's page."""
MAX_HEIGHT: Final = 8.8
"""Inches that a page has."""
COLOURS: Final = "viridis"
"""Perceptually uniform, in grey and to the colour-blind too."""
BLUE, RED = "#0072b2", "#d7191c"
"""Key points, and a landmark detector's; their shapes tell them apart as well."""
STYLE: Final[Any] = {  # Matplotlib's own type lists every key, and other keys in each version
    "font.family": "DejaVu Sans",  # comes with Matplotlib, so that figures look the same everywhere
    "font.size": 7,
    "axes.titlesize": 8,
    "axes.labelsize": 7,
    "axes.linewidth": 0.6,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,  # TrueType, which publishers ask for
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "facekp",  # the same figure gives the same file
}
SHOWN_SIDE: Final = 1600
"""Larger photos are shown at this, or a vector file would hold all their pixels."""
WIDE: Final = 2.0
"""Photos wider than this, for their height, are put one below another."""


def panels(size: tuple[int, int], count: int, extra: float) -> tuple[Figure, list[Axes], bool]:
    """Return a figure with panels for pictures of one size, side by side, or stacked if they are wide.

    Args:
        size: (H, W) of the photo.
        count: panels.
        extra: inches of height for titles, labels and legends.

    Returns:
        The figure, its panels in reading order, and whether they are stacked.
    """
    height, width = size
    stacked = width > WIDE * height
    rows, columns = (count, 1) if stacked else (1, count)
    tall = rows * (0.9 * WIDTH / columns * height / width + 0.3 * stacked) + extra
    figure = Figure(figsize=(WIDTH, min(tall, MAX_HEIGHT)), layout="compressed")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for panel in grid.flat:
        label_pixels(panel)
        panel.label_outer()
    return figure, list(grid.flat), stacked


def label_pixels(axes: Axes) -> None:
    """Say what the coordinates of a photo are."""
    axes.set(xlabel="x (pixels)", ylabel="y (pixels)")


def extent(size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return imshow's `extent` of a picture that covers a photo of `size` (H, W), whose pixel centres are whole."""
    height, width = size
    return (-0.5, width - 0.5, height - 0.5, -0.5)


def show_photo(axes: Axes, image: UInt8Array) -> None:
    """Show a photo (H, W, 3) uint8 RGB, its pixels as coordinates."""
    height, width = image.shape[:2]
    scale = min(1.0, SHOWN_SIDE / max(height, width))
    shown = resize(image, (max(1, round(scale * height)), max(1, round(scale * width))))
    axes.imshow(shown, extent=extent((height, width)))
