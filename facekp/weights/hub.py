"""Folders in the layout of the Hugging Face Hub: model.safetensors, config.json and README.md, the model card."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import yaml  # type: ignore[import-untyped,unused-ignore]  # no stubs in the wheel
from tabulate import tabulate

from facekp.classes import Classes
from facekp.errors import CheckpointError, ConfigError
from facekp.files import begins_with, expand, keep_foreign, make_folder, write_file
from facekp.weights.checkpoint import write_weights, written_files
from facekp.weights.load import load_network
from facekp.weights.paths import CONFIG, MODEL

CARD: Final = "README.md"  # name of the model card in a folder
MARK: Final = rb"---\nlibrary_name: facekp\n"  # first bytes of the model card
INSTALL: Final = "pip install 'facekp[hub]'"


def fetch(name: str | Path, **options: Any) -> Path:
    """Return the folder of a model: `name` if that is a folder, else of "user/name" on the hub, or in its cache.

    `options` are those of `huggingface_hub.snapshot_download`, such as `revision`, `cache_dir` and `local_files_only`.

    Raises:
        ConfigError: huggingface_hub is not installed.
        CheckpointError: no such folder or model, or the hub cannot be reached.
    """
    if (folder := expand(str(name))).is_dir():
        return folder
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise ConfigError(f"'{name}' is no folder, and a model of the hub needs huggingface_hub: {INSTALL}") from error
    try:
        return Path(snapshot_download(str(name), allow_patterns=[MODEL, CONFIG], **options))
    except HFValidationError as error:
        raise CheckpointError(f"model '{name}': no such folder, and no 'user/name' of the hub; check it") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = f"cannot be fetched ({str(error).strip().splitlines()[0]})"
        raise CheckpointError(f"model '{name}': {reason}; check its name and the network") from error


def save(ckpt: str | Path, folder: Path, *, overwrite: bool = False) -> None:
    """Write the network of a checkpoint, its description and its model card into a folder.

    Raises:
        CheckpointError: see `load_network`; or an ONNX file.
        DataError: the folder cannot be written, or has files of these names that facekp did not write.
    """
    if Path(ckpt).suffix == ".onnx":
        raise CheckpointError(f"checkpoint '{ckpt}': an ONNX file; save the .ckpt that it was exported from")
    model = folder / MODEL
    keep_foreign(written_files(model) | {folder / CARD: begins_with(MARK)}, overwrite=overwrite)
    make_folder(folder)
    net, about = load_network(ckpt)
    write_weights(net, about, model)
    write_file(folder / CARD, model_card(about))


def push(ckpt: str | Path, name: str, *, private: bool = False, **options: Any) -> str:
    """Upload the network of a checkpoint to "user/name" on the hub, which is created if it is missing; return its URL.

    `options` are those of `huggingface_hub.HfApi.upload_folder`, such as `commit_message` and `revision`.

    Raises:
        ConfigError: huggingface_hub is not installed.
        CheckpointError: see `save`.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise ConfigError(f"push_to_hub needs huggingface_hub: {INSTALL}") from error
    api, token = HfApi(), options.get("token")
    with TemporaryDirectory() as folder:
        save(ckpt, Path(folder))
        url = api.create_repo(name, private=private, exist_ok=True, token=token)
        api.upload_folder(repo_id=name, folder_path=folder, **options)
    return str(url)


def model_card(about: Mapping[str, Any]) -> str:
    """Return the model card of a network from its description: metadata as the hub reads it, classes, terms and scores.

    The metadata names no data set that the description does not: neither under `datasets` nor, with the scores, as what
    they were measured on. Without `terms` the licence is "unknown".
    """
    network, scores, terms = about["model"]["name"], about.get("scores"), about.get("terms")
    classes, dataset = Classes.from_plain(about["classes"]), about.get("dataset")
    metadata: dict[str, Any] = {
        "library_name": "facekp",
        "license": "other" if terms else "unknown",
        "pipeline_tag": "image-segmentation",
        "tags": ["face-parsing", "semantic-segmentation", "keypoint-detection"],
        "metrics": ["mean_iou", "f1", "accuracy"],
    }
    if dataset:
        metadata["datasets"] = [dataset]
    if dataset and scores:
        values = {"mean_iou": scores["miou"], "f1": scores["mean_f1"], "accuracy": scores["pixel_accuracy"]}
        result = {
            "task": {"type": "image-segmentation"},
            "dataset": {"name": dataset, "type": dataset, "split": scores["split"]},
            "metrics": [{"type": name, "value": round(value, 4)} for name, value in values.items()],
        }
        metadata["model-index"] = [{"name": network, "results": [result]}]
    measured = ""
    if scores:
        rows = [(name, iou, scores["f1"][name]) for name, iou in scores["iou"].items()]
        rows = [("mean", scores["miou"], scores["mean_f1"]), *rows]
        table = tabulate(rows, ["class", "IoU", "F1"], tablefmt="github", floatfmt=".3f", missingval="absent")
        where = f"{scores['images']} images of {scores['split']} at {scores['size']} pixels"
        measured = f"\n## Scores\n\n{where}.\n\n{table}\n"
    trained = f" It was trained on {dataset}." if dataset else ""
    sides = " Left and right are the person's own." if classes.pairs else ""
    return f"""---
{yaml.safe_dump(metadata, sort_keys=False)}---

# {network}

Parses a face photo into {len(classes)} classes, and gives key points of each of them, with facekp.{trained}

```python
from facekp import FaceParser

faces = FaceParser.from_pretrained("user/name")("photo.jpg")  # this folder, or its name on the hub
```

Evaluated at {about["size"]} pixels.

## Classes

{", ".join(classes.names)}.{sides}

## Terms

{terms or "The weights state none: those of the data that they were trained on apply."}

Do not use the weights to identify, monitor or judge people.
{measured}"""
