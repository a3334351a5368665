"""Resolution of the `data` settings to a folder in the prepared layout."""

import hashlib
from pathlib import Path

from facekp.config import DataConfig
from facekp.data.layout import INDEX, SPLITS, check_source, recognise
from facekp.data.prepare.build import prepare
from facekp.data.prepare.sets.celebamask_hq import describe_official
from facekp.data.synthetic import REVISION
from facekp.files import exclusive_lock, expand, make_folder


def prepared_root(config: DataConfig) -> Path:
    """Return the folder of the prepared data set, drawn or prepared first if needed.

    An official folder is prepared at 512 pixels and synthetic faces are drawn at `config.size`, both in `config.cache`
    for later calls to reuse. An official folder is known by the names and sizes of its files, wherever it is.

    Raises:
        ConfigError: no `data.root`.
        DataError: the data set is missing or damaged, or the cache cannot be written.
    """
    root, cache = check_source(config), expand(config.cache)
    if root:
        if recognise(root) == "prepared":
            return root
        out = cache / f"celebamask-hq-{_digest(describe_official(root))}"
        if not (out / INDEX).is_file():
            print(f"data.root is '{root}', the official layout: preparing it into '{out}', once")
            print(prepare(root, out).text)
        return out
    counts = {split: getattr(config, f"synthetic_{split}") for split in SPLITS}
    folder = cache / f"synthetic-{_digest(repr((counts, config.synthetic_seed, config.size, REVISION)))}"
    raw, out = folder / "raw", folder / "prepared"
    with exclusive_lock(make_folder(folder)):
        # The folder's name encodes everything that the faces depend on, so a finished folder is valid.
        if not (out / INDEX).is_file():
            from facekp.data.synthetic.write import write_synthetic  # only drawing needs it

            print(f"data.source is 'synthetic': drawing {sum(counts.values())} faces into '{out}', once")
            write_synthetic(raw, counts, config.synthetic_seed, config.size)
            prepare(raw, out, size=config.size)
    return out


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
