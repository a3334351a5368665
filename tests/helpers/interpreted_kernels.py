"""The Triton kernels of the losses, run in NumPy by Triton's interpreter: `TRITON_INTERPRET=1 pytest THIS FILE`.

No test file of its own: the interpreter must be chosen before anything imports Triton, so `test_losses.py` starts a
process for it.
"""

import math
import os

import pytest
import torch
from helpers.losses import reference, value_and_gradient
from torch import Tensor

from facekp.losses.ohem_dice import class_shares
from facekp.losses.ohem_triton import triton_ohem
from facekp.losses.share_kernel import count_shares

if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("set TRITON_INTERPRET=1: these tensors are on no GPU", allow_module_level=True)


def case(n: int, classes: int, h: int, w: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return float32 scores, and labels with 10 % ignored pixels."""
    labels = torch.randint(0, classes, (n, height, width))
    return 3 * torch.randn(n, classes, h, w), labels.where(torch.rand(n, height, width) > 0.1, 255)


def run(scores: Tensor, labels: Tensor, threshold: float = 0.7, min_kept: float = 1 / 16) -> tuple[Tensor, Tensor]:
    loss, grad = triton_ohem(scores, labels, threshold=threshold, min_kept=min_kept, ignore_index=255, grad=True)
    assert loss.dtype == grad.dtype == torch.float32
    return loss, grad


def check(scores: Tensor, labels: Tensor, **settings: float) -> None:
    want, want_grad = value_and_gradient(lambda s, y: reference(s, y, **settings), scores.double(), labels)
    loss, grad = run(scores, labels, **settings)
    assert abs(loss - want) <= 1e-5 * want
    assert (grad - want_grad).abs().max() <= 1e-5 * want_grad.abs().max()


@pytest.mark.parametrize(
    "shape",
    [
        (1, 3, 1, 2, 8, 16),  # stride 8
        (1, 2, 3, 4, 12, 16),  # stride 4
        (1, 2, 2, 1, 32, 32),  # strides 16 and 32: several runs of 8 between two scores
        (1, 2, 6, 9, 6, 9),  # the labels' own resolution
        (2, 2, 3, 7, 17, 50),  # ratios that are no integers
        (1, 2, 11, 3, 5, 10),  # downsampled one way, upsampled the other
        (1, 2, 1, 20, 4, 150),  # more than one tile wide
        (1, 1, 1, 1, 4, 4),  # one class, one score
    ],
    ids=str,
)
def test_value_and_gradient_at_every_resolution(shape: tuple[int, ...]) -> None:
    check(*case(*shape))


@pytest.mark.parametrize("settings", [{"threshold": 0.001, "min_kept": 0.3}, {"threshold": 0.05, "min_kept": 1.0}])
def test_the_largest_losses_where_too_few_are_hard(settings: dict[str, float]) -> None:
    check(*case(1, 2, 2, 2, 16, 16), **settings)


@pytest.mark.parametrize("min_kept", [1 / 16, 1.0])  # the hard pixels, and the largest losses
def test_the_value_is_the_same_without_gradient(min_kept: float) -> None:
    settings = {"threshold": 0.05, "min_kept": min_kept}
    scores, labels = case(1, 2, 1, 2, 4, 8)
    alone, nothing = triton_ohem(scores, labels, ignore_index=255, grad=False, **settings)
    assert nothing is None
    torch.testing.assert_close(alone, run(scores, labels, **settings)[0], rtol=0, atol=0)


@pytest.mark.parametrize("valid", [1, 10])
def test_n_min_is_computed_in_float64(valid: int) -> None:
    # 0.7 * 10 is 7 in float64, and less than 7 with a float32 of 0.7.
    scores, labels = case(1, 2, 2, 2, 8, 8)
    few = torch.full_like(labels, 255)
    few.view(-1)[torch.randperm(64)[:valid]] = 1
    check(scores, few, threshold=1e-6, min_kept=0.7)


def test_no_valid_pixel_gives_zero() -> None:
    loss, grad = run(torch.randn(1, 2, 2, 2), torch.full((1, 8, 8), 255))
    assert loss.item() == 0
    assert not grad.any()


def test_pixels_that_tie_share_what_is_left_of_n_min() -> None:
    # 64 pixels, n_min = 4: one loses ln(1 + e) > ln 2, and 63 tie with ln 2 on the remaining three places.
    scores = torch.zeros(1, 2, 8, 8)
    scores[0, 1, 0, 0] = 1
    loss, grad = run(scores, torch.zeros(1, 8, 8, dtype=torch.long), threshold=0.05)
    assert loss.item() == pytest.approx((math.log(1 + math.e) + 3 * math.log(2)) / 4, rel=1e-6)
    want = torch.full((8, 8), 0.5 * 3 / 63 / 4)
    want[0, 0] = 1 / (1 + math.exp(-1)) / 4
    torch.testing.assert_close(grad[0, 1], want)
    torch.testing.assert_close(grad[0, 0], -want)


@pytest.mark.parametrize(
    ("layout", "dtype"), [("channels_last", torch.float16), ("sliced", torch.bfloat16), ("transposed", torch.float32)]
)
def test_layout_and_precision_of_scores(layout: str, dtype: torch.dtype) -> None:
    scores, labels = case(2, 2, 2, 3, 2, 6)
    strange = {
        "channels_last": scores.contiguous(memory_format=torch.channels_last),
        "sliced": torch.cat([scores, scores], 1)[:, :2],
        "transposed": scores.transpose(2, 3).contiguous().transpose(2, 3),
    }[layout].to(dtype)
    check(strange, labels.transpose(1, 2).contiguous().transpose(1, 2))


def test_huge_scores_stay_finite() -> None:
    scores = torch.zeros(1, 2, 1, 2)
    scores[0, 0] = torch.tensor([1e4, -1e4])
    loss, grad = run(scores, torch.zeros(1, 1, 2, dtype=torch.long))
    assert loss.item() == 1e4  # the one hard pixel
    assert torch.equal(grad[0, :, 0], torch.tensor([[0.0, -1.0], [0.0, 1.0]]))


def test_small_losses_keep_their_digits() -> None:
    # Losses of ln(1 + 2^-13): softmax - 1, as float32 computes it, would have three digits.
    scores = torch.tensor([13 * math.log(2), 0.0])[None, :, None, None].expand(1, 2, 2, 2)
    loss, grad = run(scores, torch.zeros(1, 4, 4, dtype=torch.long))
    assert loss.item() == pytest.approx(math.log1p(2**-13), rel=1e-6)
    want = torch.full((2, 2), 1 / (1 + 2**13) / 4)
    torch.testing.assert_close(grad[0, 0], -want, rtol=1e-6, atol=0)
    torch.testing.assert_close(grad[0, 1], want, rtol=1e-5, atol=0)


@pytest.mark.parametrize("bad", ["score", "label"])
def test_no_number_and_no_class_spoil_the_loss(bad: str) -> None:
    scores, labels = torch.randn(1, 2, 2, 2), torch.zeros(1, 8, 8, dtype=torch.long)
    if bad == "score":
        scores[0, 1, 0, 0] = math.nan
    else:
        labels[0, 2, 2] = 2
    loss, grad = run(scores, labels)
    assert loss.isnan()
    assert grad.isnan().any()


@pytest.mark.parametrize(
    ("classes", "h", "w", "height", "width"),
    [(19, 2, 3, 16, 24), (3, 2, 40, 6, 160), (5, 3, 2, 12, 64), (2, 4, 5, 4, 5), (1, 1, 1, 2, 128)],
)
def test_shares_are_those_of_pooled_one_hot_labels(classes: int, h: int, w: int, height: int, width: int) -> None:
    labels = case(2, classes, h, w, height, width)[1].transpose(1, 2).contiguous().transpose(1, 2)
    want = class_shares(labels, classes, h, w)
    torch.testing.assert_close(count_shares(labels, classes, h, w, 255), want, rtol=1e-6, atol=0)
