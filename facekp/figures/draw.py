"""Drawing the paper's figures of a photo."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from facekp.errors import DataError
from facekp.images import UInt8Array, decoding
from facekp.keypoints.curves import Points
from facekp.keypoints.score_grid import Scores
from facekp.models import fuse
from facekp.parsing.face import Face
from facekp.parsing.face_crop import cut
from facekp.parsing.inputs import MIN_SIDE
from facekp.parsing.overlay import blend_mask
from facekp.parsing.parser import FaceParser

WIDTH, MAX_HEIGHT = 7.2, 8.8  # inches: the width of two journal columns, and the page's height
BLUE, RED = "#0072b2", "#d7191c"  # key points, and those of a landmark detector
MAX_POINTS = 96  # points along the longer side of the surface; print resolves no more
PATCHES_IN_ROW = 5
STYLE: Final[Any] = {  # Matplotlib's own type lists the keys of one version
    "font.family": "DejaVu Sans",  # comes with Matplotlib, so figures look the same everywhere
    "font.size": 7, "axes.titlesize": 8, "axes.labelsize": 7, "xtick.labelsize": 6.5, "ytick.labelsize": 6.5,
    "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "pdf.fonttype": 42,  # TrueType, which publishers require
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "facekp",  # the same figure gives the same file
}  # fmt: skip


def read_landmarks(path: Path, photo: Path) -> Points:
    """Return a landmark detector's points (n, 2) float32 of one photo, in pixels of the detector's input.

    The file is a CSV with the header `id,x0,y0,x1,y1,...` and a row per photo, found by the photo's name without
    folder, suffix and leading zeros: 22 matches 00022.

    Raises:
        DataError: the file is unreadable or malformed, or lacks the photo.
    """
    with decoding(f"landmarks '{path}'", "give a CSV with the header `id,x0,y0,x1,y1,...` and a row per photo"):
        table = pd.read_csv(path, index_col="id", dtype={"id": str})
        own = table[table.index.str.lstrip("0") == photo.stem.lstrip("0")]
        if len(own) != 1:
            raise LookupError(f"{len(own)} rows for the photo '{photo.stem}' among {len(table)}")
        points = np.asarray(own, np.float32).reshape(-1, 2)
        if not np.isfinite(points).all():
            raise ValueError("coordinates that are not numbers")
    return points


def crop_face(parser: FaceParser, image: UInt8Array, landmarks: Any, photo: Path) -> tuple[UInt8Array, Any]:
    """Crop the largest face from a photo (H, W, 3) uint8 RGB at its resolution, aligned as in CelebA-HQ.

    Returns the crop (s, s, 3) uint8 RGB and the landmarks (n, 2) in it; both unchanged if the photo is already aligned.

    Raises:
        DataError: no face in the photo; the message names its file, `photo`.
    """
    (scene,) = parser.stages.parse([parser.stages.look(image, "auto")])
    views = scene.confirmed().views
    if not views:
        raise DataError(f"image {photo}: no face found; align=none treats the whole photo as one")
    if (crop := views[0].crop) is None:
        return image, landmarks
    side = max(MIN_SIDE, round(crop.side))
    if landmarks is not None:
        landmarks = cv2.transform(landmarks[None], cv2.invertAffineTransform(crop.matrix(side)))[0]
    return cut(image, crop, side), landmarks


def class_scores(parser: FaceParser, image: UInt8Array, name: str) -> tuple[list[Scores], Scores]:
    """Return the score maps (h, w) of a class in a photo, finest first, and their upsampled sum (H, W); all float32."""
    pixels, backend = parser.stages.resized(image), parser.stages.backend
    heads = [scores[0, ..., backend.classes.index(name)] for scores in backend(pixels[None])]
    total = fuse([torch.tensor(scores)[None, None] for scores in heads], pixels.shape[:2])[0, 0]
    return heads, total.numpy()


def draw_heads(image: UInt8Array, name: str, heads: Sequence[Scores], total: Scores) -> Figure:
    """Draw the paper's figure 2: a photo, every head's scores for a class on one colour scale, and their sum."""
    titles = [f"stride {round(len(total) / len(values))} ({values.shape[1]} x {values.shape[0]})" for values in heads]
    figure, (photo, *panels, own), stacked = _panels(image.shape[:2], ["photo", *titles, "sum"], extra=1.2)
    extent = photo.imshow(image).get_extent()
    look: dict[str, Any] = {"cmap": "viridis", "interpolation": "nearest", "extent": extent}
    low, high = min(values.min() for values in heads), max(values.max() for values in heads)
    for panel, values in zip(panels, heads, strict=True):
        shared = panel.imshow(values, vmin=low, vmax=high, **look)
    summed = own.imshow(total, **look)
    for drawn, over, label in ((shared, panels, f"score of {name} by head"), (summed, [own], "summed score")):
        # The bar is as long as its panels, and both bars are equally thick.
        place, aspect = "right" if stacked else "bottom", 12 * len(over)
        figure.colorbar(drawn, ax=over, location=place, aspect=aspect, label=f"{label} (logit)")
    return figure


def draw_surface(image: UInt8Array, name: str, total: Scores) -> Figure:
    """Draw the paper's figure 3: a photo, and the summed scores for a class as a surface."""
    figure = Figure(figsize=(WIDTH, 0.46 * WIDTH), layout="constrained")
    grid = figure.add_gridspec(1, 2, width_ratios=(1, 1.9))
    figure.add_subplot(grid[0], title="photo", xlabel="x (pixels)", ylabel="y (pixels)").imshow(image)
    (height, width), shape = image.shape[:2], total.shape
    step = -(-max(shape) // MAX_POINTS)
    rows, columns = (np.arange(step // 2, length, step) for length in shape)
    x, y = (columns + 0.5) * width / shape[1] - 0.5, (rows + 0.5) * height / shape[0] - 0.5
    axes = figure.add_subplot(grid[1], projection="3d")
    surface = axes.plot_surface(
        *np.meshgrid(x, y), total[np.ix_(rows, columns)], cmap="viridis", rstride=1, cstride=1, linewidth=0,
        antialiased=False, rasterized=True,  # thousands of polygons: an image in vector files
    )  # fmt: skip
    axes.view_init(elev=38, azim=-70)  # y points down in a photo, so its upper border lies at the back
    axes.set(xlim=(0, width), ylim=(height, 0), xlabel="x (pixels)", ylabel="y (pixels)", zlabel="score (logit)")
    longer = max(width, height)
    # The short side of a very wide or tall photo is stretched, to leave room for its labels.
    axes.set_box_aspect((max(width, 0.4 * longer), max(height, 0.4 * longer), 0.5 * longer))
    axes.locator_params(nbins=4)
    figure.colorbar(surface, ax=axes, shrink=0.7, aspect=24, pad=0.12, label=f"summed score of {name} (logit)")
    return figure


def draw_key_points(image: UInt8Array, face: Face, landmarks: Points | None = None) -> Figure:
    """Draw the paper's figure 4: a face's masks over its photo, and its key points beside them.

    `landmarks` are (n, 2) float, pixels of the photo: a landmark detector's points, drawn in red.
    """
    rows = -(-len(face.attributes) // PATCHES_IN_ROW)
    figure, (masks, points), _ = _panels(image.shape[:2], ["masks", "key points"], extra=0.7 + 0.14 * rows)
    # Below the axis and its labels; borderaxespad is in units of the font size.
    below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "borderaxespad": 4.2, "frameon": False}
    masks.imshow(blend_mask(image, face.mask, classes=face.classes))
    colours = np.divide(face.classes.colours, 255)
    patches = [Patch(fc=colours[part.id], ec="0.2", lw=0.4, label=name) for name, part in face.attributes.items()]
    masks.legend(handles=patches, ncols=PATCHES_IN_ROW, handlelength=1, columnspacing=1, **below)
    points.imshow(image)
    found = np.concatenate([np.empty((0, 2)), *face.keypoints.values()])
    label = f"key points ({len(found)})"
    points.scatter(found[:, 0], found[:, 1], s=4, color=BLUE, edgecolors="white", linewidths=0.25, label=label)
    if landmarks is not None:
        label = f"landmark detector ({len(landmarks)})"
        points.scatter(landmarks[:, 0], landmarks[:, 1], s=7, color=RED, marker="x", linewidths=0.8, label=label)
    points.legend(markerscale=1.5, **below)
    return figure


def _panels(size: tuple[int, int], titles: Sequence[str], extra: float) -> tuple[Figure, list[Axes], bool]:
    """Return a figure, its panels for images of `size` (H, W), and whether they are stacked, as for wide photos.

    `extra` is the height in inches for titles, labels and legends.
    """
    height, width = size
    stacked = width > 2 * height
    rows, columns = (len(titles), 1) if stacked else (1, len(titles))
    tall = rows * (0.9 * WIDTH / columns * height / width + 0.3 * stacked) + extra
    figure = Figure(figsize=(WIDTH, min(tall, MAX_HEIGHT)), layout="compressed")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel().tolist()
    for panel, title in zip(panels, titles, strict=True):
        panel.set(title=title, xlabel="x (pixels)", ylabel="y (pixels)")
        panel.label_outer()
    return figure, panels, stacked
