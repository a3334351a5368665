"""Networks that score every pixel for every class, behind one registry.

In: normalised images `(N, 3, H, W)`. Out: `Heads`, the score maps that predict and those that only help training.
Start with `registry.py`; a new network is one module here and one file in `conf/model/`.
"""

from facekp.models.heads import Heads, fuse
from facekp.models.registry import Network, build_model, build_without_weights, model_names, register

__all__ = ["Heads", "Network", "build_model", "build_without_weights", "fuse", "model_names", "register"]
