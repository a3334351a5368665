"""What photos suffer that CelebAMask-HQ's do not: they are tilted, blurred, noisy, compressed or without colour."""

import albumentations as A
import cv2

from facekp.classes import IGNORE_INDEX

SMOOTH = {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR}


def turn(degrees: float) -> A.Rotate:
    """Return a transform that turns image and label about their middle by up to `degrees` either way.

    What comes in at the corners is black, and 255 in the label.
    """
    return A.Rotate(
        limit=(-degrees, degrees),
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_NEAREST,
        border_mode=cv2.BORDER_CONSTANT,
        fill=0,
        fill_mask=IGNORE_INDEX,
        p=1,
    )


def defects(share: float) -> A.OneOf:
    """Return a transform that gives a `share` of the images one defect, each as likely; labels stay as they are."""
    return A.OneOf(
        [
            A.GaussianBlur(blur_limit=0, sigma_limit=(0.5, 2.0), p=1),
            # Straight through the middle: the image must not move from under its label.
            A.MotionBlur(blur_limit=(3, 9), allow_shifted=False, direction_range=(0, 0), p=1),
            A.Downscale(scale_range=(0.3, 0.7), interpolation_pair=SMOOTH, p=1),
            A.ImageCompression(quality_range=(20, 70), p=1),
            A.GaussNoise(std_range=(0.02, 0.08), p=1),
            A.ToGray(p=1),
            A.RandomGamma(gamma_limit=(40, 200), p=1),
        ],
        p=share,
    )
