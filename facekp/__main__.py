"""The command `facekp NAME ...`, which runs `python -m facekp.MODULE ...`."""

import runpy
import sys
from typing import Final

import facekp
from facekp.errors import ConfigError, did_you_mean, one_line_errors

COMMANDS: Final = {
    "predict": ("facekp.predict", "masks and key points of photos and videos"),
    "merge": ("facekp.predict.merge", "join the files of all photos that shards have left"),
    "demo": ("facekp.demo", "try it on a page in the browser"),
    "train": ("facekp.training", "train a network, or several"),
    "evaluate": ("facekp.evaluate", "score a network on labelled faces"),
    "compare": ("facekp.compare", "compare runs"),
    "search": ("facekp.training.search", "search hyperparameters"),
    "export": ("facekp.export", "convert a network to ONNX"),
    "release": ("facekp.export.release", "write weights alone, with their scores"),
    "models": ("facekp.models", "list the networks and their cost"),
    "figures": ("facekp.figures", "draw the paper's figures of a photo"),
    "prepare": ("facekp.data.prepare", "convert CelebAMask-HQ, LaPa or your own images to what training reads"),
    "audit": ("facekp.data.audit", "find wrong labels in a data set"),
    "synthetic": ("facekp.data.synthetic", "draw faces to try everything on"),
}
"""The module and the description of each command."""


@one_line_errors()
def main() -> None:
    """Run the command that the first argument names."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help", "help"):
        listed = "\n".join(f"  {command:<11}{about}" for command, (_, about) in COMMANDS.items())
        print(f"facekp COMMAND key=value ...\n\n{listed}\n\nfacekp COMMAND --help lists its settings.\n")
        print("Exit status: 0 success; 1 some files were skipped; 2 a mistake in the settings or files, named in one")
        print("line; 130 interrupted.")
    elif name in ("version", "--version"):
        print(f"facekp {facekp.__version__}")
    elif name in COMMANDS:
        sys.argv[1:] = arguments
        # As `python -m` would: other processes of a run start again from what this sets.
        runpy.run_module(COMMANDS[name][0], run_name="__main__", alter_sys=True)
    else:
        close = did_you_mean(name, COMMANDS)
        raise ConfigError(f"no command is called '{name}': {close}known are {', '.join(COMMANDS)}")


if __name__ == "__main__":
    main()
