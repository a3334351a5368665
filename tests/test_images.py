"""What is given as an image: every kind that can be read is read alike, and all others are refused by name."""

import io
import os
import struct
import zlib
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from helpers.shapes import BrightIsNose
from PIL import Image, ImageOps

from facekp import FaceParser
from facekp.data.synthetic.write import draw_face
from facekp.errors import DataError
from facekp.images import read_image, resize
from facekp.parsing.inputs import to_array
from facekp.predict.pipeline import list_jobs, parse_files
from facekp.predict.results import Results
from facekp.predict.sources import find_images

FACE = draw_face(0, 96).image
PICTURE = Image.fromarray(FACE)


def encoded(picture, form, **settings):
    buffer = io.BytesIO()
    picture.save(buffer, format=form, **settings)
    return buffer.getvalue()


def originals():
    """Return one file of every kind that photos come in."""
    turned = Image.Exif()
    turned[0x0112] = 6
    sixteen = Image.fromarray(FACE[..., 1].astype(np.uint16) * 257)
    moving = {"save_all": True, "append_images": [PICTURE.rotate(9)]}
    return [
        encoded(PICTURE, "JPEG", exif=turned),
        encoded(PICTURE, "JPEG", progressive=True),
        encoded(PICTURE.convert("CMYK"), "JPEG"),
        encoded(PICTURE, "PNG", exif=turned),
        encoded(PICTURE.convert("P"), "PNG", transparency=3),
        encoded(PICTURE.convert("RGBA"), "PNG"),
        encoded(sixteen, "PNG"),
        encoded(PICTURE, "PNG", **moving),
        *(encoded(PICTURE, "TIFF", compression=how) for how in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg")),
        encoded(sixteen, "TIFF"),
        encoded(PICTURE, "WEBP", exif=turned),
        encoded(PICTURE.convert("RGBA"), "WEBP", lossless=True),
        encoded(PICTURE, "GIF", **moving),
        encoded(PICTURE, "BMP"),
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Pillow's, about metadata and sizes
def test_500_damaged_files_are_read_or_refused_by_name(tmp_path):
    pytest.importorskip("av", reason="needs the extra video, as the campaign does")
    from benchmarks.campaign.damage import broken

    files, rng, refusals, path = originals(), np.random.default_rng(0), [], tmp_path / "photo"
    for i in range(500):
        path.write_bytes(broken(files[i % len(files)], files, rng))
        try:
            pixels = read_image(path)
        except DataError as error:
            refusals.append(str(error))
        else:
            assert (pixels.ndim, pixels.dtype) == (3, np.uint8)
    assert 100 < len(refusals) < 480  # or it would not show much
    assert all(message.startswith(f"image {path}: cannot be read (") for message in refusals)


@pytest.mark.parametrize("kind", [struct.error, IndexError, zlib.error, EOFError])
def test_whatever_a_decoder_raises_is_the_files_fault(monkeypatch, tmp_path, kind):
    def fail(*_):
        raise kind("bad offset")

    PICTURE.save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "convert", fail)
    for reader in (read_image, to_array):
        with pytest.raises(DataError, match=r"image .*a.png: cannot be read \(bad offset\)"):
            reader(tmp_path / "a.png")
    with pytest.raises(DataError, match="image: cannot be read"):
        to_array(PICTURE)


def test_a_picture_that_was_opened_and_never_read_is_refused_by_name(tmp_path):
    (path := tmp_path / "cut.jpg").write_bytes(encoded(PICTURE, "JPEG")[:900])
    with Image.open(path) as lazy, pytest.raises(DataError, match=r"cut.jpg: cannot be read \(.*truncated"):
        to_array(lazy)


def test_what_is_transparent_is_white(tmp_path):
    clear = np.dstack([FACE, np.full((96, 96), 255, np.uint8)])
    clear[:48, :, 3], clear[48:60, :, 3] = 0, 51
    palette = Image.new("P", (40, 40), 7)
    palette.putpalette([10, 20, 30] * 256)
    palette.save(tmp_path / "p.png", transparency=7)
    Image.new("L", (40, 40), 90).save(tmp_path / "l.png", transparency=90)
    Image.fromarray(clear).save(tmp_path / "a.png")
    Image.fromarray(clear).save(tmp_path / "a.webp", lossless=True, exact=True)
    assert (read_image(tmp_path / "p.png") == 255).all()
    assert (read_image(tmp_path / "l.png") == 255).all()
    for name in ("a.png", "a.webp"):
        pixels = read_image(tmp_path / name)
        assert (pixels[:48] == 255).all()
        np.testing.assert_allclose(pixels[48:60], 0.2 * FACE[48:60] + 0.8 * 255, atol=1)
        np.testing.assert_array_equal(pixels[60:], FACE[60:])
    np.testing.assert_array_equal(to_array(clear), read_image(tmp_path / "a.png"))


@pytest.mark.parametrize(("bits", "said"), [(16, ""), (12, "colours of 16 bits fill 12 at most, so that it is black")])
def test_colour_of_16_bits_keeps_the_upper_8(bits, said, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("facekp.images._reported", set())
    # A PNG's rows, written by hand: Pillow writes none of 16-bit colour.
    values = FACE.astype(np.uint16) * 256 + 200 >> 16 - bits
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 96, 96, 16, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    for _ in range(2):
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), FACE >> 16 - bits)
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == bool(said)


