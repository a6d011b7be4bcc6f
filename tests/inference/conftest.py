"""What the tests of this folder share."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fer_model.inference.pipeline import Result
from fer_model.model.network import FERModel
from helpers import EXAMPLES


@pytest.fixture(scope="session")
def two(pipeline) -> Result:
    """What is recognised in a photo of two faces."""
    return pipeline(EXAMPLES / "two_faces.jpg")


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """The folder of an untrained network."""
    folder = tmp_path_factory.mktemp("model")
    FERModel(version="v1", seed=0).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def video_file(tmp_path_factory) -> Path:
    """Two seconds at 10 frames a second: the astronaut, then dark for the second half."""
    picture = np.asarray(Image.open(EXAMPLES / "astronaut.jpg").convert("RGB").resize((320, 320)))[:, :, ::-1]
    path = tmp_path_factory.mktemp("video") / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (320, 320))
    for index in range(20):
        writer.write(picture if index < 10 else np.zeros_like(picture))
    writer.release()
    return path
