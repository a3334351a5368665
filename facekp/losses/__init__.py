"""Losses of score maps against labels, behind one registry.

In: scores `(N, C, h, w)`, or the `Heads` of a network, and labels `(N, H, W)`. Out: scalars.
Start with `registry.py`; a new loss is one module here and one file in `conf/loss/`.
"""

from facekp.losses.ohem import OhemCrossEntropy
from facekp.losses.registry import DeepSupervision, build_loss, register_loss

__all__ = ["DeepSupervision", "OhemCrossEntropy", "build_loss", "register_loss"]