@pytest.mark.parametrize(("value", "range"), [(70_000, "from 0 to 70000"), (-1, "from -1 to 0")])
def test_grey_beyond_16_bits_is_refused(value, range, tmp_path):
    pixels = np.zeros((40, 40), np.int32)
    pixels[0, 0] = value
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=rf"values {range}, need 0 to 65535; save it with 8 or 16 bits"):
        read_image(tmp_path / "a.tif")


def test_of_an_animation_the_first_frame_is_read(tmp_path):
    other = Image.new("RGB", PICTURE.size)
    for name in ("a.gif", "a.png", "a.webp"):
        settings = {"lossless": True} if name == "a.webp" else {}
        PICTURE.quantize(64).convert("RGB").save(tmp_path / name, save_all=True, append_images=[other], **settings)
        first = np.array(PICTURE.quantize(64).convert("RGB")).astype(int)
        np.testing.assert_allclose(read_image(tmp_path / name), first, atol=1, err_msg=name)


def bomb(path):
    """Write a PNG that says it has 30,000 x 30,000 pixels."""
    content = bytearray(encoded(Image.new("1", (30, 30)), "PNG"))
    content[16:24] = (30000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)


@contextmanager
def as_nobody():
    """Be a user without rights, as root may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_is_no_photo_is_skipped_by_name_and_the_others_are_parsed(tmp_path, capsys):
    (photos := tmp_path / "photos").mkdir()
    PICTURE.save(photos / "good.png")
    PICTURE.convert("CMYK").save(photos / "cmyk.jpg")
    Image.new("RGB", (20000, 32)).save(photos / "wide.png")
    (photos / "folder.jpg").mkdir()
    (photos / "broken.jpg").symlink_to(photos / "nowhere")
    (photos / "empty.jpg").touch()
    (photos / "text.jpg").write_text("no picture")
    (photos / "cut.png").write_bytes(encoded(PICTURE, "PNG")[:3000])
    Image.new("RGB", (1, 1)).save(photos / "one.png")
    Image.new("RGB", (20000, 10)).save(photos / "thin.png")
    Image.fromarray(np.zeros((40, 40), np.float32)).save(photos / "float.tif")
    bomb(photos / "bomb.png")
    long = "\u5b57" * 78 + ".png"  # 234 bytes of UTF-8: they and the results' endings are no file's name any more
    PICTURE.save(photos / long)
    reasons = {
        "folder.jpg": "a folder, not a picture",
        "broken.jpg": "no such file",
        "empty.jpg": "not a picture",
        "text.jpg": "not a picture",
        "cut.png": "truncated",
        "one.png": "1 x 1 pixels, need at least 32 x 32",
        "thin.png": "20000 x 10 pixels, need at least 32 x 32",
        "float.tif": "save it with 8 or 16 bits",
        "bomb.png": "900000000 pixels",
        long: "the names of its results would be too long",
    }
    for source in (photos, photos / "*"):
        out = tmp_path / "out"
        jobs = list_jobs(find_images(str(source)), out)
        failures = parse_files(FaceParser(BrightIsNose(size=64)), jobs, Results(out, ["mask"]))
        assert len(failures) == len(reasons)
        for name, reason in reasons.items():
            (message,) = (message for message in failures if name in message)
            assert reason in message
        assert sorted(p.name for p in out.iterdir()) == ["cmyk.mask.png", "good.mask.png", "wide.mask.png"]


@pytest.mark.skipif(os.name != "posix", reason="permissions")
def test_files_and_folders_that_may_not_be_read_are_named(tmp_path):
    photo = tmp_path / "a.png"
    PICTURE.save(photo)
    (tmp_path / "closed").mkdir()
    for path in (photo, tmp_path / "closed"):
        path.chmod(0)
    with as_nobody():
        with pytest.raises(DataError, match=r"a.png: cannot be read \(no permission\)"):
            read_image(photo)
        for source in (tmp_path / "closed", tmp_path / "closed" / "a.png"):
            with pytest.raises(DataError, match=f"source '{source}': .*permission"):
                find_images(str(source))


def test_every_kind_of_image_gives_what_its_file_gives(tmp_path):
    PICTURE.save(tmp_path / "a.png")
    want = read_image(tmp_path / "a.png")
    tensor = torch.from_numpy(FACE).permute(2, 0, 1)
    alike = {
        "text": str(tmp_path / "a.png"),
        "path": tmp_path / "a.png",
        "PIL": PICTURE,
        "PIL with alpha": PICTURE.convert("RGBA"),
        "array": FACE,
        "array turned round": FACE[::-1][::-1],
        "array with alpha": np.dstack([FACE, np.full((96, 96), 255, np.uint8)]),
        "uint16": FACE.astype(np.uint16) * 257,
        "float32": (FACE / 255).astype(np.float32),
        "float64": FACE / 255,
        "tensor": tensor,
        "tensor of floats": tensor / 255,
        "tensor of doubles with a gradient": (tensor / 255).double().requires_grad_(),
    }
    for name, image in alike.items():
        np.testing.assert_array_equal(to_array(image), want, err_msg=name)
    half = to_array((tensor / 255).half())
    np.testing.assert_allclose(half.astype(int), want, atol=1)

    grey = FACE[..., 1]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    want = read_image(tmp_path / "grey.png")
    for one in (grey, grey[..., None], torch.from_numpy(grey), torch.from_numpy(grey)[None], grey / 255.0):
        np.testing.assert_array_equal(to_array(one), want)


def test_pictures_are_turned_as_pillow_turns_them_whatever_other_tags_they_have(tmp_path):
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        PICTURE.save(tmp_path / "plain.jpg", exif=exif, quality=100)
        # With an XResolution of four undefined bytes, which Pillow reads and cannot write anew.
        tags = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0) + struct.pack("<HHI4s", 0x011A, 7, 4, b"abcd")
        tiff = b"II*\0" + struct.pack("<IH", 8, 2) + tags + struct.pack("<I", 0)
        PICTURE.save(tmp_path / "odd.jpg", exif=b"Exif\0\0" + tiff, quality=100)
        want = np.array(ImageOps.exif_transpose(Image.open(tmp_path / "plain.jpg")).convert("RGB"))
        for name in ("plain", "odd"):
            np.testing.assert_array_equal(read_image(tmp_path / f"{name}.jpg"), want)
    with pytest.raises(TypeError):  # else this test is not needed, nor what it tests
        ImageOps.exif_transpose(Image.open(tmp_path / "odd.jpg"))


def test_a_side_that_shrinks_is_averaged_though_the_other_grows():
    stripes = np.zeros((4, 8, 3), np.uint8)
    stripes[:, ::4] = 200  # every fourth column: half of each pair at the left, none at the right
    shrunk = resize(stripes, (8, 4))
    assert shrunk[4, :, 0].tolist() == [100, 0, 100, 0]


def test_batches_are_lists_of_images():
    parser = FaceParser(BrightIsNose(size=64))
    batch = np.stack([FACE, FACE[::-1], FACE[:, ::-1]])
    want = [parser(one, align="none")[0].mask for one in batch]
    assert not np.array_equal(want[0], want[1])
    tensor = torch.from_numpy(batch.copy()).permute(0, 3, 1, 2)
    for given in (batch, list(batch), tuple(batch), tensor, tensor / 255, [Image.fromarray(one) for one in batch]):
        faces = parser(given, align="none")
        assert len(faces) == 3
        for face, mask in zip(faces, want, strict=True):
            np.testing.assert_array_equal(face.mask, mask)
    assert parser([]) == parser(np.zeros((0, 64, 64, 3), np.uint8), align="none") == []
    for one, kind in ((None, "NoneType"), (b"\xff\xd8", "bytes"), ({1, 2}, "set")):
        with pytest.raises(DataError, match=f"image: {kind}, need a path, .* or a list of them"):
            parser(one, align="none")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((3, 64, 65), np.uint8), r"ndarray of shape \(3, 64, 65\), need \(H, W\)"),
        (torch.zeros(64, 64, 3), r"Tensor of shape \(64, 64, 3\), .* a tensor \(1, H, W\), \(3, H, W\)"),
        (np.zeros(64, np.uint8), r"shape \(64,\)"),
        (np.zeros((64, 64, 3), np.int64), "numbers are int64, need uint8 0..255"),
        (np.full((64, 64, 3), 200.0), r"float64 values 0..200, need 0..1"),
        (np.full((64, 64), -0.5), "float64 values -0.5..0, need 0..1"),
        (np.full((64, 64), np.nan), "nan"),
        (torch.zeros(3, 10, 64), "64 x 10 pixels, need at least 32 x 32"),
        ("nowhere/photo.jpg", r"image nowhere/photo.jpg: cannot be read \(no such file\)"),
    ],
)
def test_what_is_no_image_is_refused_by_name(image, message):
    with pytest.raises(DataError, match=message):
        to_array(image)


@pytest.mark.parametrize(
    ("mode", "form"), [("P", "PNG"), ("P", "GIF"), ("CMYK", "JPEG"), ("CMYK", "TIFF"), ("L", "PNG")]
)
def test_pictures_of_other_modes_have_the_colours_that_pillow_shows(mode, form, tmp_path):
    path = tmp_path / f"picture.{form.lower()}"
    path.write_bytes(encoded(PICTURE.convert(mode), form))
    with Image.open(path) as picture:
        want = np.array(picture.convert("RGB"))
    assert (read_image(path) == want).all()
