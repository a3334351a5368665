"""Writing of training checkpoints."""

from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from facekp.files import make_folder, replacing


class BesideCheckpointIO(TorchCheckpointIO):
    """Write each checkpoint to a temporary file beside it, then rename it.

    Lightning would use the folder for temporary files. That may be on another file system, which may be full, and from
    which a checkpoint is copied over the last good one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            DataError: the folder cannot be written to, or the disk is full.
        """
        make_folder(Path(path).parent)
        with replacing(Path(path)) as part:
            torch.save(checkpoint, part)
