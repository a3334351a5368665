"""`python -m facekp.models`: every network's size and cost."""

import torch

from facekp.errors import ConfigError
from facekp.models import build_model, model_names
from facekp.models.cost import SIZE, count_parameters, multiply_adds


def main() -> None:
    """Print one line for each registered network."""
    print(f"{'model':<20} {'parameters':>12} {f'multiply-adds at {SIZE}':>22}")
    for name in model_names():
        try:
            with torch.device("meta"):
                model = build_model(name)
        except ConfigError as error:  # a package that is not installed
            print(f"{name:<20} left out: {error}")
            continue
        print(f"{name:<20} {count_parameters(model) / 1e6:>10.2f} M {multiply_adds(model) / 1e9:>20.2f} G")


if __name__ == "__main__":
    main()
