"""Building blocks that the networks share."""

from torch import nn


def conv(c_in: int, c_out: int, kernel: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """Return a padded convolution, initialised to preserve the variance of its input."""
    layer = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=bias)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def conv_norm_relu(c_in: int, c_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Return a convolution with batch-norm and ReLU."""
    return nn.Sequential(conv(c_in, c_out, kernel, stride), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True))


def plain_head(c_in: int, width: int, classes: int) -> nn.Sequential:
    """Return a 3x3 convolution to `width` channels and a 1x1 convolution to scores of `classes`."""
    return nn.Sequential(conv_norm_relu(c_in, width, 3), conv(width, classes, 1, bias=True))
