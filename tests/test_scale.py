"""The guide for millions of photos: its example runs on a cluster of Ray's on this machine."""

import os
import signal
import subprocess
import sys
from io import BytesIO
from secrets import token_hex
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from PIL import Image
from runs import REPOSITORY
from test_docs import blocks

from facekp import FaceParser
from facekp.data.synthetic.write import draw_face
from facekp.weights.paths import SHIPPED

pytest.importorskip("ray", reason="needs pip install 'facekp[ray]'")
COCO = pytest.importorskip("pycocotools.coco").COCO
dataset = pytest.importorskip("pyarrow.dataset").dataset

DRIVER = """
import os, subprocess, sys
from pathlib import Path

import parse_photos
import ray

parse_photos.BATCH, parse_photos.BLOCK = 2, 3
out, folder, *paths = sys.argv[1:]


class Fails(parse_photos.Parse):
    def __call__(self, batch):
        if not Path("raised").exists():
            Path("raised").touch()
            raise RuntimeError("no memory")
        if not Path("died").exists():
            Path("died").touch()
            os._exit(1)
        return super().__call__(batch)


# One processor for the actor, one for writing.
cluster = ray.init(num_cpus=2, object_store_memory=200_000_000, include_dashboard=False, _temp_dir=folder)
parse_photos.parse(paths, Path(out, "rows"), actor=Fails)
assert parse_photos.without_row(paths, Path(out, "rows")) == []
command = [sys.executable, "parse_photos.py", "*.png", out]
os.environ["RAY_ADDRESS"] = cluster.address_info["address"]
printed = subprocess.check_output(command, text=True)
assert printed.endswith("photos without a row: 0\\n"), printed
"""


def run(*arguments, folder, seconds):
    """Run Python in a folder, and end it with all its processes if it takes too long."""
    private = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_TOKEN": token_hex()}  # or else Ray writes one into the home
    environment = {**os.environ, **private, "PYTHONPATH": f"{folder}{os.pathsep}{REPOSITORY}"}
    with subprocess.Popen([sys.executable, *arguments], cwd=folder, env=environment, start_new_session=True) as process:
        try:
            assert process.wait(seconds) == 0
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_photos_become_rows_and_coco_though_an_actor_fails_and_dies(tmp_path):
    ((_, code),) = blocks(REPOSITORY / "docs/guides/scale.md", "python")
    (tmp_path / "parse_photos.py").write_text(code, encoding="utf-8")
    (tmp_path / "drive.py").write_text(DRIVER, encoding="utf-8")
    face = Image.open(REPOSITORY / "docs/astronaut.jpg")
    two = Image.new("RGB", (2 * face.width, face.height))
    two.paste(face)
    two.paste(face, (face.width, 0))
    drawn, black = Image.fromarray(draw_face(0, 256).image), Image.new("RGB", (64, 48))
    paths = ["black.png", "broken.png", "drawn.png", "one.png", "two.png"]
    for name, photo in zip(paths, (black, None, drawn, face, two), strict=True):
        if photo:
            photo.save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"no picture")

    with TemporaryDirectory(prefix="ray") as short:  # names of sockets hold about 100 characters
        run("drive.py", str(tmp_path), short, *paths[:-1], folder=tmp_path, seconds=180)
    assert (tmp_path / "raised").exists()
    assert (tmp_path / "died").exists()

    rows = dataset(tmp_path / "rows").to_table().to_pylist()
    numbers = {"black.png": [None], "drawn.png": [0], "one.png": [0], "two.png": [0, 1]}
    parser, annotations = FaceParser.from_checkpoint(SHIPPED), 0
    for path in paths:
        own = sorted((row for row in rows if row["path"] == path), key=lambda row: row["face"] or 0)
        if path == "broken.png":
            reason = f"image {path}: cannot be read (not a picture); replace or remove it"
            assert [row["error"] for row in own] == [reason]
            continue
        assert [row["face"] for row in own] == numbers[path]
        faces = parser(tmp_path / path)
        assert [row["error"] for row in own] == [None] * len(own)
        for row, found in zip(own, faces, strict=bool(faces)):
            annotations += len(found.attributes)
            np.testing.assert_allclose(row["box"], found.box, atol=0.01)
            assert [a["name"] for a in row["attributes"]] == [*found.attributes]
            for attribute in row["attributes"]:
                assert attribute["area"] == found.attributes[attribute["name"]].area
                np.testing.assert_allclose(attribute["keypoints"], found.keypoints[attribute["name"]], atol=0.01)
            np.testing.assert_array_equal(np.array(Image.open(BytesIO(row["mask"]))), found.mask)

    coco = COCO(tmp_path / "annotations.json")
    assert [image["file_name"] for image in coco.dataset["images"]] == [p for p in paths if p != "broken.png"]
    assert len(coco.getAnnIds()) == annotations
    assert {a["face"] for a in coco.loadAnns(coco.getAnnIds())} == {0, 1}
