"""The page's example photos: a public-domain portrait, and drawn faces."""

from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from facekp.data.synthetic.write import draw_face

PORTRAIT: Final = Path(__file__).parent / "astronaut.jpg"  # Eileen Collins; by NASA, in the public domain


def write_examples(folder: Path) -> list[Path]:
    """Write the portrait, a drawn face with glasses and a hat, and a drawn group of four into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    portrait, drawn, group = folder / PORTRAIT.name, folder / "glasses_and_hat.jpg", folder / "group.jpg"
    Image.open(PORTRAIT).crop((70, 0, 430, 360)).save(portrait, quality=92)  # head and shoulders
    Image.fromarray(draw_face(seed=61).image).save(drawn, quality=92)
    seeds = ((35, 29), (13, 5))
    rows = [np.concatenate([draw_face(seed, 400).image for seed in row], axis=1) for row in seeds]
    Image.fromarray(np.concatenate(rows)).save(group, quality=92)
    return [portrait, drawn, group]
