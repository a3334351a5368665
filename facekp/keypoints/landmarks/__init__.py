"""Named landmarks of a face, read off its outlines: eye and mouth corners, brows, nose, lips, jaw line, ears.

In: outlines of a face's attributes. Out: a `Landmark` for each name of `NUMBERS` (see docs/reference/landmarks.md).
Start with `find.py`.
"""

from facekp.keypoints.landmarks.calibration import Calibration
from facekp.keypoints.landmarks.find import Landmark, find_landmarks
from facekp.keypoints.landmarks.names import NUMBERS

__all__ = ["NUMBERS", "Calibration", "Landmark", "find_landmarks"]
