"""The page's example photos: a public-domain portrait, and drawn faces."""

import shutil
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from facekp.data.synthetic.write import draw_face

PORTRAIT: Final = Path(__file__).parent / "astronaut.jpg"
"""Eileen Collins; by NASA, in the public domain."""
GLASSES_AND_HAT: Final = 61
"""Seed of a drawn face with both."""
GROUP: Final = ((0, 1), (2, 3))
"""Seeds of the faces in a drawn group, row by row."""


def write_examples(folder: Path) -> list[Path]:
    """Write the portrait, a drawn face with glasses and a hat, and a drawn group of four into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    portrait, drawn, group = folder / PORTRAIT.name, folder / "glasses_and_hat.jpg", folder / "group.jpg"
    shutil.copyfile(PORTRAIT, portrait)
    Image.fromarray(draw_face(GLASSES_AND_HAT).image).save(drawn, quality=92)
    rows = [np.concatenate([draw_face(seed, 400).image for seed in row], axis=1) for row in GROUP]
    Image.fromarray(np.concatenate(rows)).save(group, quality=92)
    return [portrait, drawn, group]
