"""Record what MediaPipe's own package sees in `examples/`, which `test_landmarker.py` compares our tracker with.

    pip install mediapipe==1.2.3
    python -m tests.face.record_reference

MediaPipe is not installed with this product. It reports its use over the network, so that tests do not run it.
"""

from __future__ import annotations

from pathlib import Path

import av
import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision

from icface.face.landmarker import MODEL_PATH
from icface.images import load_photo
from tests.face.test_landmarker import EVERY, REFERENCE


def open_landmarker(mode: vision.RunningMode) -> vision.FaceLandmarker:
    return vision.FaceLandmarker.create_from_options(
        vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_buffer=MODEL_PATH.read_bytes()),
            running_mode=mode,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
    )


def main() -> None:
    examples = Path(__file__).resolve().parents[2] / "examples"
    results = []
    landmarker = open_landmarker(vision.RunningMode.VIDEO)
    with av.open(str(examples / "driver.mp4")) as container:
        for index, picture in enumerate(container.decode(video=0)):
            frame = np.ascontiguousarray(picture.to_ndarray(format="rgb24"))
            image = mp.Image(image_format=mp.ImageFormat.SRGB, data=frame)
            result = landmarker.detect_for_video(image, round(1000 * float(picture.time)) + 1)
            if index % EVERY == 0:
                results.append((result, frame))
    photo = load_photo(examples / "rendered.jpg").frame
    still = open_landmarker(vision.RunningMode.IMAGE)
    results.append((still.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=photo)), photo))
    points, scores, matrices = [], [], []
    for result, frame in results:
        height, width = frame.shape[:2]
        (face,) = result.face_landmarks
        points.append([(p.x * width, p.y * height, p.z * width) for p in face])
        scores.append([category.score for category in result.face_blendshapes[0]])
        matrices.append(result.facial_transformation_matrixes[0])
    np.savez_compressed(
        REFERENCE,
        points_px=np.round(np.array(points, dtype=np.float32), 2),
        blendshapes=np.round(np.array(scores, dtype=np.float32), 4),
        matrices=np.array(matrices, dtype=np.float32),
    )
    print(f"{len(results)} pictures -> {REFERENCE}")


if __name__ == "__main__":
    main()
