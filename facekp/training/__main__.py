"""Training: `facekp train model=resnet18`, or several networks: `facekp train -m model=resnet18,residual_attention`."""

from facekp.errors import one_line_errors
from facekp.training.train import main

if __name__ == "__main__":
    with one_line_errors():
        main()
