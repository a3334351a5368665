"""Networks for prediction: pixels in, score maps or labels out, batch-norm folded into the convolutions."""

import copy
from collections import Counter

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse as fold

from facekp.data.normalisation import MEAN, STD
from facekp.hardware import Precision
from facekp.models.heads import Heads, check_input, fuse

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class ScoreNet(nn.Module):
    """A network from uint8 pixels to the predicting heads' score maps.

    Input and output are channels-last, the layout of pictures and of the fastest convolutions.

    Shape:
        images: (N, H, W, 3) uint8 RGB; H and W multiples of 32.
        Returns: score maps (N, h, w, C) float32, finest first.

    Args:
        net: a network of `facekp.models`; it is copied.
        precision: dtype of the computation.
    """

    def __init__(self, net: nn.Module, precision: Precision = "float32") -> None:
        super().__init__()
        self.dtype = DTYPES[precision]
        self.net = fold_batch_norm(_Predict(net)).to(dtype=self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", 255 * torch.tensor(MEAN))
        self.register_buffer("std", 255 * torch.tensor(STD))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the score maps of `images`; see the class for shapes."""
        normalised = (images.to(torch.float32) - self.mean) / self.std
        scores = self.net(normalised.to(self.dtype).permute(0, 3, 1, 2))
        return tuple(s.permute(0, 2, 3, 1).to(torch.float32) for s in scores)


class LabelNet(nn.Module):
    """A network from uint8 pixels to the ids of their classes: the argmax of the upsampled scores.

    Shape:
        images: (N, H, W, 3) uint8 RGB; H and W multiples of 32.
        Returns: (N, H, W) uint8.

    Args:
        scores: gives the score maps.
    """

    def __init__(self, scores: ScoreNet) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the labels of `images`, alone in a tuple; see the class for shapes."""
        maps = [scores.permute(0, 3, 1, 2) for scores in self.scores(images)]
        return (fuse(maps, (images.shape[1], images.shape[2])).argmax(1).to(torch.uint8),)


class _Predict(nn.Module):
    """A network's predicting heads; auxiliary heads are not computed, so they are not in exported graphs."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the score maps (N, C, h, w) of `images` (N, 3, H, W)."""
        heads: Heads = self.net(images, auxiliary=False)
        return heads.predict


def fold_batch_norm(net: nn.Module) -> nn.Module:
    """Return a copy of a network in evaluation mode, with each batch-norm after a convolution folded into it.

    A network that cannot be traced (its control flow depends on the input), or that calls a convolution more than once,
    is copied unchanged: torch would fold into that convolution once per call (pytorch issue 104593).
    """
    copied = _with_plain_batch_norm(copy.deepcopy(net).eval())
    try:
        # The check of the input's shape stays a call, because tracing cannot follow its condition. It is only found in
        # the module of the network's `forward`.
        graph = fx.Tracer(autowrap_functions=(check_input,)).trace(copied)
    except (fx.proxy.TraceError, TypeError, ValueError, RuntimeError):  # the latter three from len(), range(), int()
        return copied
    calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    if any(n > 1 and isinstance(copied.get_submodule(name), nn.Conv2d) for name, n in calls.items()):
        return copied
    return fold(fx.GraphModule(copied, graph), inplace=True, no_trace=True)


def _with_plain_batch_norm(net: nn.Module) -> nn.Module:
    """Split each batch-norm that applies its activation itself, as timm's do, so that torch recognises it."""
    for parent in list(net.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.BatchNorm2d) and type(layer) is not nn.BatchNorm2d and hasattr(layer, "act"):
                plain = nn.BatchNorm2d(layer.num_features, layer.eps).eval()
                plain.load_state_dict(layer.state_dict())
                setattr(parent, name, nn.Sequential(plain, layer.get_submodule("act")))
    return net
