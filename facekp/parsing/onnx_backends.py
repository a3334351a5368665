"""Backends for ONNX files: onnxruntime and OpenVINO, and the description that an exported file carries."""

import json
from importlib import import_module
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any, Final

import numpy as np
import torch

from facekp.classes import ATTRIBUTES
from facekp.errors import CheckpointError, ConfigError
from facekp.images import UInt8Array
from facekp.keypoints.score_grid import Scores

ABOUT: Final = "facekp"
"""Metadata key under which `facekp.export` stores the description."""


class OnnxBackend:
    """onnxruntime on the CPU.

    It runs one image per call: the processor's caches hold the features of one image, but not of several.

    Args:
        path: a file that `facekp.export` wrote.

    Raises:
        CheckpointError: any other file.
        ConfigError: onnxruntime is not installed.
    """

    batch = streams = 1

    def __init__(self, path: Path) -> None:
        runtime = _import_extra("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            about = self._session.get_modelmeta().custom_metadata_map.get(ABOUT)
        except Exception as error:  # onnxruntime's exceptions have no base class of their own
            raise _not_facekps(path, error) from error
        self.size = _read_size(path, about)

    def __call__(self, images: UInt8Array) -> list[Scores]:
        """Return the score maps; see `Backend`."""
        return self._session.run(None, {"images": images})


class OpenVinoBackend:
    """OpenVINO on the CPU; it reads the ONNX file.

    Arguments and errors are those of `OnnxBackend`.
    """

    batch = streams = 1

    def __init__(self, path: Path) -> None:
        core = _import_extra("openvino", "openvino").Core()
        try:
            model = core.read_model(path)
            about = model.get_rt_info(["framework", ABOUT]).value if model.has_rt_info(["framework", ABOUT]) else None
        except RuntimeError as error:
            raise _not_facekps(path, error) from error
        self.size = _read_size(path, about)
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()
        self._lock = Lock()  # a request serves one call at a time

    def __call__(self, images: UInt8Array) -> list[Scores]:
        """Return the score maps; see `Backend`."""
        with self._lock:
            return [np.array(scores) for scores in self._request.infer([images], share_inputs=True).values()]


def describe_export(size: int) -> dict[str, Any]:
    """Return the description that an ONNX file must carry to be opened."""
    return {"format": 1, "size": size, "classes": list(ATTRIBUTES)}


def _read_size(path: Path, description: str | None) -> int:
    """Return the size in a file's description, once all of it is what this version writes."""
    try:
        about = json.loads(description or "")
        size = int(about["size"])
    except (ValueError, TypeError, KeyError) as error:
        raise _not_facekps(path) from error
    if about != describe_export(size):
        raise CheckpointError(f"checkpoint '{path}': another version of facekp exported it; export it again")
    return size


def _not_facekps(path: Path, error: Exception | None = None) -> CheckpointError:
    reason = f" ({str(error).strip().splitlines()[0]})" if error and str(error).strip() else ""
    return CheckpointError(
        f"checkpoint '{path}': not an ONNX file of facekp's{reason}; `python -m facekp.export` makes one"
    )


def _import_extra(module: str, extra: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{module} cannot be imported ({error}): pip install -e '.[{extra}]', or give a .ckpt, which torch runs"
        ) from error
