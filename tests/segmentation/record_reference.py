"""Record what MediaPipe's own package makes of `examples/`, which `test_segmenters.py` compares our networks with.

    pip install mediapipe==1.2.3
    python -m tests.segmentation.record_reference ../shared/models

MediaPipe is not installed with this product. It reports its use over the network, so that tests do not run it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision

from tests.segmentation.test_segmenters import EVERY_PX, HAIR_PX, PERSON_PX, REFERENCE, portrait


def mask_of(path: Path, image: mp.Image) -> Any:
    options = vision.ImageSegmenterOptions(
        base_options=BaseOptions(model_asset_path=str(path)),
        output_confidence_masks=True,
        output_category_mask=False,
    )
    with vision.ImageSegmenter.create_from_options(options) as segmenter:
        return segmenter.segment(image).confidence_masks[-1].numpy_view().squeeze().copy()


def main(models: Path) -> None:
    rgba = cv2.cvtColor(portrait(HAIR_PX), cv2.COLOR_RGB2RGBA)
    rgba[..., 3] = 0  # the mask of a frame before
    masks = {
        "person": mask_of(
            models / "selfie_segmentation.tflite",
            mp.Image(image_format=mp.ImageFormat.SRGB, data=portrait(PERSON_PX)),
        ),
        "hair": mask_of(
            models / "hair_segmenter_meta.tflite", mp.Image(image_format=mp.ImageFormat.SRGBA, data=rgba)
        ),
    }
    kept = {name: np.round(mask[::EVERY_PX, ::EVERY_PX], 4) for name, mask in masks.items()}
    np.savez_compressed(REFERENCE, person=kept["person"], hair=kept["hair"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
