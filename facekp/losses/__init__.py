"""Losses of score maps against labels, behind one registry.

In: scores `(N, C, h, w)` and labels `(N, H, W)`. Out: a scalar.
Start with `ohem.py`.
"""

from facekp.losses.ohem import OhemCrossEntropy

__all__ = ["OhemCrossEntropy"]
