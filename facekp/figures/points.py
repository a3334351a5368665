"""The masks beside the key points taken off them, and a landmark detector's: the paper's figure 4."""

from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from facekp.classes import PALETTE
from facekp.figures.style import BLUE, RED, STYLE, panels, show_photo
from facekp.images import UInt8Array
from facekp.keypoints.curves import Points
from facekp.parsing.face import Face
from facekp.parsing.overlay import blend_mask

PATCHES_IN_ROW = 5


@rc_context(STYLE)
def draw_key_points(image: UInt8Array, face: Face, landmarks: Points | None = None) -> Figure:
    """Draw the masks over a photo, and beside them the key points of all attributes.

    Args:
        image: (H, W, 3) uint8 RGB.
        face: what was found in it.
        landmarks: (n, 2) float, pixels of the photo, x then y: points of a landmark detector, drawn in red.
    """
    rows = -(-len(face.attributes) // PATCHES_IN_ROW)
    figure, (masks, points), _ = panels(image.shape[:2], 2, extra=0.7 + 0.14 * rows)
    # Under the axis and its labels, whose height is given in units of the type's size.
    below: dict[str, Any] = {
        "loc": "upper center", "bbox_to_anchor": (0.5, 0), "borderaxespad": 4.2, "frameon": False
    }  # fmt: skip
    show_photo(masks, blend_mask(image, face.mask))
    masks.set_title("masks")
    patches = [
        Patch(facecolor="#{:02x}{:02x}{:02x}".format(*PALETTE[a.id]), edgecolor="0.2", linewidth=0.4, label=name)
        for name, a in face.attributes.items()
    ]
    masks.legend(handles=patches, ncols=PATCHES_IN_ROW, handlelength=1, columnspacing=1, **below)
    show_photo(points, image)
    points.set_title("key points")
    found = np.concatenate([np.empty((0, 2)), *face.keypoints.values()])
    label = f"key points ({len(found)})"
    points.scatter(found[:, 0], found[:, 1], s=4, color=BLUE, edgecolors="white", linewidths=0.25, label=label)
    if landmarks is not None:
        label = f"landmark detector ({len(landmarks)})"
        points.scatter(landmarks[:, 0], landmarks[:, 1], s=7, color=RED, marker="x", linewidths=0.8, label=label)
    points.legend(markerscale=1.5, **below)
    return figure
