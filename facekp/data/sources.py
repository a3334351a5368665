"""From the `data` settings to a folder in the prepared layout."""

import hashlib
from pathlib import Path

from facekp.config import DataConfig
from facekp.data.layout import HOW_TO_GET, INDEX, SPLITS, recognise
from facekp.data.prepare.build import prepare
from facekp.data.synthetic import REVISION
from facekp.errors import ConfigError
from facekp.files import expand, make_folder, only_one


def check_source(config: DataConfig) -> None:
    """Raise within milliseconds if the data set cannot be there.

    Raises:
        ConfigError: no `data.root`.
        DataError: a folder that is missing or in neither layout.
    """
    if config.source == "synthetic":
        return
    if config.root is None:
        raise ConfigError(f"data.root is not set, nor the environment variable FACEKP_DATA: {HOW_TO_GET}")
    recognise(expand(config.root))


def prepared_root(config: DataConfig) -> Path:
    """Return the folder of the prepared data set, drawing or preparing it first where needed.

    An official folder is prepared at 512 pixels into `config.cache`, and synthetic faces are drawn there at
    `config.size`; both are there at once the next time.

    Raises:
        ConfigError: no `data.root`.
        DataError: a data set that is missing or damaged, or a cache that cannot be written.
    """
    check_source(config)
    cache = expand(config.cache)
    if config.source == "synthetic":
        return _synthetic(config, cache)
    root = expand(config.root or "")
    if recognise(root) == "prepared":
        return root
    out = cache / f"celebamask-hq-{_digest(str(root.resolve()))}"
    if not (out / INDEX).is_file():
        print(f"data.root is '{root}', the official layout: preparing it into '{out}', once")
    done = prepare(root, out)
    if done.written:
        print(done.text)
    return out


def _synthetic(config: DataConfig, cache: Path) -> Path:
    counts = {split: getattr(config, f"synthetic_{split}") for split in SPLITS}
    folder = cache / f"synthetic-{_digest(repr((counts, config.synthetic_seed, config.size, REVISION)))}"
    raw, out = folder / "raw", folder / "prepared"
    with only_one(make_folder(folder)):
        # The folder's name says all that the faces depend on, so a finished one is right.
        if not (out / INDEX).is_file():
            from facekp.data.synthetic.write import write_synthetic  # only drawing needs it

            print(f"data.source is 'synthetic': drawing {sum(counts.values())} faces into '{out}', once")
            write_synthetic(raw, counts, config.synthetic_seed, config.size)
            prepare(raw, out, size=config.size)
    return out


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
