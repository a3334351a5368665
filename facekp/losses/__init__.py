"""Losses of score maps against labels, behind one registry.

In: scores `(N, C, h, w)`, or the `Heads` of a network, and labels `(N, H, W)`. Out: scalars.
Start with `ohem.py`.
"""

from facekp.losses.deep_supervision import DeepSupervision
from facekp.losses.ohem import OhemCrossEntropy

__all__ = ["DeepSupervision", "OhemCrossEntropy"]
