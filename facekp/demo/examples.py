"""The page's example photos: a public-domain portrait, and drawn faces."""

from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from facekp.data.synthetic.write import draw_face

PORTRAIT: Final = Path(__file__).parent / "astronaut.jpg"
"""Eileen Collins; by NASA, in the public domain."""
HEAD_AND_SHOULDERS: Final = (70, 0, 430, 360)
"""The part of it that the page shows: left, upper, right, lower."""
GLASSES_AND_HAT: Final = 61
"""Seed of a drawn face with both."""
GROUP: Final = ((35, 29), (13, 5))
"""Seeds of the faces in a drawn group, row by row."""


def write_examples(folder: Path) -> list[Path]:
    """Write the portrait, a drawn face with glasses and a hat, and a drawn group of four into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    portrait, drawn, group = folder / PORTRAIT.name, folder / "glasses_and_hat.jpg", folder / "group.jpg"
    Image.open(PORTRAIT).crop(HEAD_AND_SHOULDERS).save(portrait, quality=92)
    Image.fromarray(draw_face(GLASSES_AND_HAT).image).save(drawn, quality=92)
    rows = [np.concatenate([draw_face(seed, 400).image for seed in row], axis=1) for row in GROUP]
    Image.fromarray(np.concatenate(rows)).save(group, quality=92)
    return [portrait, drawn, group]
