"""Every shape of dataset loads to the same thing."""

import io
import logging

import numpy as np
import pytest
import torch
from PIL import Image as PIL

from helpers import synthetic
from helpers.loaded import LABELS, TEST, TRAIN, assert_holds, load, table


def write_parquet_with_usage(folder, train, test):
    train_usage, test_usage = synthetic.usages(train, test)
    return synthetic.write_parquet(
        folder, train=synthetic.image_table(train, train_usage), test=synthetic.image_table(test, test_usage)
    )


def write_kaggle_folder(folder, train, test):
    folder.mkdir()
    synthetic.write_kaggle_csv(folder / "fer2013.csv", train, test)
    return folder


SHAPES = {
    "parquet": write_parquet_with_usage,
    "fer2013.csv": synthetic.write_kaggle_csv,
    "folder-of-fer2013.csv": write_kaggle_folder,
    "icml_face_data.csv": synthetic.write_icml_csv,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_come_in_order_with_their_labels_pixels_and_usage(shape, tmp_path):
    dataset = SHAPES[shape](tmp_path / shape, TRAIN, TEST)
    train, test = load(dataset, "train"), load(dataset, "test")
    assert_holds(train, TRAIN)
    assert_holds(test, TEST)
    assert train.usage == ("Training",) * len(train)
    assert test.usage == tuple(
        usage for (name, _), usage in zip(TEST, synthetic.usages([], TEST)[1], strict=True) if name != "neutral"
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_neutral_is_kept_as_the_seventh_class_where_wanted(shape, tmp_path):
    dataset = SHAPES[shape](tmp_path / shape, TRAIN, TEST)
    six, seven = load(dataset, "test"), load(dataset, "test", classes=7)
    assert seven.labels.tolist() == [{**LABELS, "neutral": 6}[name] for name, _ in TEST]
    assert np.array_equal(seven.images.numpy(), np.stack([pixels[None] for _, pixels in TEST]))
    assert seven.usage == tuple(synthetic.usages([], TEST)[1])
    assert torch.equal(six.images, seven.images[seven.labels < 6])
    with pytest.raises(ValueError, match="not of 8"):
        load(dataset, classes=8)


def test_contempt_is_left_out_of_seven_classes_too(parquet):
    words = ["contempt", *(name for name, _ in TRAIN[1:])]
    assert len(load(parquet(train=table(TRAIN, label=words)), classes=7)) == len(TRAIN) - 1


def test_an_image_folder_loads_class_by_class(tmp_path):
    dataset = synthetic.write_image_folder(tmp_path / "images", TRAIN, TEST)
    for split, faces in (("train", TRAIN), ("test", TEST)):
        data = load(dataset, split)
        assert_holds(data, sorted(faces, key=lambda face: face[0]))  # stable: the numbers of a class stay in order
        assert data.usage is None


def test_webdataset_shards_load_with_the_names_of_classnames_txt(tmp_path):
    dataset = synthetic.write_webdataset(tmp_path / "wds", TRAIN, TEST)
    for split, faces in (("train", TRAIN), ("test", TEST)):
        stored = [(name, synthetic.encode(pixels, "JPEG")) for name, pixels in faces]
        assert_holds(load(dataset, split), [(name, np.asarray(PIL.open(io.BytesIO(file)))) for name, file in stored])


def test_neutral_is_left_out_and_counted_in_the_log(parquet, caplog):
    dataset = parquet(train=synthetic.image_table(TRAIN))
    with caplog.at_level(logging.INFO, logger="fer_model.data.fer2013"):
        data = load(dataset)
    assert len(data) == 24
    assert f"{dataset}: left out 4 neutral" in caplog.messages
    assert f"{dataset}, train: 24 images" in caplog.text
    assert "4 happiness, 4 surprise, 4 sadness, 4 anger, 4 disgust, 4 fear" in caplog.text


def test_contempt_is_left_out_too(parquet, caplog):
    extra = [("contempt", TRAIN[0][1])] * 3
    with caplog.at_level(logging.INFO, logger="fer_model.data.fer2013"):
        assert_holds(load(parquet(train=table(extra + TRAIN))), TRAIN)
    assert "left out 3 contempt, 4 neutral" in caplog.text


NAMES = {
    "as words": ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
    "capitalised": ("Angry", "DISGUST", "Fear", "Happy", "Neutral", "Sad", " Surprise "),
    "aliases": ("angry", "disgusted", "fearful", "joy", "calm", "sad", "surprised"),
    "numbered": ("0_angry", "1-disgust", "2 fear", "3.Happy", "4:neutral", "05_sad", "6surprise"),
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_labels_may_be_words_of_any_usual_spelling(names, parquet):
    words = [names[synthetic.FOLDER_CLASSES.index(name)] for name, _ in TRAIN]
    assert_holds(load(parquet(train=table(TRAIN, label=words))), TRAIN)


def test_columns_are_found_by_type_where_their_names_are_unusual(parquet):
    rows = synthetic.image_table(TRAIN).rename_columns({"image": "photo", "label": "feeling"})
    assert_holds(load(parquet(train=rows)), TRAIN)


def test_the_usage_column_decides_even_where_all_rows_are_in_one_split(parquet):
    usage = sum(synthetic.usages(TRAIN, TEST), [])
    dataset = parquet(train=synthetic.image_table(TRAIN + TEST, usage))
    assert_holds(load(dataset, "train"), TRAIN)
    assert_holds(load(dataset, "test"), TEST)


def test_a_changed_folder_and_another_of_the_same_name_are_read_anew(tmp_path):
    # with equal READMEs, `datasets` by itself would return the first rows three times
    for folder, faces in (("a", TRAIN), ("b", TEST), ("a", TEST + TRAIN)):
        dataset = synthetic.write_parquet(tmp_path / folder / "faces", train=synthetic.image_table(faces))
        assert_holds(load(dataset), faces)
