"""Masks and key points of every attribute of a face.

>>> from facekp import FaceParser
>>> faces = FaceParser()("photo.jpg", align="auto")  # doctest: +SKIP
>>> faces[0].keypoints["nose"]  # doctest: +SKIP
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facekp.keypoints.landmarks import Landmark
    from facekp.parsing.face import Attribute, Face
    from facekp.parsing.parser import FaceParser

# Otherwise albumentations asks PyPI for a newer release at every import, and warns where there is no network.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

__version__ = "0.1.0"
__all__ = ["Attribute", "Face", "FaceParser", "Landmark"]


def __getattr__(name: str) -> Any:
    """Import the public classes when first used: preparing data, for one, needs no torch."""
    if name == "FaceParser":
        from facekp.parsing.parser import FaceParser

        return FaceParser
    if name == "Landmark":
        from facekp.keypoints.landmarks import Landmark

        return Landmark
    if name in ("Attribute", "Face"):
        from facekp.parsing import face

        return getattr(face, name)
    raise AttributeError(f"module 'facekp' has no attribute '{name}'")
