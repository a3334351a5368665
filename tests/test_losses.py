"""OHEM cross entropy against a reference that upsamples everything, sorts, and lets autograd differentiate."""

import math
import os
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from itertools import product
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers.losses import random_case, reference, value_and_gradient

import facekp.losses.fused
import facekp.losses.ohem
from facekp.classes import IGNORE_INDEX
from facekp.losses import build_loss
from facekp.losses.fused import try_triton
from facekp.losses.ohem import OhemCrossEntropy
from facekp.losses.ohem_dice import class_shares, dice_loss
from facekp.losses.ohem_lovasz import lovasz_softmax


def check(scores, labels, **settings):
    """Compare value and gradient in float64 and float32 with the float64 reference; return the reference's value."""
    want, want_grad = value_and_gradient(lambda s, y: reference(s, y, **settings), scores.double(), labels)
    loss = OhemCrossEntropy(**settings)
    for loss.batched, (dtype, tolerance) in product((False, True), ((torch.float64, 1e-12), (torch.float32, 1e-5))):
        got, grad = value_and_gradient(loss, scores.to(dtype), labels)
        assert (got.dtype, grad.dtype, grad.shape) == (dtype, dtype, scores.shape)
        assert abs(got - want) <= tolerance * want
        assert (grad - want_grad).abs().max() <= tolerance * want_grad.abs().max()
    return want


def one_class_case(margin):
    """Return scores that favour class 3 by `margin`, more or less, and labels that are all 3 but for ignored ones."""
    scores, labels = random_case(2, 4, 6, 32, 48, spread=0.5)
    scores[:, 3] += margin
    return scores, torch.where(labels == 255, 255, 3)


@pytest.mark.parametrize(
    ("n", "h", "w", "height", "width"),
    [
        (3, 8, 8, 64, 64),  # stride 8
        (1, 4, 6, 64, 96),  # stride 16, not square
        (3, 2, 3, 64, 96),  # stride 32
        (3, 24, 16, 24, 16),  # the labels' own resolution
        (2, 5, 7, 33, 50),  # ratios that are no integers
        (2, 20, 9, 13, 31),  # downsampled one way, upsampled the other
        (1, 1, 1, 16, 16),
    ],
)
def test_value_and_gradient_at_every_resolution(n, h, w, height, width):
    check(*random_case(n, h, w, height, width))


@pytest.mark.parametrize("settings", [{"threshold": 0.9}, {"min_kept": 0.5}, {"threshold": 0.05, "min_kept": 1.0}])
def test_settings(settings):
    check(*random_case(2, 4, 4, 32, 32), **settings)


def test_all_pixels_hard_is_the_plain_mean_and_all_easy_the_floor():
    scores, labels = one_class_case(-6)
    up = F.interpolate(scores, size=(32, 48), mode="bilinear", align_corners=False)
    assert check(scores, labels) == pytest.approx(F.cross_entropy(up, labels, ignore_index=255).item(), rel=1e-12)
    assert check(*one_class_case(6)) < -math.log(0.7)


@pytest.mark.parametrize("margin", [4.0, 4.4, 4.5, 4.6, 4.8])
def test_few_hard_pixels(margin):
    # From more hard pixels than n_min (39 % of the valid ones) over about n_min (7 %) to fewer.
    check(*one_class_case(margin))


def test_the_boundary_of_n_min_counts_as_enough():
    # 32 pixels, n_min = 2. Two hard pixels of very different loss: the mean of the two, either way; three: of three.
    scores = torch.zeros(1, 2, 4, 8, dtype=torch.float64)
    scores[:, 0] = 4  # loss of class 0: ln(1 + e^-4)
    for hard in range(4):
        trial = scores.clone()
        trial[0, 0].view(-1)[:hard] = -5.0  # loss: ln(1 + e^5)
        easy_loss, hard_loss = math.log1p(math.exp(-4)), math.log1p(math.exp(5))
        want = [easy_loss, (hard_loss + easy_loss) / 2, hard_loss, hard_loss][hard]
        got = OhemCrossEntropy()(trial, torch.zeros(1, 4, 8, dtype=torch.long))
        assert got.item() == pytest.approx(want, rel=1e-12)


