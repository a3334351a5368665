"""Training: `python train.py model=resnet18`, or several: `python train.py -m model=resnet18,residual_attention`.

The same as `facekp train`; `facekp/training/run.py` has the code.
"""

from facekp.errors import one_line_errors
from facekp.training.__main__ import main

if __name__ == "__main__":
    with one_line_errors():
        main()
