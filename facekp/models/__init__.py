"""Networks that give scores per pixel and class from one or several heads, behind one registry.

A new network is one file here, decorated with `@register("its_name")` and imported below, and one file in
`conf/model/`.
"""

from facekp.models.bisenet import BiSeNet
from facekp.models.fpn import FeaturePyramid
from facekp.models.fusion import fuse
from facekp.models.registry import Network, build_model, build_without_weights, model_names, register
from facekp.models.residual_attention import ResidualAttention
from facekp.models.resnet import ResNet18
from facekp.models.smp import Smp

__all__ = [
    "BiSeNet",
    "FeaturePyramid",
    "Network",
    "ResNet18",
    "ResidualAttention",
    "Smp",
    "build_model",
    "build_without_weights",
    "fuse",
    "model_names",
    "register",
]