def test_by_hand():
    # Scores (a, 0) and label 0 lose ln(1 + e^-a). Cut ln(1/0.7) = 0.3567, that is a < 0.8473; n_min = max(1, 4/16) = 1.
    scores = torch.zeros(1, 2, 1, 4)
    scores[0, 0, 0] = torch.tensor([0.0, math.log(3), math.log(1 / 3), 5.0])
    labels = torch.tensor([[[0, 0, 0, 255]]])
    # Losses ln 2 = 0.6931 (hard), ln(4/3) = 0.2877 (easy), ln 4 = 1.3863 (hard), ignored: mean of two is 1.5 ln 2.
    loss, grad = value_and_gradient(OhemCrossEntropy(), scores, labels)
    assert loss.item() == pytest.approx(1.5 * math.log(2), rel=1e-6)
    # d loss / d a = (p - 1) / 2 with p = 1/2 and 1/4; the other class has the opposite gradient.
    torch.testing.assert_close(grad[0, 0, 0], torch.tensor([-0.25, 0.0, -0.375, 0.0]))
    torch.testing.assert_close(grad[0, 1, 0], torch.tensor([0.25, 0.0, 0.375, 0.0]))


@pytest.mark.parametrize("valid", [1, 2, 15, 16, 17, 33])
def test_very_few_valid_pixels(valid):
    scores, labels = random_case(2, 2, 2, 16, 16, spread=0.5)
    scores[:, 3] += 6  # easy, so that n_min = max(1, valid // 16) decides
    few = torch.full_like(labels, 255)
    few.view(-1)[torch.randperm(few.numel())[:valid]] = 3
    check(scores, few)


@pytest.mark.parametrize("batched", [False, True])
def test_no_valid_pixel_gives_zero(batched):
    rule = OhemCrossEntropy()
    rule.batched = batched
    loss, grad = value_and_gradient(rule, torch.randn(2, 19, 4, 4), torch.full((2, 32, 32), 255))
    assert loss.item() == 0
    assert torch.equal(grad, torch.zeros(2, 19, 4, 4))


def test_pixels_that_tie_share_what_is_left_of_n_min():
    # 64 pixels, n_min = 4: one loses ln(1 + e) > ln 2, and 63 tie with ln 2 on the remaining three places.
    rule = OhemCrossEntropy(threshold=0.05)  # nothing is hard
    rule.batched = True
    scores = torch.zeros(1, 2, 8, 8)
    scores[0, 1, 0, 0] = 1
    loss, grad = value_and_gradient(rule, scores, torch.zeros(1, 8, 8, dtype=torch.long))
    assert loss.item() == pytest.approx((math.log(1 + math.e) + 3 * math.log(2)) / 4, rel=1e-6)
    want = torch.full((8, 8), 0.5 * 3 / 63 / 4)
    want[0, 0] = 1 / (1 + math.exp(-1)) / 4
    torch.testing.assert_close(grad[0, 1], want)
    torch.testing.assert_close(grad[0, 0], -want)


def test_ignored_pixels_do_not_count_though_their_scores_are_extreme():
    scores, labels = random_case(1, 16, 16, 16, 16)
    want = value_and_gradient(OhemCrossEntropy(), scores, labels)
    ignored = (labels == 255)[:, None].expand_as(scores)
    got = value_and_gradient(OhemCrossEntropy(), torch.where(ignored, 1e4 * scores, scores), labels)
    assert torch.equal(got[0], want[0])
    assert torch.equal(got[1], want[1])
    assert not got[1][ignored].any()
    # Another index may be ignored.
    zero_ignored = torch.where(labels == 255, 0, labels)
    want = reference(scores, torch.where(zero_ignored == 0, 255, zero_ignored))
    assert OhemCrossEntropy(ignore_index=0)(scores, zero_ignored).item() == pytest.approx(want.item(), rel=1e-12)


