"""A photo of many faces to time `FaceParser` on: crops and scores are made up, all other work is as on a real one."""

from collections.abc import Callable

import numpy as np

from benchmarks.predict import drawn_scores
from facekp.images import UInt8Array
from facekp.keypoints.score_grid import Scores
from facekp.parsing.backends import Backend
from facekp.parsing.face import Face
from facekp.parsing.face_crop import Crop
from facekp.parsing.parser import FaceParser

COLUMNS = 4
"""Faces side by side; each is as large as a photo of 4 x 4 has room for, however many there are."""


class CrowdBackend:
    """A network's work, and for its answer a drawn face in every view but one: the photo as a whole is no face.

    Args:
        backend: the network.
        whole: (h, w, 3) uint8 RGB, that photo as the network sees it.
    """

    def __init__(self, backend: Backend, whole: UInt8Array) -> None:
        self.backend, self.whole = backend, whole
        self.size, self.batch, self.streams = backend.size, backend.batch, backend.streams
        self.scores = drawn_scores(backend.size)

    def __call__(self, images: UInt8Array) -> list[Scores]:
        """Run the network, and return the scores of a drawn face, or of background."""
        self.backend(images)
        faces = np.array([not np.array_equal(image, self.whole) for image in images])
        return [scores * faces[:, None, None, None] for scores in self.scores]


def place_faces(faces: int, side: int) -> list[Crop]:
    """Return the crops of so many faces in a photo of `side` x `side` pixels, row by row; 16 at most."""
    places = [divmod(number, COLUMNS) for number in range(faces)]
    cell = side / COLUMNS
    return [Crop(complex(column, row) * cell, cell) for row, column in places]


def prepare_crowd(backend: Backend, faces: int, side: int) -> Callable[[], list[Face]]:
    """Return a call that finds and parses the faces in a photo of `side` x `side` pixels, as `FaceParser` does.

    It looks at every crop and at the photo, frames each face anew, looks again, and puts the faces back. The detector's
    own time is not in it.

    The call raises RuntimeError where it finds more or fewer faces, for then it measures something else.
    """
    photo = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    crops = place_faces(faces, side)
    drawn = CrowdBackend(backend, FaceParser(backend).stages.resized(photo))
    parser = FaceParser(drawn, detector=lambda _: crops)

    def call() -> list[Face]:
        found = parser(photo, align="auto")
        if len(found) != faces:
            raise RuntimeError(f"{len(found)} faces came out of a photo of {faces}")
        return found

    return call
