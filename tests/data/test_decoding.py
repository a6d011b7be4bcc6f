"""Pictures as bytes, pixels or files; those that cannot be read are named, or left out if wanted."""

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, List, Value

from helpers import synthetic
from helpers.loaded import TEST, TRAIN, assert_holds, load, refusal, table

ENCODINGS = {
    "bytes in img_bytes": ("img_bytes", synthetic.encode),
    "list of pixels": ("pixels", lambda pixels: pixels.flatten().tolist()),
    "rows of pixels": ("image", lambda pixels: pixels.tolist()),
    "whole numbers as floats": ("pixels", lambda pixels: pixels.flatten().astype(float).tolist()),
    "text of pixels": ("pixels", lambda pixels: " ".join(map(str, pixels.flatten()))),
    "text with a leading blank": ("pixels", lambda pixels: " " + " ".join(map(str, pixels.flatten()))),
}


@pytest.mark.parametrize(("column", "encode"), ENCODINGS.values(), ids=ENCODINGS)
def test_images_may_be_bytes_or_pixels(column, encode, parquet):
    rows = Dataset.from_dict({column: [encode(pixels) for _, pixels in TRAIN], "emotion": [name for name, _ in TRAIN]})
    assert_holds(load(parquet(train=rows)), TRAIN)


def test_large_colour_pictures_become_48_by_48_grey(parquet):
    picture = synthetic.encode(np.full((100, 80, 3), (200, 200, 200), np.uint8))
    data = load(parquet(train=table(TRAIN, image=[picture] * len(TRAIN))))
    assert torch.equal(data.images, torch.full((24, 1, 48, 48), 200, dtype=torch.uint8))


def test_one_corrupt_picture_is_refused_with_its_row(parquet):
    files = [synthetic.encode(pixels) for _, pixels in TRAIN]
    files[9] = files[9][:100]
    message = refusal(parquet(train=table(TRAIN, image=files)))
    assert "unreadable image, row 9 of the train split" in message  # neutral rows count, as in the dataset
    assert "damaged or cut off" in message
    assert message.endswith("--skip-corrupt.")


def test_one_corrupt_picture_is_left_out_and_logged_if_wanted(parquet, caplog):
    files = [synthetic.encode(pixels) for _, pixels in TRAIN]
    files[9] = b""
    usage = [f"Training{' ' * i}" for i in range(len(TRAIN))]  # tells the rows apart
    data = load(parquet(train=table(TRAIN, image=files, usage=usage)), skip_corrupt=True)
    assert_holds(data, TRAIN[:9] + TRAIN[10:])
    assert data.usage == tuple(usage[i] for i, (name, _) in enumerate(TRAIN) if name != "neutral" and i != 9)
    assert "left out row 9 of the train split" in caplog.text


def test_a_corrupt_file_of_an_image_folder_is_named(tmp_path):
    dataset = synthetic.write_image_folder(tmp_path / "images", TRAIN, TEST)
    (dataset / "train" / "happy" / "0003.png").write_bytes(b"this is no picture")
    assert "(0003.png): The file is not an image" in refusal(dataset)
    assert len(load(dataset, skip_corrupt=True)) == 23


def test_a_corrupt_neutral_picture_does_not_matter(tmp_path):
    dataset = synthetic.write_image_folder(tmp_path / "images", TRAIN, TEST)
    (dataset / "train" / "neutral" / "0004.png").write_bytes(b"this is no picture")
    assert len(load(dataset)) == 24


def test_a_class_of_nothing_but_corrupt_pictures_is_missing(parquet):
    files = [b"no" if name == "fear" else synthetic.encode(pixels) for name, pixels in TRAIN]
    assert "no image of fear" in refusal(parquet(train=table(TRAIN, image=files)), skip_corrupt=True)


def test_nothing_but_corrupt_pictures_is_refused_even_if_they_may_be_skipped(parquet):
    dataset = parquet(train=table(TRAIN, image=[b"this is no picture"] * len(TRAIN)))
    assert "None of the 24 images" in refusal(dataset, skip_corrupt=True)


BAD_PIXELS = {
    "not a square": [0] * 2305,
    "too bright": [256] * 2304,
    "negative": [-1] * 2304,
    "fractions": [0.5] * 2304,
    "not numbers": ["0", "x"] * 1152,
    "one is missing": [0] * 2303 + [None],
    "none": [],
}


@pytest.mark.parametrize("pixels", BAD_PIXELS.values(), ids=BAD_PIXELS)
def test_pixels_that_make_no_picture_are_refused_with_their_row(pixels, parquet):
    rows = Dataset.from_dict(
        {"pixels": [pixels] * len(TRAIN), "label": [name for name, _ in TRAIN]},
        features=Features({"pixels": List(Value(_type_of(pixels))), "label": Value("string")}),
    )
    assert "row 0 of the train split" in refusal(parquet(train=rows))


def _type_of(pixels) -> str:
    return {float: "float64", str: "string"}.get(type(pixels[0]) if pixels else int, "int64")


def test_a_missing_picture_is_refused_with_its_row(parquet):
    files = [None, *(synthetic.encode(pixels) for _, pixels in TRAIN[1:])]
    assert "row 0 of the train split (no file name): The image is missing" in refusal(
        parquet(train=table(TRAIN, image=files))
    )