def test_huge_scores_stay_finite():
    scores = torch.zeros(1, 2, 1, 2)
    scores[0, 0] = torch.tensor([1e4, -1e4])
    loss, grad = value_and_gradient(OhemCrossEntropy(), scores, torch.zeros(1, 1, 2, dtype=torch.long))
    assert loss.item() == 1e4  # the one hard pixel
    assert torch.equal(grad[0, :, 0], torch.tensor([[0.0, -1.0], [0.0, 1.0]]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_scores_are_computed_in_float32(dtype):
    scores, labels = random_case(2, 4, 6, 32, 48)
    half = scores.to(dtype)
    want, want_grad = value_and_gradient(reference, half.double(), labels)
    loss, grad = value_and_gradient(OhemCrossEntropy(), half, labels)
    assert (loss.dtype, grad.dtype) == (torch.float32, dtype)
    assert abs(loss - want) <= 1e-5 * want
    # The gradient is rounded once, to the scores' precision, or to float16's smallest step.
    finfo = torch.finfo(dtype)
    assert ((grad - want_grad).abs() <= finfo.eps * want_grad.abs() + finfo.smallest_normal * finfo.eps).all()


def test_autocast_and_a_missing_gradient_change_nothing():
    scores, labels = random_case(2, 4, 6, 32, 48)
    before = scores.float(), labels.clone()
    want = value_and_gradient(OhemCrossEntropy(), scores.float(), labels)
    with torch.autocast("cpu", torch.bfloat16):
        got = value_and_gradient(OhemCrossEntropy(), scores.float(), labels)
    assert got[0].dtype == torch.float32
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    loss = OhemCrossEntropy()(before[0], labels)
    assert not loss.requires_grad
    assert torch.equal(loss, want[0])
    assert torch.equal(before[0], scores.float())
    assert torch.equal(before[1], labels)


@pytest.mark.parametrize("margin", [0.0, 6.0])
@pytest.mark.parametrize("elements", [1, 19 * 48 * 5, 19 * 48 * 31])
def test_neither_piece_size_nor_upstream_factor_matters(monkeypatch, elements, margin):
    scores, labels = one_class_case(margin)
    want, want_grad = value_and_gradient(reference, scores, labels)
    monkeypatch.setattr(facekp.losses.ohem, "PIECE_ELEMENTS", elements)
    loss, grad = value_and_gradient(lambda s, y: 2.5 * OhemCrossEntropy()(s, y), scores, labels)
    torch.testing.assert_close(loss, 2.5 * want, rtol=1e-12, atol=0)
    torch.testing.assert_close(grad, 2.5 * want_grad, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("layout", ["channels_last", "sliced", "transposed"])
def test_memory_layout_does_not_matter(layout):
    scores, labels = random_case(2, 4, 6, 32, 48)
    strange = {
        "channels_last": scores.contiguous(memory_format=torch.channels_last),
        "sliced": torch.cat([scores, scores], 1)[:, :19],
        "transposed": scores.transpose(2, 3).contiguous().transpose(2, 3),
    }[layout]
    assert torch.equal(strange, scores)
    assert not strange.is_contiguous()
    want, want_grad = value_and_gradient(reference, scores, labels)
    leaf = strange.requires_grad_()
    loss = OhemCrossEntropy()(leaf, labels.transpose(1, 2).contiguous().transpose(1, 2))
    loss.backward()
    torch.testing.assert_close(loss.detach(), want, rtol=1e-12, atol=0)
    torch.testing.assert_close(leaf.grad, want_grad, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 0.0}, r"loss\.threshold is 0\.0: .*such as 0\.7"),
        ({"threshold": 1.0}, r"loss\.threshold is 1\.0"),
        ({"threshold": math.nan}, r"loss\.threshold is nan"),
        ({"min_kept": 0.0}, r"loss\.min_kept is 0\.0: .*such as 0\.0625"),
        ({"min_kept": 1.5}, r"loss\.min_kept is 1\.5"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        OhemCrossEntropy(**settings)


@pytest.mark.parametrize("shapes", [((2, 19, 4), (2, 8, 8)), ((2, 19, 4, 4), (2, 1, 8, 8)), ((2, 19, 4, 4), (3, 8, 8))])
def test_bad_shapes_are_named(shapes):
    scores, labels = shapes
    with pytest.raises(ValueError, match=re.escape(f"scores {scores} and labels {labels}: need")):
        OhemCrossEntropy()(torch.zeros(scores), torch.zeros(labels, dtype=torch.long))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_equals_the_reference():
    scores, labels = random_case(2, 4, 4, 32, 32)
    want, want_grad = value_and_gradient(reference, scores, labels)
    loss, grad = value_and_gradient(torch.compile(OhemCrossEntropy()), scores.float(), labels)
    assert abs(loss - want) <= 1e-5 * want
    assert (grad - want_grad).abs().max() <= 1e-5 * want_grad.abs().max()


def test_a_failure_of_triton_is_reported_once_and_memory_is_no_failure(monkeypatch):
    errors = [torch.OutOfMemoryError("full"), RuntimeError("no compiler\nlong story")]

    def fail():
        raise errors.pop(0)

    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    monkeypatch.setattr(facekp.losses.fused, "_failures", [])
    device = torch.device("cuda")
    with pytest.raises(torch.OutOfMemoryError):
        try_triton(fail, device)
    with pytest.warns(RuntimeWarning, match=r"without Triton, slower \(RuntimeError: no compiler\); .* C compiler$"):
        assert try_triton(fail, device) is None
    assert try_triton(fail, device) is None  # and tries no more: there is no third error
    assert not errors


@pytest.mark.slow
def test_triton_kernels_in_tritons_interpreter():
    pytest.importorskip("triton")
    tests = Path(__file__).parent
    file = tests / "helpers" / "interpreted_kernels.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(tests)}
    done = subprocess.run(command, cwd=tests.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@pytest.mark.gpu
@pytest.mark.parametrize("margin", [0.0, 6.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-5), (torch.float16, 1e-3)])
def test_cuda_equals_the_reference(dtype, tolerance, margin):
    scores, labels = one_class_case(margin)
    scores = scores.to(dtype)
    want, want_grad = value_and_gradient(reference, scores.double(), labels)
    with torch.autocast("cuda", torch.float16):
        loss, grad = value_and_gradient(OhemCrossEntropy(), scores.cuda(), labels.cuda())
    assert loss.device.type == grad.device.type == "cuda"
    assert grad.dtype == dtype
    assert abs(loss.cpu() - want) <= min(tolerance, 1e-5) * want
    assert (grad.cpu() - want_grad).abs().max() <= tolerance * want_grad.abs().max()


class TestDice:
    def test_by_hand(self):
        # Two pixels of class 0 and two of class 1; probabilities 0.75 of class 0 everywhere.
        scores = torch.tensor([math.log(3), 0.0]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
        labels = torch.tensor([[[0, 0], [1, 1]]])
        # Class 0: overlap 1.5, sums 3 and 2: 2 * 1.5 / 5 = 0.6. Class 1: overlap 0.5, sums 1 and 2: 1 / 3.
        assert dice_loss(scores, labels).item() == pytest.approx(1 - (0.6 + 1 / 3) / 2)
        # Without the last pixel: 1.5 of 2.25 and 2, and 0.25 of 0.75 and 1.
        labels[0, 1, 1] = IGNORE_INDEX
        assert dice_loss(scores, labels).item() == pytest.approx(1 - (3 / 4.25 + 0.5 / 1.75) / 2)

    def test_labels_are_averaged_over_the_pixels_of_a_score(self):
        # One score for four pixels, one of which is of class 1: shares 0.75 and 0.25, probabilities 0.5.
        labels = torch.tensor([[[0, 0], [0, 1]]])
        wanted = 1 - (2 * 0.375 / 1.25 + 2 * 0.125 / 0.75) / 2
        assert dice_loss(torch.zeros(1, 2, 1, 1), labels).item() == pytest.approx(wanted)

    @pytest.mark.parametrize(("height", "width"), [(6, 4), (24, 32), (5, 7)])  # the last do not divide 24 and 32
    def test_shares_are_the_pooled_one_hot_labels(self, height, width):
        labels = torch.randint(0, 5, (2, 24, 32))
        labels[torch.rand(labels.shape) < 0.2] = IGNORE_INDEX
        one_hot = torch.stack([labels == i for i in range(5)], 1).float()
        want = F.adaptive_avg_pool2d(one_hot, (height, width))
        torch.testing.assert_close(class_shares(labels, 5, height, width), want, rtol=0, atol=1e-7)


class TestLovasz:
    def test_by_hand(self):
        # Probabilities of class 1 in four pixels, of which the first two are of class 1.
        p = torch.tensor([0.9, 0.4, 0.3, 0.2])
        scores = torch.stack([torch.zeros(4), (p / (1 - p)).log()]).view(1, 2, 1, 4)
        labels = torch.tensor([[[1, 1, 0, 0]]])
        # Class 1: errors 0.6 (own), 0.3, 0.2, 0.1 (own); 1 - IoU so far is 1/2, 2/3, 3/4, 1.
        first = 0.6 / 2 + 0.3 * (2 / 3 - 1 / 2) + 0.2 * (3 / 4 - 2 / 3) + 0.1 / 4
        # Class 0: errors 0.6, 0.3 (own), 0.2 (own), 0.1; 1 - IoU so far is 1/3, 2/3, 1, 1.
        second = (0.6 + 0.3 + 0.2) / 3
        assert lovasz_softmax(scores, labels).item() == pytest.approx((first + second) / 2)

    def test_of_certain_predictions_it_is_one_minus_the_mean_iou(self):
        labels, guess = torch.randint(0, 5, (2, 2, 8, 8)).unbind()
        labels[0, 0] = IGNORE_INDEX
        scores = 200.0 * F.one_hot(guess, 5).movedim(-1, 1)
        valid = labels != IGNORE_INDEX
        wrong = []
        for c in range(5):
            own, found = (labels == c) & valid, (guess == c) & valid
            wrong.append(1 - (own & found).sum() / (own | found).sum())
        assert lovasz_softmax(scores, labels).item() == pytest.approx(sum(wrong).item() / 5)


@pytest.mark.parametrize(("name", "part"), [("dice", dice_loss), ("lovasz", lovasz_softmax)])
def test_dice_and_lovasz_count_no_absent_class_nor_ignored_pixel_and_are_added_to_ohem(name, part):
    scores, labels = torch.randn(2, 5, 4, 4, requires_grad=True), torch.ones(2, 8, 8, dtype=torch.long)
    certain = torch.full((2, 5, 4, 4), -50.0)
    certain[:, 1] = 50
    assert part(certain, labels).item() == pytest.approx(0, abs=1e-6)
    nothing = part(scores, torch.full_like(labels, IGNORE_INDEX))
    nothing.backward()
    assert (nothing.item(), scores.grad.abs().sum().item()) == (0, 0)
    labels = torch.randint(0, 5, (2, 16, 16))
    got = build_loss(f"ohem_{name}", threshold=0.6, min_kept=0.25, **{name: 0.5})(scores, labels)
    want = OhemCrossEntropy(0.6, 0.25)(scores, labels) + part(scores, labels) / 2
    assert got.item() == pytest.approx(want.item())
