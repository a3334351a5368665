"""How a synthetic face is drawn: its geometry, the canvas, and one function a part.

Coordinates are face units: the origin lies between the eyes, x grows to the right of the image, y downwards, and
1 is half the width of the head. The mouth is near y = 0.95, the chin near 1.55, the top of the skull near -1.6.
"""

REVISION = 1
"""One more whenever a change makes the same seed give another face: folders of drawn faces name it."""
