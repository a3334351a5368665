"""The benchmark of preparation: faces stored as the download has them give the labels that they were drawn with."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.preparation import main, store_as_downloaded
from facekp.data.prepare.official import composite, list_masks, load_mask
from facekp.data.synthetic.write import write_synthetic


def test_a_face_is_stored_as_celebamask_hq_is(tmp_path: Path):
    drawn, stored = tmp_path / "drawn", tmp_path / "stored"
    write_synthetic(drawn, {"train": 1})
    store_as_downloaded(drawn, stored, 0)
    with Image.open(stored / "CelebA-HQ-img" / "0.jpg") as image:
        assert (image.size, image.mode) == ((1024, 1024), "RGB")
    labels = []
    for root in (drawn, stored):
        masks = list_masks(root)[0][0]
        labels.append(composite({class_id: load_mask(path) for class_id, path in masks.items()}, 512))
    with Image.open(masks[1]) as mask:
        assert (mask.size, mask.mode) == ((512, 512), "RGB")
    assert np.array_equal(*labels)


@pytest.mark.slow
def test_processes_and_threads_are_measured_on_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    main(["faces=2", "workers=1", f"folder={tmp_path}"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"{stored}, 1 {how}"
        for stored in ("as drawn (512 pixels, one channel)", "as downloaded (1024, three channels)")
        for how in ("processes", "threads")
    ]
    assert all("images/s" in line and "30,000 images: " in line for line in lines)
