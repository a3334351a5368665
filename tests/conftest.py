"""Seeding, the real faces, a tiny prepared data set and runs on it, for every test file.

Fixtures import what they use: the process that hands out the tests loads this file too, and imports take 10 s.
"""

import gc
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

# Before torch is imported. Two processes of two threads each on two cores wait for each other, up to 40 times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
REPOSITORY = Path(__file__).parents[1]
PORTRAIT = REPOSITORY / "docs" / "astronaut.jpg"
"""A public-domain photo, 512 x 512."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests of a GPU without one."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector what is imported: it would search a million objects again and again."""
    gc.disable()
    found = yield
    gc.freeze()
    gc.enable()
    return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first, so that of two processes none waits long for the other at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Give every test the same random numbers, whichever tests run before it, and leave no thread setting behind."""
    import torch

    threads = torch.get_num_threads()
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def real_root() -> Path:
    """Return the folder of real faces in the prepared layout: $FACEKP_DATA, or ../shared/celebamask-hq."""
    root = Path(os.environ.get("FACEKP_DATA") or REPOSITORY.parent / "shared" / "celebamask-hq")
    if not (root / "index.csv").is_file():
        pytest.skip(f"no real faces: {root} has no index.csv; set FACEKP_DATA to a prepared CelebAMask-HQ")
    return root


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a prepared data set of 12 training, 3 validation and 2 test "faces" of random ellipses; 96 x 96 pixels."""
    import numpy as np
    from PIL import Image

    root = tmp_path_factory.mktemp("tiny")
    (root / "images").mkdir()
    (root / "labels").mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :96]
    for i in range(17):
        label = np.zeros((96, 96), np.uint8)
        for class_id in (1, 13, 2, 4, 5, 11):
            (cy, cx), (ry, rx) = rng.uniform(20, 76, 2), rng.uniform(6, 30, 2)
            label[((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1] = class_id
        colours = rng.integers(0, 256, (19, 3))
        image = np.clip(colours[label] + rng.normal(0, 8, (96, 96, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(root / "images" / f"{i:05d}.jpg", quality=95)
        Image.fromarray(label).save(root / "labels" / f"{i:05d}.png")
    rows = [f"{i:05d},{split}" for i, split in enumerate(["train"] * 12 + ["val"] * 3 + ["test"] * 2)]
    (root / "index.csv").write_text("\n".join(["id,split", *rows]) + "\n", encoding="utf-8")
    return root


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a checkpoint of a network with random weights, as training would."""
    import torch

    from facekp.models import build_model
    from facekp.weights.checkpoint import KEY, describe

    torch.manual_seed(1)
    net = build_model("resnet18")
    path = tmp_path_factory.mktemp("ckpt") / "best.ckpt"
    weights = {f"net.{name}": value for name, value in net.state_dict().items()}
    torch.save({KEY: describe({"name": "resnet18", "pretrained": False}, 64), "state_dict": weights}, path)
    return path


@pytest.fixture(scope="session")
def straight(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that nothing interrupted."""
    from runs import settings, train

    return train(settings(tiny_root, tmp_path_factory.mktemp("runs") / "straight"))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the plots out of comparisons: they take seconds."""
    monkeypatch.setattr("facekp.compare.report.draw_plots", lambda runs, table: [])


@pytest.fixture(scope="session")
def train_py(tiny_root: Path) -> Callable[..., None]:
    """Return a function that runs train.py in a folder, in this process, and checks its exit status."""
    from runs import run_train

    def run(*arguments: str, cwd: Path, ends: int = 0) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(cwd)
            try:
                run_train(f"data.root={tiny_root}", *arguments)
            except SystemExit as end:
                assert end.code == ends  # noqa: PT017
            else:
                assert ends == 0

    return run
