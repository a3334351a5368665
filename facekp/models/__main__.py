"""`python -m facekp.models`: every network's size and cost."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from facekp.errors import ConfigError
from facekp.models import build_model, model_names

SIZE = 448


def multiply_adds(model: torch.nn.Module, size: int = SIZE) -> int:
    """Return the multiply-adds of one (1, 3, size, size) image."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model.eval()(torch.empty(1, 3, size, size))
    return int(counter.get_total_flops()) // 2


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
        parameters = sum(p.numel() for p in model.parameters())
        print(f"{name:<20} {parameters / 1e6:>10.2f} M {multiply_adds(model) / 1e9:>20.2f} G")


if __name__ == "__main__":
    main()
