"""The notebooks of the docs run, and show what their text says."""

import ast
import base64
import os
import re
from io import BytesIO

import pytest
from PIL import Image
from runs import REPOSITORY

from facekp.parsing.overlay import LEGIBLE_SIDE

nbformat = pytest.importorskip("nbformat")
bs4 = pytest.importorskip("bs4")
nbclient = pytest.importorskip("nbclient")
NOTEBOOKS = sorted((REPOSITORY / "docs" / "notebooks").glob("*.ipynb"))


def executed(name, folder, monkeypatch):
    """Return a notebook with the outputs of a run in `folder`."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(REPOSITORY / "docs" / "notebooks" / f"{name}.ipynb", as_version=4)
    monkeypatch.setenv("TMPDIR", str(folder))
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def shown(notebook, kind, of):
    """Yield the outputs of a kind, "stdout" or a MIME type, of the cells whose code contains `of`."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and of in cell.source:
            for output in cell.outputs:
                if output.output_type == "stream" and output.name == kind:
                    yield output.text
                elif output.output_type != "stream" and kind in output.data:
                    yield output.data[kind]


def picture(notebook, of):
    (png,) = shown(notebook, "image/png", of)
    return Image.open(BytesIO(base64.b64decode(png)))


def column(notebook, of, key, name):
    """Return a column of the table that a cell shows, by the cells of the column `key`, "" for the index."""
    (html,) = shown(notebook, "text/html", of)
    rows = bs4.BeautifulSoup(html, "html.parser").find_all("tr")
    head, *cells = ([cell.text.strip() for cell in row.find_all(["th", "td"])] for row in rows)
    return {row[head.index(key)]: float(row[head.index(name)]) for row in cells}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_without_outputs(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


@pytest.mark.slow
def test_parse_a_photo(tmp_path, monkeypatch):
    notebook = executed("parse_a_photo", tmp_path, monkeypatch)
    assert not any(shown(notebook, "stderr", ""))
    overlay = picture(notebook, "FaceParser()")
    assert overlay.height == LEGIBLE_SIDE  # the photo, enlarged, and its legend
    assert overlay.width > LEGIBLE_SIDE
    grey = picture(notebook, "face.alpha").convert("RGB")
    assert len(set(grey.getpixel((20, 300)))) == 1  # the flag
    assert len(set(grey.getpixel((223, 122)))) == 3  # the nose
    (text,) = shown(notebook, "text/plain", "face.region")
    sizes = ast.literal_eval(text)
    areas = column(notebook, "num_keypoints", "name", "area")
    assert sizes["hair"] == areas["hair"]
    assert (
        sizes["body"] >= areas["neck"] + areas["cloth"] > 10_000
    )  # parts too small for an outline are not in the file
    (line,) = shown(notebook, "stdout", "def distance")
    inner, outer = map(float, re.findall(r"[\d.]+", line))
    assert (inner, outer) == pytest.approx((26, 60), abs=3)  # measured on the photo


@pytest.mark.slow
def test_train_and_compare(tmp_path, monkeypatch):
    notebook = executed("train_and_compare", tmp_path, monkeypatch)
    assert not any(shown(notebook, "stderr", ""))
    scores = [float(text) for text in shown(notebook, "text/plain", "train(settings(")]
    assert len(scores) == 3
    assert scores[2] > 1.5 * max(scores[:2])  # what begins with weights is ahead
    (verdict,) = shown(notebook, "text/markdown", "compare([")
    assert f"Best mIoU: fpn init=shipped with {scores[2]:.3f}, " in verdict
    assert "> Different init:" in verdict
    (plot,) = shown(notebook, "image/svg+xml", "SVG(")
    assert plot.count("mIoU") >= 1
    tabled = column(notebook, "best.mean_f1", "", "best.miou")
    assert tabled == pytest.approx(dict(zip(("resnet18", "pyramid", "pyramid-shipped"), scores, strict=True)), abs=1e-5)
    assert picture(notebook, "align=").size > (256, 256)
    assert {path.name for path in next(tmp_path.rglob("pyramid")).iterdir()} >= {"metrics.csv", "metrics.json"}
