"""What only a GPU can show: the loss without waiting, normalisation, a resumed run, and two processes on one device."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from conftest import PORTRAIT
from helpers.losses import random_case
from runs import PowerCutError, before_step, logged, settings, train
from torch import nn

from facekp.data.normalisation import normalise
from facekp.images import read_image
from facekp.losses import OhemCrossEntropy
from facekp.losses.ohem_batched import batched_ohem
from facekp.losses.ohem_dice import class_shares, dice_loss
from facekp.losses.ohem_lovasz import lovasz_softmax
from facekp.models import build_model
from facekp.parsing.backends import TorchBackend
from facekp.parsing.parser import FaceParser
from facekp.training.optim.build import build_optimizer
from facekp.weights.load import load_network
from facekp.weights.paths import SHIPPED

pytestmark = pytest.mark.gpu


def test_losses_and_normalisation_never_wait_for_the_device():
    scores, labels = (tensor.cuda() for tensor in random_case(2, 8, 8, 64, 64))
    leaf = scores.float().requires_grad_()
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, device="cuda")
    normalise(pixels)  # makes its constants, once
    (OhemCrossEntropy()(leaf, labels) + dice_loss(leaf, labels)).backward()  # compiles kernels, makes tables, once
    torch.cuda.set_sync_debug_mode("error")
    try:
        (OhemCrossEntropy()(leaf, labels) + dice_loss(leaf, labels) + lovasz_softmax(leaf, labels)).backward()
        normalise(pixels)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("case", ["hard", "floor"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_triton_and_batched_losses_agree(dtype, case):
    pytest.importorskip("triton")
    from facekp.losses.ohem_triton import triton_ohem

    scores, labels = (tensor.cuda() for tensor in random_case(4, 56, 56, 448, 448))
    rule = {"threshold": 0.7, "min_kept": 1 / 16, "ignore_index": 255}
    if case == "floor":  # the first image alone is kept: no rounding decides which pixels are
        labels[:] = 3
        scores[1:, 3] += 60
        rule |= {"threshold": 1e-15, "min_kept": 1 / 4}
    scores = scores.to(dtype, memory_format=torch.channels_last)
    want, want_grad = batched_ohem(scores.double(), labels, processes=1, grad=True, **rule)
    loss, grad = triton_ohem(scores, labels, grad=True, **rule)
    again = triton_ohem(scores, labels, grad=True, **rule)[1]
    assert torch.equal(again, grad)
    assert grad.stride() == scores.stride()
    assert abs(loss - want) <= 1e-5 * want
    assert (grad - want_grad).abs().max() <= 1e-5 * want_grad.abs().max()


@pytest.mark.parametrize("side", [112, 56, 14])
def test_class_shares_are_the_cpus(side):
    labels = random_case(2, 1, 1, 448, 448)[1]
    assert torch.equal(class_shares(labels.cuda(), 19, side, side).cpu(), class_shares(labels, 19, side, side))


def test_normalisation_is_the_cpus():
    pixels = torch.randint(0, 256, (2, 48, 64, 3), dtype=torch.uint8)
    torch.testing.assert_close(normalise(pixels.cuda()).cpu(), normalise(pixels), rtol=0, atol=1e-6)


def test_a_resumed_run_equals_the_undisturbed_one_bit_for_bit(tiny_root, tmp_path):
    steps = {"accelerator": "cuda", "precision": "16-mixed", "deterministic": True}
    whole, cut = (settings(tiny_root, tmp_path / name, **steps) for name in ("whole", "cut"))
    train(whole)
    with pytest.raises(PowerCutError):
        train(cut, before_step(6))
    train(cut)
    assert logged(tmp_path / "cut") == logged(tmp_path / "whole")


def test_random_weights_learn_in_half_precision():
    net = build_model("resnet18").cuda().train()
    optimizer, _ = build_optimizer(net, {"warmup_steps": 0}, total_steps=1000)
    scaler, criterion, losses = torch.amp.GradScaler("cuda", init_scale=2.0**24), OhemCrossEntropy(), []
    images, labels = torch.randn(4, 3, 128, 128, device="cuda"), torch.randint(0, 19, (4, 4, 4), device="cuda")
    labels = labels.repeat_interleave(32, 1).repeat_interleave(32, 2)
    for _ in range(60):  # the first are skipped, until the scale is low enough
        with torch.autocast("cuda", torch.float16):
            loss = torch.stack([criterion(scores, labels) for scores in net(images).maps]).sum()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def synchronised(rank, folder):
    """Be one of two processes on one GPU: batch-norm statistics of both halves of a batch."""
    dist.init_process_group("gloo", f"file://{folder}/join", rank=rank, world_size=2)
    norm = nn.SyncBatchNorm(4).cuda().train()
    images = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0)).cuda()
    norm(images[2 * rank : 2 * rank + 2])
    torch.save(norm.running_mean.cpu(), folder / f"{rank}.pt")  # type: ignore[union-attr]


def test_two_processes_on_one_gpu_share_batch_norm_statistics(tmp_path):
    mp.spawn(synchronised, (tmp_path,), 2)
    images = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), 0.1 * images.mean((0, 2, 3)))


def test_channels_last_in_half_precision_gives_the_cpus_scores():
    net, images = build_model("fpn").eval(), torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        want = net(images).predict[0]
        with torch.autocast("cuda", torch.float16):
            got = net.cuda().to(memory_format=torch.channels_last)(images.cuda()).predict[0]
    assert (got.float().cpu() - want).abs().max() < 0.02 * want.abs().max()


def test_the_shipped_weights_parse_alike():
    net, about = load_network(SHIPPED)
    photo = np.ascontiguousarray(read_image(PORTRAIT)[:280, 90:370])  # framed as CelebA-HQ frames faces

    def parse(device, precision):
        backend = TorchBackend(net, about["size"], torch.device(device), precision)
        return FaceParser(backend, detector=lambda image: [])(photo, align="none")[0].mask

    assert (parse("cpu", "float32") == parse("cuda", "float16")).mean() > 0.999
