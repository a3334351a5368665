"""Matplotlib figures of scores, masks and key points, in the style of a journal's page.

They do not use pyplot, so a program or a notebook may draw any number of them.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from facekp.classes import PALETTE
from facekp.figures.inputs import ClassScores
from facekp.files import replacing
from facekp.images import UInt8Array, resize
from facekp.keypoints.curves import Points
from facekp.parsing.face import Face
from facekp.parsing.overlay import blend_mask

WIDTH, MAX_HEIGHT = 7.2, 8.8  # inches: two columns of a journal's page, and its height
BLUE, RED = "#0072b2", "#d7191c"  # key points, and those of a landmark detector
MAX_POINTS = 96  # points along the longer side of the surface; print resolves no more
SHOWN_SIDE = 1600  # larger photos are reduced to this, to keep vector files small
PATCHES_IN_ROW = 5
STYLE: Final[Any] = {  # Matplotlib's own type lists the keys of one version
    "font.family": "DejaVu Sans",  # comes with Matplotlib, so figures look the same everywhere
    "font.size": 7, "axes.titlesize": 8, "axes.labelsize": 7, "xtick.labelsize": 6.5, "ytick.labelsize": 6.5,
    "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "pdf.fonttype": 42,  # TrueType, which publishers require
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "facekp",  # the same figure gives the same file
}  # fmt: skip
UNDATED = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}  # the same figure gives the same file


@rc_context(STYLE)
def draw_heads(image: UInt8Array, scores: ClassScores) -> Figure:
    """Draw a photo (H, W, 3) uint8 RGB, every head's scores of one class, and their sum: the paper's figure 2.

    The heads share one range of colours, so that they can be compared.
    """
    size = image.shape[:2]
    figure, (photo, *heads, total), stacked = _panels(size, len(scores.heads) + 2, extra=1.2)
    _show_photo(photo, image, "photo")
    look: dict[str, Any] = {"cmap": "viridis", "interpolation": "nearest", "extent": _extent(size)}
    low, high = min(values.min() for values in scores.heads), max(values.max() for values in scores.heads)
    for panel, values, stride in zip(heads, scores.heads, scores.strides, strict=True):
        shared = panel.imshow(values, vmin=low, vmax=high, **look)
        panel.set_title(f"stride {stride} ({values.shape[1]} x {values.shape[0]})")
    own = total.imshow(scores.total, **look)
    total.set_title("sum")
    for drawn, over, label in ((shared, heads, f"score of {scores.name} by head"), (own, [total], "summed score")):
        # The bar is as long as its panels, and both bars are equally thick.
        place, aspect = "right" if stacked else "bottom", 12 * len(over)
        figure.colorbar(drawn, ax=over, location=place, aspect=aspect, label=f"{label} (logit)")
    return figure


@rc_context(STYLE)
def draw_surface(image: UInt8Array, scores: ClassScores) -> Figure:
    """Draw a photo (H, W, 3) uint8 RGB and the summed scores of a class as a surface: the paper's figure 3."""
    figure = Figure(figsize=(WIDTH, 0.46 * WIDTH), layout="constrained")
    grid = figure.add_gridspec(1, 2, width_ratios=(1, 1.9))
    photo = figure.add_subplot(grid[0])
    _show_photo(photo, image, "photo")
    photo.set(xlabel="x (pixels)", ylabel="y (pixels)")
    (height, width), shape = image.shape[:2], scores.total.shape
    step = -(-max(shape) // MAX_POINTS)
    rows, columns = (np.arange(step // 2, length, step) for length in shape)
    x, y = (columns + 0.5) * width / shape[1] - 0.5, (rows + 0.5) * height / shape[0] - 0.5
    axes = figure.add_subplot(grid[1], projection="3d")
    surface = axes.plot_surface(
        *np.meshgrid(x, y), scores.total[np.ix_(rows, columns)], cmap="viridis", rstride=1, cstride=1, linewidth=0,
        antialiased=False, rasterized=True,  # thousands of polygons: an image in vector files
    )  # fmt: skip
    axes.view_init(elev=38, azim=-70)  # y points down in a photo, so its upper border lies at the back
    axes.set(xlim=(0, width), ylim=(height, 0), xlabel="x (pixels)", ylabel="y (pixels)", zlabel="score (logit)")
    # The short side of a banner is drawn longer than it is, to leave room for its labels.
    longer = max(width, height)
    sides = (max(width, 0.4 * longer), max(height, 0.4 * longer), 0.5 * longer)
    axes.set_box_aspect(sides)
    for axis, side in zip("xyz", sides, strict=True):
        axes.locator_params(axis=axis, nbins=max(2, round(5 * side / longer)))
    figure.colorbar(surface, ax=axes, shrink=0.7, aspect=24, pad=0.12, label=f"summed score of {scores.name} (logit)")
    return figure


@rc_context(STYLE)
def draw_key_points(image: UInt8Array, face: Face, landmarks: Points | None = None) -> Figure:
    """Draw the masks over a photo, and beside them the key points of all attributes: the paper's figure 4.

    Args:
        image: (H, W, 3) uint8 RGB.
        face: the face parsed in it.
        landmarks: (n, 2) float, pixels of the photo, x then y: points of a landmark detector, drawn in red.
    """
    rows = -(-len(face.attributes) // PATCHES_IN_ROW)
    figure, (masks, points), _ = _panels(image.shape[:2], 2, extra=0.7 + 0.14 * rows)
    # Below the axis and its labels, whose height is given in units of the font size.
    below: dict[str, Any] = {
        "loc": "upper center", "bbox_to_anchor": (0.5, 0), "borderaxespad": 4.2, "frameon": False
    }  # fmt: skip
    _show_photo(masks, blend_mask(image, face.mask), "masks")
    patches = [
        Patch(facecolor="#{:02x}{:02x}{:02x}".format(*PALETTE[part.id]), edgecolor="0.2", linewidth=0.4, label=name)
        for name, part in face.attributes.items()
    ]
    masks.legend(handles=patches, ncols=PATCHES_IN_ROW, handlelength=1, columnspacing=1, **below)
    _show_photo(points, image, "key points")
    found = np.concatenate([np.empty((0, 2)), *face.keypoints.values()])
    points.scatter(
        found[:, 0],
        found[:, 1],
        s=4,
        color=BLUE,
        edgecolors="white",
        linewidths=0.25,
        label=f"key points ({len(found)})",
    )
    if landmarks is not None:
        label = f"landmark detector ({len(landmarks)})"
        points.scatter(landmarks[:, 0], landmarks[:, 1], s=7, color=RED, marker="x", linewidths=0.8, label=label)
    points.legend(markerscale=1.5, **below)
    return figure


def _panels(size: tuple[int, int], count: int, extra: float) -> tuple[Figure, list[Axes], bool]:
    """Return a figure, its panels for pictures of `size` (H, W), and whether they are stacked, as wide photos are.

    `extra` inches of its height are for titles, labels and legends.
    """
    height, width = size
    stacked = width > 2 * height
    rows, columns = (count, 1) if stacked else (1, count)
    tall = rows * (0.9 * WIDTH / columns * height / width + 0.3 * stacked) + extra
    figure = Figure(figsize=(WIDTH, min(tall, MAX_HEIGHT)), layout="compressed")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel().tolist()
    for panel in panels:
        panel.set(xlabel="x (pixels)", ylabel="y (pixels)")
        panel.label_outer()
    return figure, panels, stacked


def _extent(size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return imshow's `extent` for a picture that covers a photo of `size` (H, W), whose pixel centres are integers."""
    return (-0.5, size[1] - 0.5, size[0] - 0.5, -0.5)


def _show_photo(axes: Axes, image: UInt8Array, title: str) -> None:
    """Show a photo (H, W, 3) uint8 RGB with its pixels as coordinates."""
    height, width = image.shape[:2]
    scale = min(1.0, SHOWN_SIDE / max(height, width))
    shown = resize(image, (max(1, round(scale * height)), max(1, round(scale * width))))
    axes.imshow(shown, extent=_extent((height, width)))
    axes.set_title(title)


def save(figure: Figure, path: Path, dpi: int) -> None:
    """Write a figure in the format of the path's suffix: .png, .svg or .pdf."""
    with replacing(path) as part, rc_context(STYLE):
        figure.savefig(part, format=path.suffix[1:], dpi=dpi, metadata=UNDATED[path.suffix[1:]])
