"""The summed scores of one class as a surface, beside the photo: the paper's figure 3."""

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from facekp.figures.scores import ClassScores
from facekp.figures.style import COLOURS, STYLE, WIDTH, label_pixels, show_photo
from facekp.images import UInt8Array

MAX_POINTS = 96
"""Points of the surface along its longer side: more cannot be told apart in print."""

LEAST_SIDE = 0.4


@rc_context(STYLE)
def draw_surface(image: UInt8Array, scores: ClassScores) -> Figure:
    """Draw a photo and a class's summed scores as heights over its plane.

    Args:
        image: (H, W, 3) uint8 RGB.
        scores: what the network says about it.
    """
    figure = Figure(figsize=(WIDTH, 0.46 * WIDTH), layout="constrained")
    grid = figure.add_gridspec(1, 2, width_ratios=(1, 1.9))
    photo = figure.add_subplot(grid[0])
    show_photo(photo, image)
    label_pixels(photo)
    photo.set_title("photo")
    height, width = image.shape[:2]
    step = -(-max(scores.total.shape) // MAX_POINTS)
    values = scores.total[step // 2 :: step, step // 2 :: step]
    y, x = (
        (np.arange(step // 2, inner, step) + 0.5) * outer / inner - 0.5
        for inner, outer in zip(scores.total.shape, (height, width), strict=True)
    )
    axes = figure.add_subplot(grid[1], projection="3d")
    # Thousands of polygons: a picture in vector files too, whose text and lines stay what they are.
    surface = axes.plot_surface(
        *np.meshgrid(x, y), values, cmap=COLOURS, rstride=1, cstride=1, linewidth=0, antialiased=False, rasterized=True
    )
    # y points down in a photo, so its upper border lies at the back.
    axes.view_init(elev=38, azim=-70)
    axes.set(xlim=(0, width), ylim=(height, 0), xlabel="x (pixels)", ylabel="y (pixels)", zlabel="score (logit)")
    longer = max(width, height)
    # Of a banner the short side is drawn longer than it is, so that its labels have room.
    sides = [max(side, LEAST_SIDE * longer) for side in (width, height)]
    axes.set_box_aspect((*sides, 0.5 * longer))
    for axis, side in zip("xyz", (*sides, 0.5 * longer), strict=True):
        axes.locator_params(axis=axis, nbins=max(2, round(5 * side / longer)))
    figure.colorbar(surface, ax=axes, shrink=0.7, aspect=24, pad=0.12, label=f"summed score of {scores.name} (logit)")
    return figure
