"""The sizes of images that networks take. This module imports nothing heavy."""

from typing import Final

STRIDE: Final = 32  # input sides are multiples of this, the stride of the coarsest head
