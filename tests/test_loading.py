"""Fast loading gives what slow loading gives: decoding, crop before scaling, jitter in few passes, decoded caches."""

import io
import os
import pickle
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from test_images import encoded
from torch.utils.data import DataLoader, default_collate

import facekp.images
from facekp.classes import CELEBAMASK_HQ
from facekp.config import DataConfig
from facekp.data import cache as decoded_module
from facekp.data.cache import decode_all
from facekp.data.crop import enlarge, pad, span
from facekp.data.datamodule import FaceDataModule
from facekp.data.dataset import FaceDataset, to_batch
from facekp.data.jitter import KINDS, jitter
from facekp.data.layout import read_index
from facekp.data.transforms import Pipeline, TrainingView, training_transform
from facekp.errors import ConfigError, DataError
from facekp.images import decode_jpeg, decode_png, palette_image, read_label

SCALES = (0.75, 1, 1.25, 1.5, 1.75, 2)


def picture(height, width, seed=0):
    """Return (H, W, 3) uint8 with smooth parts, edges, black and white."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.normal(120, 90, (9, 9, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
    coarse[height // 3 : height // 2] += 60
    return np.clip(coarse + rng.normal(0, 6, coarse.shape), 0, 255).astype(np.uint8)


@pytest.mark.skipif(
    facekp.images.simplejpeg is None or facekp.images.zlib_ng is None, reason="Pillow reads everything here"
)
class TestDecoding:
    @pytest.mark.parametrize(
        "settings", [{}, {"quality": 95, "subsampling": 0}, {"progressive": True}, {"subsampling": 1}]
    )
    def test_a_jpeg_is_pillows_to_the_bit(self, settings):
        data = encoded(Image.fromarray(picture(75, 98)), "JPEG", **settings)
        np.testing.assert_array_equal(decode_jpeg(data), np.array(Image.open(io.BytesIO(data)).convert("RGB")))

    def test_what_is_no_plain_jpeg_is_left_to_pillow(self, monkeypatch):
        image = Image.fromarray(picture(40, 40))
        exif = Image.Exif()
        exif[0x0112] = 6  # orientation
        good = encoded(image, "JPEG")
        others = (encoded(image.convert(mode), "JPEG") for mode in ("L", "CMYK"))
        for data in (encoded(image, "JPEG", exif=exif), *others, encoded(image, "PNG"), good[: len(good) // 2], b""):
            assert decode_jpeg(data) is None
        assert decode_jpeg(good) is not None
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1599)  # a huge one
        assert decode_jpeg(good) is None

    @pytest.mark.parametrize("kind", ["P", "L"])
    @pytest.mark.parametrize("shape", [(33, 50), (1, 1), (512, 512)])
    def test_a_label_map_is_pillows(self, kind, shape):
        mask = np.random.default_rng(0).integers(0, 19, shape, dtype=np.uint8)
        data = encoded(palette_image(mask) if kind == "P" else Image.fromarray(mask), "PNG")
        np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(data))), mask)
        fast = decode_png(data)
        assert fast is None or np.array_equal(fast, mask)
        assert kind == "L" or fast is not None  # those that facekp writes go the fast way

    def test_filtered_and_other_kinds_are_left_to_pillow(self, tmp_path):
        slope = np.arange(19, dtype=np.uint8)[None].repeat(40, 0)
        filtered = encoded(Image.fromarray(slope.repeat(30, 1)), "PNG")  # Pillow filters grey values
        rgb = encoded(Image.fromarray(np.stack([slope] * 3, -1)), "PNG")
        bits = encoded(palette_image(slope % 2), "PNG", bits=1)
        good = encoded(palette_image(slope), "PNG")
        flipped = bytearray(good)
        flipped[good.index(b"IDAT") + 12] ^= 0xFF
        for data in (rgb, bits, good[:-30], bytes(flipped), b"", good[:20]):
            assert decode_png(data) is None
        assert decode_png(good) is not None
        (tmp_path / "grey.png").write_bytes(filtered)
        np.testing.assert_array_equal(read_label(tmp_path / "grey.png"), slope.repeat(30, 1))


class TestWindow:
    @pytest.mark.parametrize(("side", "crop"), [(512, 448), (256, 224), (96, 64), (64, 128)])
    @pytest.mark.parametrize("factor", [*SCALES, 0.9, 1.1, 1.37, 3])
    def test_crop_then_scale_is_scale_then_crop(self, side, crop, factor):
        image, scaled = picture(side, side), int(side * factor)
        label = np.random.default_rng(1).integers(0, 19, (side, side), dtype=np.uint8)
        ways = ((image, cv2.INTER_LINEAR), (label, cv2.INTER_NEAREST_EXACT))
        for where in product((0.0, 0.37, 0.9999), repeat=2):
            down, across = (span(side, factor, crop, place) for place in where)
            y, x = (int((max(0, scaled - crop) + 1) * place) for place in where)
            for pixels, how in ways:
                want = cv2.resize(pixels, (scaled, scaled), interpolation=how)[y : y + crop, x : x + crop]
                kept = pixels[down.start : down.stop, across.start : across.stop]
                got = enlarge(kept, down, across, interpolation=how)
                assert got.shape == want.shape
                # OpenCV reckons positions in float32, so that one pixel in thousands is rounded the other way.
                error = np.abs(got.astype(int) - want)
                assert error.max() <= (1 if pixels is image else 0)
                assert error.mean() < 1e-3

    def test_padding_by_hand(self):
        one = np.full((2, 1), 7, np.uint8)
        want = [[255, 255, 255, 255], [255, 7, 255, 255], [255, 7, 255, 255], [255, 255, 255, 255]]
        assert pad(one, 4, 255).tolist() == want
        assert pad(np.ones((1, 2, 3), np.uint8), 2, 0).tolist() == [[[1] * 3] * 2, [[0] * 3] * 2]


def by_definition(image, steps):
    """Do each step on the whole image: mix it with black, its mean grey or its grey; round and clip."""
    pixels = image.astype(np.float64)
    for kind, factor in steps:
        grey = pixels @ (0.299, 0.587, 0.114)
        other = {"brightness": 0, "contrast": grey.mean(), "saturation": grey[..., None]}[kind]
        pixels = np.clip(np.rint(factor * pixels + (1 - factor) * other), 0, 255)
    return pixels.astype(np.uint8)


class TestJitter:
    def test_it_is_the_definition_step_by_step(self):
        rng, errors = np.random.default_rng(0), []
        for seed in range(60):
            image = picture(128, 128, seed)
            steps = [(kind, rng.uniform(0.5, 1.5)) for kind in rng.permutation(KINDS)]
            errors.append(jitter(image, steps, image).astype(int) - by_definition(image, steps))
        # Roundings that are left out, and the mean grey of a sixteenth of the pixels.
        assert max(np.abs(e).max() for e in errors) <= 3
        assert max(abs(e.mean()) for e in errors) < 0.5
        assert abs(np.mean(errors)) < 0.05


def one_by_one(image, label, crop, params):
    """Do what `params` say by definition: each step on the whole image."""
    image = by_definition(image, params["steps"])
    if params["mirror"]:
        image, label = image[:, ::-1].copy(), CELEBAMASK_HQ.mirror_table()[label[:, ::-1]]
    scale = A.RandomScale((params["scale"] - 1,) * 2, p=1, mask_interpolation=cv2.INTER_NEAREST_EXACT)
    scaled = scale(image=image, mask=label)
    side = max(crop, scaled["image"].shape[0])
    top, left = (int((side - crop + 1) * place) for place in params["place"])
    padded = A.PadIfNeeded(crop, crop, border_mode=cv2.BORDER_CONSTANT, fill=0, fill_mask=255, p=1)(**scaled)
    return tuple(padded[key][top : top + crop, left : left + crop] for key in ("image", "mask"))


@pytest.mark.parametrize(("side", "crop"), [(128, 112), (96, 64)])
def test_the_view_is_the_steps_one_by_one(side, crop):
    pipeline = Pipeline([TrainingView(crop, scales=SCALES, jitter=0.5, flip=0.5)])
    blocks = np.random.default_rng(0).integers(0, 19, (16, 16), dtype=np.uint8)
    label = blocks.repeat(side // 16, 0).repeat(side // 16, 1)
    seen = set()
    for seed in range(80):
        image = picture(side, side, seed)
        pipeline.set_random_seed(seed)
        out = pipeline(image=image, mask=label)
        params = pipeline.transforms[0].params
        want_image, want_label = one_by_one(image, label, crop, params)
        np.testing.assert_array_equal(out["mask"], want_label)
        error = np.abs(out["image"].astype(int) - want_image)
        assert error.max() <= 4
        assert error.mean() < 1
        seen.add((params["scale"], params["mirror"]))
    assert len(seen) == 12


def training(samples, c, **settings):
    transform = training_transform(c.size, c.crop, scales=c.scales, jitter=c.jitter, flip=c.flip)
    return FaceDataset(samples, transform, decode_all(samples, replace(c, **settings)))


class TestDecoded:
    @pytest.fixture
    def c(self, tiny_root, tmp_path):
        return DataConfig(root=str(tiny_root), size=64, crop=64, cache=str(tmp_path / "cache"))

    @pytest.mark.parametrize("where", ["ram", "disk"])
    @pytest.mark.parametrize("workers", [0, 2])
    def test_the_tensors_are_the_same(self, c, tiny_root, where, workers):
        samples = read_index(tiny_root)["train"]
        draws = [(i % 12, 100 + i) for i in range(24)]
        plain = DataLoader(training(samples, c, decoded="none"), 4, sampler=draws)
        decoded = DataLoader(training(samples, c, decoded=where), 4, sampler=draws, num_workers=workers)
        for want, got in zip(plain, decoded, strict=True):
            assert torch.equal(got["image"], want["image"])
            assert torch.equal(got["label"], want["label"])

    def test_the_size_is_told_before_and_other_processes_take_the_file(self, c, tiny_root, capsys):
        found = decode_all(read_index(tiny_root)["train"], replace(c, decoded="disk"))
        # 12 * 64 * 64 * 4 bytes
        assert "data.decoded is 'disk': 12 images of 64 pixels take 0.000197 GB in '" in capsys.readouterr().out
        (file,) = Path(c.cache).glob("decoded-*")
        assert file.stat().st_size == 12 * 64 * 64 * 4
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(found))(5)[1], found(5)[1])

    def test_the_file_is_found_again_unless_an_image_changes(self, c, tmp_path, capsys, tiny_root):
        samples = read_index(tiny_root)["train"][:3]
        own = [replace(s, image=tmp_path / f"{s.id}.jpg") for s in samples]
        for old, new in zip(samples, own, strict=True):
            new.image.write_bytes(old.image.read_bytes())
        c = replace(c, decoded="disk")
        first = decode_all(own, c)
        capsys.readouterr()
        decode_all(own, c)
        assert capsys.readouterr().out == ""
        own[1].image.write_bytes(samples[2].image.read_bytes())
        os.utime(own[1].image, ns=(1, 1))
        changed = decode_all(own, c)
        assert not np.array_equal(changed(1)[0], first(1)[0])
        for now, before in ((1, 2), (0, 0)):
            np.testing.assert_array_equal(changed(now)[0], first(before)[0])

    def test_too_little_room_is_told_before(self, c, tiny_root, tmp_path, monkeypatch):
        samples = read_index(tiny_root)["train"]
        meminfo = tmp_path / "meminfo"
        meminfo.write_text("MemTotal: 900 kB\nMemAvailable:   191 kB\n")  # 192 are needed
        monkeypatch.setattr(decoded_module, "MEMINFO", meminfo)
        with pytest.raises(DataError, match=r"'ram' and needs 0\.000197 GB, but .* are free: use disk"):
            decode_all(samples, replace(c, decoded="ram"))
        meminfo.write_text("MemAvailable:   192 kB\n")
        assert decode_all(samples, replace(c, decoded="ram")) is not None


def test_workers_that_are_forked_share_pixels_whatever_the_default(tiny_root, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delitem(sys.modules, "openvino", raising=False)  # tests before this one may have loaded it
    config = DataConfig(root=str(tiny_root), size=64, crop=64, batch_size=2, decoded="ram", workers=1)
    loader = FaceDataModule(config, seed=0, total_steps=1).train_dataloader()
    assert loader.multiprocessing_context.get_start_method() == "fork"
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(ConfigError, match=r"'ram', which workers share on Linux only: use disk, or data\.workers=0"):
        FaceDataModule(config, seed=0, total_steps=1).train_dataloader()


def test_workers_are_not_forked_where_openvino_is_loaded(tiny_root, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace())
    config = DataConfig(root=str(tiny_root), size=64, crop=64, batch_size=2, workers=1)
    loader = FaceDataModule(config, seed=0, total_steps=1).train_dataloader()
    assert loader.multiprocessing_context.get_start_method() == "forkserver"
    assert len(pickle.loads(pickle.dumps(loader.dataset))) == 12
    FaceDataModule(replace(config, decoded="ram", workers=0), seed=0, total_steps=1).train_dataloader()
    monkeypatch.setattr("facekp.data.datamodule.decode_all", lambda *_: pytest.fail("decoded before it is refused"))
    with pytest.raises(ConfigError, match=r"'ram', which forked workers share, but this process has loaded OpenVINO"):
        FaceDataModule(replace(config, decoded="ram"), seed=0, total_steps=1).train_dataloader()


def test_too_little_shared_memory_is_told_before_training(tiny_root, tmp_path, monkeypatch):
    """Docker's 64 MB and 4 workers: of 12 steps 9 batches of 4 crops of 448, and of 3 images the one batch of 512."""
    need = 4 * (9 * 4 * 448**2 + 16 * 512**2)
    config = DataConfig(root=str(tiny_root), batch_size=4, workers=4)
    room = SimpleNamespace(free=need)
    monkeypatch.setattr("facekp.data.datamodule.SHARED", tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: room)
    FaceDataModule(config, seed=0, total_steps=12).train_dataloader()
    room.free -= 1
    message = r"data\.workers is 4: their batches take 44 MiB .* has 44: .*--shm-size=1g.*data\.workers=0 needs none"
    with pytest.raises(ConfigError, match=message):
        FaceDataModule(config, seed=0, total_steps=12).train_dataloader()
    FaceDataModule(replace(config, workers=0), seed=0, total_steps=12).train_dataloader()
    # The test after the run, of two batches, takes more.
    room.free = need + 4 * 16 * 512**2
    data = FaceDataModule(config, seed=0, total_steps=12)
    data.samples["test"] *= 16
    data.train_dataloader()
    room.free -= 1
    with pytest.raises(ConfigError, match=r"data\.workers is 4"):
        data.train_dataloader()


def test_what_is_normalised_twice_is_refused(tiny_root):
    dataset = FaceDataset(read_index(tiny_root)["train"], A.Compose([A.Normalize()]))
    with pytest.raises(TypeError, match="remove steps that normalise"):
        dataset[0, 0]


def test_a_transform_of_ones_own_is_an_albumentations_transform(tiny_root):
    own = Pipeline([A.InvertImg(p=1), TrainingView(64, scales=[1], jitter=0, flip=0)])
    plain = Pipeline([TrainingView(64, scales=[1], jitter=0, flip=0)])
    samples = read_index(tiny_root)["train"]
    inverted, usual = (to_batch(default_collate([FaceDataset(samples, t)[3, 8]])) for t in (own, plain))
    assert torch.equal(inverted["label"], usual["label"])
    # x / 255 and 1 - x / 255, each less the mean, over the deviation: their sum is (1 - 2 mean) / deviation.
    red = (inverted["image"] + usual["image"])[0, 0]
    assert (red.min().item(), red.max().item()) == pytest.approx([(1 - 2 * 0.485) / 0.229] * 2, abs=1e-5)
