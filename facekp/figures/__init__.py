"""The paper's figures from any checkpoint and photo, as Matplotlib figures.

They use no pyplot, so that a program or a notebook may draw any number of them.
"""

from facekp.figures.heads import draw_heads
from facekp.figures.points import draw_key_points
from facekp.figures.reference import read_landmarks
from facekp.figures.scores import ClassScores, class_scores
from facekp.figures.surface import draw_surface

__all__ = ["ClassScores", "class_scores", "draw_heads", "draw_key_points", "draw_surface", "read_landmarks"]
