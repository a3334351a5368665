"""Loading networks from checkpoints."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.errors import CheckpointError, ConfigError
from facekp.models import Network, build_without_weights
from facekp.models.registry import NETWORKS
from facekp.weights.checkpoint import KEY, read_checkpoint, read_weights
from facekp.weights.paths import is_safetensors, locate_checkpoint


def load_network(path: str | Path) -> tuple[Network, dict[str, Any]]:
    """Rebuild a network, in evaluation mode on the CPU; return it and its description (`checkpoint.describe`).

    `path` is a training checkpoint, a .safetensors file, or "shipped".

    Raises:
        CheckpointError: see `read_checkpoint` and `read_weights`; or weights that do not fit the network.
    """
    weights, about = _read(path)
    try:
        net = build_without_weights(**about["model"], classes=len(Classes.from_plain(about["classes"])))
        net.load_state_dict(weights)
    except (ConfigError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"checkpoint '{path}': its weights or settings do not fit this version's networks "
            f"({str(error).splitlines()[0]})"
        ) from error
    return net.eval(), about


def begin_with(net: Network, path: str | Path, classes: Classes = CELEBAMASK_HQ) -> tuple[str, str | None]:
    """Initialise a network from a checkpoint of the same network, or of another network with the same trunk.

    The trunk of a network is everything but `Network.head_parts`. `path` is that of `load_network`, `classes` are those
    of `net`. The scores of a class start with the weights of the checkpoint's class of that name, if it has one.

    Returns:
        What was loaded: "all weights", perhaps but those of classes that the checkpoint does not have, or "the trunk";
        the rest of `net` is unchanged. And the terms of use of the checkpoint's weights, if it states any.

    Raises:
        CheckpointError: see `load_network`.
        ConfigError: the network has another trunk. `resnet18` and `fpn` share theirs, and so do networks of `smp` with
            the same encoder.
    """
    weights, about = _read(path)
    known = Classes.from_plain(about["classes"])
    if known.names != classes.names:
        weights |= _rows_by_name(weights, net.state_dict(), about["model"], known, classes)
    if _shapes(weights) == _shapes(net.state_dict()):
        net.load_state_dict(weights)
        new = [name for name in classes.names if name not in known.names]
        rest = f" but those of the classes {', '.join(new)}, which start anew," if new else ""
        return f"all weights{rest}", about.get("terms")
    trunk = _trunk(weights, NETWORKS[about["model"]["name"]])
    if not trunk or _shapes(trunk) != _shapes(_trunk(net.state_dict(), type(net))):
        others = (f"model.{k}={v}" for k, v in about["model"].items() if k not in ("name", "pretrained"))
        settings = " ".join([f"model={about['model']['name']}", *others])
        raise ConfigError(f"init is '{path}', which holds another trunk, that of `{settings}`: use it, or omit init")
    net.load_state_dict(trunk, strict=False)
    return "the trunk", about.get("terms")


def average_with(net: Network, paths: Sequence[str | Path]) -> None:
    """Replace a network's weights by their mean with those of other checkpoints of the same network.

    Networks fine-tuned from common weights can be averaged (Wortsman et al. 2022, Model soups, arXiv:2203.05482).

    Raises:
        CheckpointError: see `load_network`.
        ConfigError: a checkpoint of another network.
    """
    own = net.state_dict()
    total = {name: tensor.clone() for name, tensor in own.items()}
    for path in paths:
        weights, _ = _read(path)
        if _shapes(weights) != _shapes(own):
            raise ConfigError(f"average has '{path}', which is of another network than ckpt: leave it out")
        for name, tensor in total.items():
            tensor += weights[name].to(tensor.dtype)
    net.load_state_dict({name: (tensor / (1 + len(paths))).to(tensor.dtype) for name, tensor in total.items()})


def _read(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    path = locate_checkpoint(path)
    if is_safetensors(path):
        weights, about = read_weights(path)
    else:
        content = read_checkpoint(path)
        state, about = content["state_dict"], content[KEY]  # of the whole LightningModule
        weights = {k.removeprefix("net."): v for k, v in state.items() if k.startswith("net.")}
    if about["model"].get("name") in ("fpn", "resnet18"):  # in version 0.1 their trunk was not a separate module
        old = ("stem.", "layer2.", "layer3.", "layer4.")
        weights = {f"trunk.{k}" if k.startswith(old) else k: v for k, v in weights.items()}
    return weights, about


def _rows_by_name(
    weights: Mapping[str, Tensor], own: Mapping[str, Tensor], model: Mapping[str, Any], known: Classes, classes: Classes
) -> dict[str, Tensor]:
    """Return the tensors of `own` with a row per class, with the rows of `weights` for classes of the same name."""
    with torch.device("meta"):  # they are those whose shape depends on the number of classes
        two, three = (_shapes(build_without_weights(**model, classes=n).state_dict()) for n in (2, 3))
    rows = {}
    for name in (name for name in own.keys() & weights.keys() & two.keys() if two[name] != three[name]):
        rows[name] = own[name].clone()
        for i, of_class in enumerate(classes.names):
            if of_class in known.names and rows[name][i].shape == weights[name][known.index(of_class)].shape:
                rows[name][i] = weights[name][known.index(of_class)]
    return rows


def _trunk(weights: Mapping[str, Tensor], network: type[Network]) -> dict[str, Tensor]:
    heads = tuple(f"{part}." for part in network.head_parts)
    return {name: tensor for name, tensor in weights.items() if not name.startswith(heads)}


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}
