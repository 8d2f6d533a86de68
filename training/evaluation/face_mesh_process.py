# SPDX-License-Identifier: GPL-3.0-or-later
"""mediapipe's face mesh as a process of its own: pictures in on stdin, points and person masks out on stdout.

Needs numpy and mediapipe only, so that it can run in another environment than training. A request is a letter
("M" for the mesh, "P" for the person's mask), height and width as little-endian uint32, and RGB bytes. The answer to
M is the number of points as uint32 and float32 (x, y, z) in pixels, to P the mask as height · width bytes.
"""

import os
import struct
import sys


def main() -> int:
    """Answer requests until stdin ends."""
    # mediapipe's C++ logs go to stdout's and stderr's descriptors; the answers get a descriptor of their own.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    import mediapipe
    import numpy as np

    mesh = mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, refine_landmarks=True, max_num_faces=1, min_detection_confidence=0.3
    )
    person = mediapipe.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0)
    answers.write(struct.pack("<I", 1))
    answers.flush()
    source = sys.stdin.buffer
    while header := source.read(9):
        kind, height, width = struct.unpack("<cII", header)
        picture = np.frombuffer(source.read(height * width * 3), np.uint8).reshape(height, width, 3)
        if kind == b"P":
            mask = person.process(picture).segmentation_mask
            answers.write((np.clip(mask, 0, 1) * 255).astype(np.uint8).tobytes())
        else:
            faces = mesh.process(picture).multi_face_landmarks
            points = [(p.x * width, p.y * height, p.z * width) for p in faces[0].landmark] if faces else []
            answers.write(struct.pack("<I", len(points)) + np.array(points, np.float32).tobytes())
        answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
