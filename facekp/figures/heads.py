"""The score map that each head gives one class, beside their sum: the paper's figure 2."""

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from facekp.figures.scores import ClassScores
from facekp.figures.style import COLOURS, STYLE, extent, panels, show_photo
from facekp.images import UInt8Array


@rc_context(STYLE)
def draw_heads(image: UInt8Array, scores: ClassScores) -> Figure:
    """Draw a photo, every head's scores of one class, and their sum.

    The heads share one range of colours, over what is in any of them, so that they can be compared.

    Args:
        image: (H, W, 3) uint8 RGB.
        scores: what the network says about it.
    """
    size = image.shape[:2]
    figure, (photo, *heads, total), stacked = panels(size, len(scores.heads) + 2, extra=1.2)
    show_photo(photo, image)
    photo.set_title("photo")
    everything = np.concatenate([values.ravel() for values in scores.heads])
    span = {"vmin": everything.min(), "vmax": everything.max()}
    shared = [
        panel.imshow(values, cmap=COLOURS, interpolation="nearest", extent=extent(size), **span)
        for panel, values in zip(heads, scores.heads, strict=True)
    ]
    for panel, values, stride in zip(heads, scores.heads, scores.strides, strict=True):
        panel.set_title(f"stride {stride} ({values.shape[1]} x {values.shape[0]})")
    own = total.imshow(scores.total, cmap=COLOURS, interpolation="nearest", extent=extent(size))
    total.set_title("sum")
    side = "right" if stacked else "bottom"
    for drawn, over, label in ((shared[0], heads, f"score of {scores.name} by head"), (own, [total], "summed score")):
        # As long as its panels and as thick as the other.
        figure.colorbar(drawn, ax=over, location=side, aspect=12 * len(over), label=f"{label} (logit)")
    return figure
