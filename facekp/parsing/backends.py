"""Inference backends: torch, onnxruntime and OpenVINO. `open_backend` chooses one."""

import json
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.errors import CheckpointError, ConfigError, require
from facekp.hardware import Precision, cpu_precision, cpu_threads, resolve_device
from facekp.images import UInt8Array
from facekp.keypoints.score_grid import Scores
from facekp.parsing.choices import BACKENDS, Head, is_onnx
from facekp.weights.paths import SHIPPED, locate_checkpoint, require_file

if TYPE_CHECKING:
    import torch

CUDA_BATCH: Final = 16
ABOUT: Final = "facekp"
"""Metadata key under which an ONNX file carries its description."""
Run = Callable[[UInt8Array], list[Scores]]
"""An open network; see `Backend.__call__`."""


class Backend(Protocol):
    """A network ready to run.

    Attributes:
        size: side in pixels at which the network was evaluated.
        batch: fastest number of images per call.
        streams: fastest number of concurrent calls, one thread each, for many images.
        classes: the classes that it predicts.
    """

    size: int
    batch: int
    streams: int
    classes: Classes

    def __call__(self, images: UInt8Array) -> list[Scores]:
        """Return the score maps (N, h, w, C) float32, finest first, of images (N, H, W, 3) uint8 RGB.

        H and W are multiples of 32.
        """
        ...


def open_backend(path: str | Path = SHIPPED, *, device: str = "auto", backend: str = "auto") -> Backend:
    """Open a checkpoint, or an ONNX file exported by `facekp.export`.

    Args:
        path: a training checkpoint, "shipped" or a .safetensors file for torch; an ONNX file for onnx and openvino.
        device: device for torch; "auto" selects CUDA if there is a GPU. The other backends run on the CPU.
        backend: torch, onnx or openvino; "auto" selects onnx for an ONNX file, else torch.

    Raises:
        CheckpointError: a file of another kind.
        ConfigError: a backend that is unknown, not installed, or does not fit the file or the device.
    """
    require("backend", backend, backend in BACKENDS, f"choose one of {', '.join(BACKENDS)}")
    given, path = path, locate_checkpoint(path)
    exported = is_onnx(path)
    if backend == "auto":
        backend = "onnx" if exported else "torch"
    if exported == (backend == "torch"):
        remedy = f"use backend=onnx or ckpt=RUN{os.sep}checkpoints{os.sep}best.ckpt"
        if not exported:
            remedy = f"export it to ONNX with `facekp export ckpt={given}`, and pass that file as ckpt="
        raise ConfigError(f"backend is '{backend}', which cannot run '{path}': {remedy}")
    if backend == "torch":
        from facekp.weights.load import load_network  # torch takes seconds to import, and ONNX files need none

        net, about = load_network(path)
        classes = Classes.from_plain(about["classes"])
        return TorchBackend(net, int(about["size"]), resolve_device(device), classes=classes)
    if device not in ("auto", "cpu"):
        raise ConfigError(f"device is '{device}', but backend={backend} runs on the CPU: use device=cpu, or a .ckpt")
    require_file(path)
    return OnnxBackend(path) if backend == "onnx" else OpenVinoBackend(path)


class TorchBackend:
    """PyTorch in eager mode, on the CPU or on CUDA.

    Args:
        net: a network of `facekp.models`.
        size: side in pixels at which it was evaluated.
        device: device to run it on.
        precision: dtype of the computation; None selects float16 on CUDA, and `cpu_precision()` on the CPU.
        classes: the classes that it predicts.
    """

    def __init__(
        self,
        net: "torch.nn.Module",
        size: int,
        device: "torch.device",
        precision: Precision | None = None,
        classes: Classes = CELEBAMASK_HQ,
    ) -> None:
        from facekp.parsing.score_net import ScoreNet

        self.size, self.classes = size, classes
        self.device = device
        cuda = device.type == "cuda"
        # On a CPU, threads sharing a call would wait for each other whenever a core is busy with another image.
        self.batch, self.streams = (CUDA_BATCH, 1) if cuda else (1, cpu_threads())
        self.precision: Precision = precision or ("float16" if cuda else cpu_precision())
        self.net = ScoreNet(net, self.precision).eval().to(device)

    def __call__(self, images: UInt8Array) -> list[Scores]:
        """Return the score maps; see `Backend`."""
        import torch

        with torch.inference_mode():
            return [s.cpu().numpy() for s in self.net(torch.from_numpy(images).to(self.device))]


