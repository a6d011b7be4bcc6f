"""What of a dataset should come out of the loader, and with which sentence it refuses one."""

import numpy as np
import pytest
import torch
from datasets import Dataset, Image, Value

from fer_model.data.dataset import FERData
from fer_model.data.fer2013 import load_fer
from fer_model.errors import DataError
from helpers import synthetic

LABELS = {"happy": 0, "surprise": 1, "sad": 2, "angry": 3, "disgust": 4, "fear": 5}


FER_COUNTS = (7215, 3171, 4830, 3995, 436, 4097)


TRAIN, TEST = synthetic.draw_faces(4, seed=1), synthetic.draw_faces(2, seed=2)


def load(dataset, split="train", **options) -> FERData:
    return load_fer(str(dataset), split, progress=False, **options)


def known(faces):
    """The labels and pixels that should come out, in order: all but the neutral ones."""
    return [(LABELS[name], pixels) for name, pixels in faces if name != "neutral"]


def assert_holds(data: FERData, faces) -> None:
    expected = known(faces)
    assert data.images.dtype == torch.uint8
    assert data.labels.dtype == torch.int64
    assert data.labels.tolist() == [label for label, _ in expected]
    assert np.array_equal(data.images.numpy(), np.stack([pixels[None] for _, pixels in expected]))


def columns(faces, **more) -> dict:
    """Names as labels, files as images; `more` replaces or adds columns."""
    return {"image": [synthetic.encode(pixels) for _, pixels in faces], "label": [name for name, _ in faces]} | more


def table(faces, **more) -> Dataset:
    rows = Dataset.from_dict(columns(faces, **more))
    return rows.cast_column("image", Image()) if rows.features["image"] == Value("binary") else rows


def refusal(dataset, split="train", **options) -> str:
    """The message with which a dataset is refused: one line that names it."""
    with pytest.raises(DataError) as caught:
        load(dataset, split, **options)
    message = str(caught.value)
    assert repr(str(dataset)) in message
    assert "\n" not in message
    return message
