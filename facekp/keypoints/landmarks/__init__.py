"""Named landmarks of a face, read off its masks: eye and mouth corners, brows, nose, lips, jaw line, ears.

They bear the names of `NUMBERS`, which gives each its number among iBUG's 68 points; docs/reference lists them.
"""

from facekp.keypoints.landmarks.calibration import Calibration
from facekp.keypoints.landmarks.find import Landmark, find_landmarks
from facekp.keypoints.landmarks.names import NUMBERS

__all__ = ["NUMBERS", "Calibration", "Landmark", "find_landmarks"]
