"""Parameters and cost of every network: `facekp models`."""

from dataclasses import dataclass

from facekp.cli import parse_cli
from facekp.errors import ConfigError, run_command
from facekp.settings import Settings, multiple_of, setting


@dataclass
class CostConfig(Settings):
    """Settings of the command."""

    size: int = setting(448, "image side at which multiply-adds are counted, pixels", check=multiple_of(32))


def main(argv: list[str]) -> None:
    """Print a table of all registered networks."""
    config = parse_cli(CostConfig, argv, program="facekp models", about=__doc__ or "")
    import torch
    from tabulate import tabulate

    from facekp.models import build_model, model_names
    from facekp.models.registry import multiply_adds

    rows = []
    for name in model_names():
        try:
            with torch.device("meta"):
                net = build_model(name)
        except ConfigError as error:  # a package that is not installed
            print(f"{name} is skipped: {error}")
            continue
        parameters = sum(p.numel() for p in net.parameters())
        rows.append([name, f"{parameters / 1e6:.2f} M", f"{multiply_adds(net, config.size) / 1e9:.2f} G"])
    headers = ["model", "parameters", f"multiply-adds at {config.size}"]
    print(tabulate(rows, headers, colalign=("left", "right", "right")))


if __name__ == "__main__":
    run_command(main)
