"""Face parsing: masks and key points for every attribute of a face.

>>> from facekp import FaceParser
>>> faces = FaceParser()("photo.jpg")  # doctest: +SKIP
>>> faces[0].keypoints["nose"]  # doctest: +SKIP
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facekp.classes import Classes
    from facekp.keypoints.landmarks import Landmark
    from facekp.parsing.attribute import Attribute
    from facekp.parsing.face import Face
    from facekp.parsing.parser import FaceParser

# Albumentations would otherwise check PyPI for a newer release at every import, and warn when offline.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
# Torch, once imported, lets its threads sleep while they wait for each other. They would wait busily, which takes many
# times as long wherever another process, such as a loader's worker, uses one of the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
__all__ = ["Attribute", "Classes", "Face", "FaceParser", "Landmark"]

_MODULES = {
    "Attribute": "facekp.parsing.attribute",
    "Classes": "facekp.classes",
    "Face": "facekp.parsing.face",
    "FaceParser": "facekp.parsing.parser",
    "Landmark": "facekp.keypoints.landmarks",
}


def __getattr__(name: str) -> Any:
    """Import the public classes on first use, so that `import facekp` does not import torch."""
    if name not in _MODULES:
        raise AttributeError(f"module 'facekp' has no attribute '{name}'")
    return getattr(import_module(_MODULES[name]), name)
