"""Other parsers' ONNX files: networks made by hand that read the class of a pixel from its grey value."""

import json

import numpy as np
import pytest
from PIL import Image

from facekp.classes import CELEBAMASK_HQ
from facekp.data.class_sets import NAMED
from facekp.errors import CheckpointError, ConfigError
from facekp.evaluate import main
from facekp.parsing.foreign import Foreign, ForeignBackend

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

BLOCKS = {"background": 0, "skin": 10, "l_eye": 40, "hair": 130}
"""Grey values of the image's quarters; each class has ten times its id."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grey")
    ids = np.array([[0, 1], [4, 13]], np.uint8).repeat(32, 0).repeat(32, 1)
    for name, pixels in (("images/0.jpg", np.repeat(ids[..., None] * 10, 3, 2)), ("labels/0.png", ids)):
        (folder / name).parent.mkdir()
        Image.fromarray(pixels).save(folder / name, quality=95)
    (folder / "index.csv").write_text("id,split\n0,val\n")
    return folder


def write_network(path, order, kind):
    """Write a network whose score for a class is 2vx - v**2, highest where the value x is nearest to the class's v."""
    helper, tensor = onnx.helper, onnx.TensorProto
    values = 10.0 * np.array([CELEBAMASK_HQ.index(name) for name in order.names])
    if kind == "scores":
        values = values / 127.5 - 1  # with mean and std of 0.5
    weights = np.zeros((len(values), 3, 1, 1), np.float32)
    weights[:, 0, 0, 0] = 2 * values
    constants = [onnx.numpy_helper.from_array(weights, "w"),
                 onnx.numpy_helper.from_array((-(values**2)).astype(np.float32), "b")]  # fmt: skip
    if kind == "scores":
        nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y"])]
        given = helper.make_tensor_value_info("x", tensor.FLOAT, [1, 3, 64, 64])
        returned = helper.make_tensor_value_info("y", tensor.FLOAT, [1, len(values), 64, 64])
    else:
        nodes = [
            helper.make_node("Cast", ["x"], ["f"], to=tensor.FLOAT),
            helper.make_node("Transpose", ["f"], ["t"], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", ["t", "w", "b"], ["s"]),
            helper.make_node("ArgMax", ["s"], ["y"], axis=1, keepdims=0),
        ]
        given = helper.make_tensor_value_info("x", tensor.UINT8, ["n", "h", "w", 3])
        returned = helper.make_tensor_value_info("y", tensor.INT64, ["n", "h", "w"])
    graph = helper.make_graph(nodes, "grey", [given], [returned], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("kind", ["scores", "labels"])
def test_its_classes_are_found_by_its_ids(kind, root, tmp_path, capsys):
    path, out = write_network(tmp_path / "other.onnx", NAMED["zllrunning"], kind), tmp_path / "scores.json"
    given = [f"ckpt={path}", f"data.root={root}", "data.workers=0", "size=64", f"out={out}"]
    normal = ["mean=[0.5,0.5,0.5]", "std=[0.5,0.5,0.5]"]
    main([*given, *normal, "ids=zllrunning"])
    f1 = json.loads(out.read_text())["f1"]
    assert {name: f1[name] for name in BLOCKS} == dict.fromkeys(BLOCKS, 1.0)
    # In CelebAMask-HQ's order, 17 is not hair but the neck; 0, 1 and 4 are the same in both.
    main([*given, *normal, "ids=celebamask"])
    f1 = json.loads(out.read_text())["f1"]
    assert (f1["skin"], f1["l_eye"], f1["hair"], f1["neck"]) == (1.0, 1.0, 0.0, 0.0)


def test_files_and_ids_that_do_not_fit_are_named(root, tmp_path):
    path = write_network(tmp_path / "other.onnx", NAMED["zllrunning"], "scores")
    said = r"returns \(1, 19, 64, 64\), not labels or scores of 11 classes: check ids"
    with pytest.raises(CheckpointError, match=said):
        ForeignBackend(path, Foreign(NAMED["lapa"], [0.5] * 3, [0.5] * 3))(np.zeros((1, 64, 64, 3), np.uint8))
    given = [f"ckpt={path}", f"data.root={root}", f"out={tmp_path / 'scores.json'}"]
    with pytest.raises(CheckpointError, match="not an ONNX file exported by facekp"):
        main(given)
    with pytest.raises(ConfigError, match="ids is 'zll': give celebamask, lapa, zllrunning"):
        main([*given, "ids=zll"])
    with pytest.raises(ConfigError, match="ids is 'lapa': for an ONNX file"):
        main(["ids=lapa"])
    with pytest.raises(ConfigError, match=r"std is \[0.5, 0.0, 0.5\]: give three positive numbers"):
        main([*given, "ids=lapa", "std=[0.5,0,0.5]"])
