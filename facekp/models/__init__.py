"""Networks that score every pixel for every class, behind one registry.

In: normalised images `(N, 3, H, W)`. Out: `Heads`, the score maps that predict and those that only help training.
Start with `registry.py`; a new network is one module here and one file in `conf/model/`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facekp.models.heads import Heads, fuse
    from facekp.models.registry import Network, build_model, build_without_weights, model_names, register

__all__ = ["Heads", "Network", "build_model", "build_without_weights", "fuse", "model_names", "register"]


def __getattr__(name: str) -> Any:
    """Import the public names on first use: `facekp models` checks its settings before it imports torch."""
    if name not in __all__:
        raise AttributeError(f"module 'facekp.models' has no attribute '{name}'")
    return getattr(import_module(f"facekp.models.{'heads' if name in ('Heads', 'fuse') else 'registry'}"), name)
