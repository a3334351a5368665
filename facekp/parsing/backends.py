"""What runs a network on pixels: torch, onnxruntime or OpenVINO, one as good as another."""

import json
import os
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch

from facekp.classes import ATTRIBUTES
from facekp.errors import CheckpointError, ConfigError
from facekp.hardware import cpu_precision
from facekp.images import UInt8Array
from facekp.keypoints.score_grid import Scores
from facekp.parsing.score_net import Precision, ScoreNet
from facekp.weights.load import SHIPPED, load_network, locate

BackendName = Literal["auto", "torch", "onnx", "openvino"]
BACKENDS: tuple[str, ...] = get_args(BackendName)
ONNX_SUFFIX = ".onnx"
CUDA_BATCH = 16
ABOUT = "facekp"
"""Key of an ONNX file's metadata under which `facekp.export.onnx` describes it."""


class Backend(Protocol):
    """A network ready to run.

    Attributes:
        size: side in pixels at which the network was evaluated.
        batch: images at a time that it is fastest with.
        streams: calls at a time that many images are fastest with, on one thread each.
    """

    size: int
    batch: int
    streams: int

    def __call__(self, images: UInt8Array) -> list[Scores]:
        """Return the score maps (N, h, w, 19) float32, finest first, of images (N, H, W, 3) uint8 RGB.

        H and W are multiples of 32.
        """
        ...


class TorchBackend:
    """PyTorch in eager mode, on the CPU or on CUDA.

    Args:
        net: a network of `facekp.models`.
        size: side in pixels at which it was evaluated.
        device: where it runs.
        precision: what it computes in; None: float16 on CUDA, else `cpu_precision()`.
    """

    def __init__(
        self, net: torch.nn.Module, size: int, device: torch.device, precision: Precision | None = None
    ) -> None:
        self.size = size
        self.device = device
        cuda = device.type == "cuda"
        # On a CPU the threads of one call would wait for one another whenever a core is busy with another image.
        self.batch, self.streams = (CUDA_BATCH, 1) if cuda else (1, torch.get_num_threads())
        self.precision: Precision = precision or ("float16" if cuda else cpu_precision())
        self.net = ScoreNet(net, self.precision).eval().to(device)

    @torch.inference_mode()
    def __call__(self, images: UInt8Array) -> list[Scores]:
        """Return the score maps; see `Backend`."""
        return [s.cpu().numpy() for s in self.net(torch.from_numpy(images).to(self.device))]


class OnnxBackend:
    """onnxruntime on the CPU.

    A processor's caches hold one image's features and not those of several, so images are faster one by one.

    Args:
        path: what `facekp.export.onnx` wrote.

    Raises:
        CheckpointError: a file that `facekp.export.onnx` did not write.
        ConfigError: onnxruntime is not installed.
    """

    batch = streams = 1

    def __init__(self, path: Path) -> None:
        runtime = _import("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            about = self._session.get_modelmeta().custom_metadata_map.get(ABOUT)
        except Exception as error:  # its exceptions have no base class of their own
            raise _not_onnx(path, error) from error
        self.size = _read_about(path, about)

    def __call__(self, images: UInt8Array) -> list[Scores]:
        """Return the score maps; see `Backend`."""
        scores: list[Scores] = self._session.run(None, {"images": images})
        return scores


class OpenVinoBackend:
    """OpenVINO on the CPU; it reads the ONNX file.

    Args and errors: as `OnnxBackend`.
    """

    batch = streams = 1

    def __init__(self, path: Path) -> None:
        core = _import("openvino", "openvino").Core()
        try:
            model = core.read_model(path)
            about = model.get_rt_info(["framework", ABOUT]).value if model.has_rt_info(["framework", ABOUT]) else None
        except RuntimeError as error:
            raise _not_onnx(path, error) from error
        self.size = _read_about(path, about)
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()
        self._lock = Lock()  # a request serves one call at a time

    def __call__(self, images: UInt8Array) -> list[Scores]:
        """Return the score maps; see `Backend`."""
        with self._lock:
            return [np.array(scores) for scores in self._request.infer([images], share_inputs=True).values()]


def open_backend(path: str | Path = SHIPPED, backend: str = "auto", device: str = "auto") -> Backend:
    """Load a checkpoint, or what `facekp.export.onnx` made of one.

    Args:
        path: `best.ckpt` and the like, "shipped" or a .safetensors file for torch, an ONNX file for onnx and openvino.
        backend: "auto": by the file's ending, onnxruntime for ONNX files.
        device: where torch runs; the others run on the CPU.

    Raises:
        CheckpointError: a file of another kind.
        ConfigError: a backend that is unknown, not installed, or does not fit the file or the device.
    """
    given, path = path, locate(path)
    exported = is_onnx(path)
    if backend == "auto":
        backend = "onnx" if exported else "torch"
    if backend not in BACKENDS:
        raise ConfigError(f"backend is '{backend}': choose one of {', '.join(BACKENDS)}")
    if exported == (backend == "torch"):
        remedy = f"take backend=onnx or ckpt=RUN{os.sep}checkpoints{os.sep}best.ckpt" if exported else (
            f"make an ONNX file of it with `python -m facekp.export ckpt={given}`, and give that as ckpt=")  # fmt: skip
        raise ConfigError(f"backend is '{backend}', which does not run '{path}': {remedy}")
    if backend == "torch":
        net, about = load_network(path)
        return TorchBackend(net, int(about["size"]), resolve_device(device))
    if device not in ("auto", "cpu"):
        raise ConfigError(f"device is '{device}', and backend={backend} runs on the CPU: take device=cpu, or a .ckpt")
    if not path.is_file():
        raise CheckpointError(f"checkpoint '{path}': no such file; `python -m facekp.export ckpt=...` makes one")
    return OnnxBackend(path) if backend == "onnx" else OpenVinoBackend(path)


def is_onnx(path: str | Path) -> bool:
    """Tell by its ending whether a file is what `facekp.export.onnx` writes."""
    return Path(path).suffix.lower() == ONNX_SUFFIX


def resolve_device(device: str) -> torch.device:
    """Return the device of a name, "auto" being CUDA where there is one.

    Raises:
        ConfigError: a name that torch does not know, or a device that this machine does not have.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).item()  # the meta device has no values
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device is '{device}', which this machine does not have ({reason}): take auto") from error
    return found


def describe_export(size: int) -> dict[str, Any]:
    """Return what an ONNX file says about itself, and what is checked when one is opened."""
    return {"format": 1, "size": size, "classes": list(ATTRIBUTES)}


def _read_about(path: Path, text: str | None) -> int:
    try:
        about = json.loads(text or "")
        size = int(about["size"])
    except (ValueError, TypeError, KeyError) as error:
        raise _not_onnx(path) from error
    if about != describe_export(size):
        raise CheckpointError(f"checkpoint '{path}': another version of facekp exported it; export it again")
    return size


def _not_onnx(path: Path, error: Exception | None = None) -> CheckpointError:
    reason = f" ({str(error).strip().splitlines()[0]})" if error and str(error).strip() else ""
    return CheckpointError(
        f"checkpoint '{path}': not an ONNX file of facekp's{reason}; `python -m facekp.export` makes one"
    )


def _import(module: str, extra: str) -> ModuleType:
    try:
        return __import__(module)
    except ImportError as error:
        raise ConfigError(
            f"{module} cannot be imported ({error}): pip install -e '.[{extra}]', or give a .ckpt, which torch runs"
        ) from error