class FileBackend:
    """A runtime that runs an ONNX file on the CPU, one image or batch per call.

    The file is opened again in each other process: threads do not survive a fork, and open networks no pickle.

    Args:
        path: a file written by `facekp.export`.

    Raises:
        CheckpointError: any other file.
        ConfigError: the runtime is not installed.
    """

    batch = streams = 1

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        run, about = self._open(path)
        self.size, self.classes = _read_about(path, about)
        self._opened = {os.getpid(): run}

    def __call__(self, images: UInt8Array) -> list[Scores]:
        """Return the score maps; see `Backend`."""
        run = self._opened.get(os.getpid())
        if run is None:
            # Those of other processes are kept: closing one would wait for threads that are not in this process.
            run, _ = self._open(self.path)
            self._opened[os.getpid()] = run
        return run(images)

    def __reduce__(self) -> "tuple[type[FileBackend], tuple[Path]]":
        """Pickle the path alone."""
        return type(self), (self.path,)

    def _open(self, path: Path) -> tuple[Run, str | None]:
        """Return a function that runs the file, and the file's description."""
        raise NotImplementedError


class OnnxBackend(FileBackend):
    """onnxruntime. The processor's caches hold the features of one image, but not of several."""

    def _open(self, path: Path) -> tuple[Run, str | None]:
        session = open_session(path)
        about = session.get_modelmeta().custom_metadata_map.get(ABOUT)
        return lambda images: session.run(None, {"images": images}), about


class OpenVinoBackend(FileBackend):
    """OpenVINO."""

    def _open(self, path: Path) -> tuple[Run, str | None]:
        core = _import_extra("openvino", "openvino").Core()
        try:
            model = core.read_model(path)
            about = model.get_rt_info(["framework", ABOUT]).value if model.has_rt_info(["framework", ABOUT]) else None
        except RuntimeError as error:
            raise _not_facekps(path, error) from error
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": cpu_threads()}
        request = core.compile_model(model, "CPU", settings).create_infer_request()
        lock = Lock()  # a request serves one call at a time

        def run(images: UInt8Array) -> list[Scores]:
            with lock:
                return [np.array(scores) for scores in request.infer([images], share_inputs=True).values()]

        return run, about


def open_session(path: Path) -> Any:
    """Return onnxruntime's session of an ONNX file, on the CPU.

    Raises:
        CheckpointError: not an ONNX file.
        ConfigError: onnxruntime is not installed.
    """
    runtime = _import_extra("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = cpu_threads()
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base class
        raise _not_facekps(path, error) from error


def describe_export(size: int, head: Head = "scores", classes: Classes = CELEBAMASK_HQ) -> dict[str, Any]:
    """Return the description that is stored in an ONNX file and checked when it is opened."""
    about = {"format": 1, "size": size, "classes": classes.to_plain()}
    return about if head == "scores" else about | {"head": head}


def _read_about(path: Path, description: str | None) -> tuple[int, Classes]:
    """Return the size and the classes in a description, after checking that this version of facekp writes the same."""
    try:
        about = json.loads(description or "")
        size, classes = int(about["size"]), Classes.from_plain(about["classes"])
    except (ValueError, TypeError, KeyError) as error:
        raise _not_facekps(path) from error
    if about == describe_export(size, "labels", classes):
        raise CheckpointError(f"checkpoint '{path}': returns labels, not scores; export it with head=scores")
    if about != describe_export(size, classes=classes):
        raise CheckpointError(f"checkpoint '{path}': exported by another version of facekp; export it again")
    return size, classes


def _not_facekps(path: Path, error: Exception | None = None) -> CheckpointError:
    reason = f" ({str(error).strip().splitlines()[0]})" if error and str(error).strip() else ""
    return CheckpointError(
        f"checkpoint '{path}': not an ONNX file exported by facekp{reason}; `facekp export` makes one"
    )


def _import_extra(module: str, extra: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{module} cannot be imported ({error}): pip install 'facekp[{extra}]', or use a .ckpt, which runs in torch"
        ) from error
