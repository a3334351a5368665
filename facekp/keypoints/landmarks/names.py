"""Names of the landmarks, and their numbers in the 68-point scheme.

`r_` and `l_` are the *subject's* right and left, as in the attributes' names: r_eye, points 36 to 41, lies on the left
of an image.

Reference: Sagonas et al. 2013, 300 Faces in-the-Wild Challenge (iBUG); numbers from 0, as dlib and OpenCV count them.
"""

from typing import Final

Names = tuple[str, ...]

JAW: Final[Names] = (*(f"r_jaw_{k}" for k in range(1, 9)), "chin", *(f"l_jaw_{k}" for k in range(8, 0, -1)))
"""0-16: from the subject's right eye's height down to the chin, and up on the left."""

BROWS: Final[dict[str, Names]] = {
    "r": ("r_brow_outer", "r_brow_outer_arch", "r_brow_peak", "r_brow_inner_arch", "r_brow_inner"),
    "l": ("l_brow_inner", "l_brow_inner_arch", "l_brow_peak", "l_brow_outer_arch", "l_brow_outer"),
}
"""17-21 and 22-26, from the image's left to its right."""

NOSE: Final[Names] = (
    *("nose_root", "nose_bridge_upper", "nose_bridge_lower", "nose_tip"),
    *("r_nose_wing", "r_nostril", "nose_base", "l_nostril", "l_nose_wing"),
)
"""27-30 down the ridge, 31-35 along the lower edge."""

EYES: Final[dict[str, Names]] = {
    "r": (
        *("r_eye_outer", "r_eye_upper_outer", "r_eye_upper_inner"),
        *("r_eye_inner", "r_eye_lower_inner", "r_eye_lower_outer"),
    ),
    "l": (
        *("l_eye_inner", "l_eye_upper_inner", "l_eye_upper_outer"),
        *("l_eye_outer", "l_eye_lower_outer", "l_eye_lower_inner"),
    ),
}
"""36-41 and 42-47, from the corner on the image's left, clockwise."""

LIPS: Final[Names] = (
    *("r_mouth_corner", "r_upper_lip_side", "r_upper_lip_peak", "upper_lip_centre"),
    *("l_upper_lip_peak", "l_upper_lip_side", "l_mouth_corner", "l_lower_lip_side"),
    *("l_lower_lip_middle", "lower_lip_centre", "r_lower_lip_middle", "r_lower_lip_side"),
)
"""48-59, the outer edge of the lips, from the corner on the image's left, clockwise."""

INNER_LIPS: Final[Names] = (
    *("r_inner_mouth_corner", "r_inner_upper_lip", "inner_upper_lip_centre", "l_inner_upper_lip"),
    *("l_inner_mouth_corner", "l_inner_lower_lip", "inner_lower_lip_centre", "r_inner_lower_lip"),
)
"""60-67, the inner edge of the lips, likewise."""

EARS: Final[dict[str, Names]] = {side: (f"{side}_ear_top", f"{side}_ear_outer", f"{side}_ear_lobe") for side in "rl"}
"""Without numbers."""

PARTS: Final = (JAW, *BROWS.values(), NOSE, *EYES.values(), LIPS, INNER_LIPS, *EARS.values())
"""The landmarks of a part are either all present or all absent."""

_IBUG = (*JAW, *BROWS["r"], *BROWS["l"], *NOSE, *EYES["r"], *EYES["l"], *LIPS, *INNER_LIPS)

NUMBERS: Final[dict[str, int | None]] = {
    **{name: number for number, name in enumerate(_IBUG)},
    **dict.fromkeys((*EARS["r"], *EARS["l"])),
}
"""Number of every landmark, 0..67 or None, in the order of `Face.landmarks`."""
