"""Every shape of dataset loads to the same thing, and every fault of one is explained in a sentence.

pytest tests/test_data.py
FER_DATASET=path/to/fer2013 pytest tests/test_data.py       # also the counts of the real FER2013
"""

import io
import logging
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PIL

from fer_model.data.dataset import FERData, batches
from fer_model.data.fer2013 import load_fer
from fer_model.data.splits import limited, stratified_split
from fer_model.errors import DataError
from fer_model.training.losses import class_weights
from helpers import ROOT, synthetic

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


@pytest.fixture
def parquet(tmp_path):
    """Writes a parquet dataset from one table for each split."""
    return lambda **splits: synthetic.write_parquet(tmp_path / "parquet", **splits)


# Every shape of dataset


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


# Datasets that cannot be used


@pytest.mark.parametrize("name", ["nowhere", "nowhere.csv", "deep/er/nowhere"])
def test_a_missing_path_is_refused(name, tmp_path):
    assert "no file or folder" in refusal(tmp_path / name)


def test_a_missing_csv_beside_the_script_is_not_sought_on_the_hub():
    assert "no file or folder" in refusal("nowhere_fer2013.csv")


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "only" / "folders").mkdir(parents=True)
    assert "is empty; --dataset needs" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("file", "content"), [("notes.xyz", "no data"), ("train.parquet", "not parquet"), ("train/0.tar", "no tar")]
)
def test_a_folder_without_readable_data_is_refused(file, content, tmp_path):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(content)
    assert "--dataset takes" in refusal(tmp_path)


def test_a_missing_split_is_refused_with_those_found(parquet):
    message = refusal(parquet(train=table(TRAIN), validation=table(TEST)), "test")
    assert "no 'test' split (found: 'train', 'validation'); name a split" in message


def test_a_csv_without_usage_has_no_test_split(tmp_path):
    file = tmp_path / "faces.csv"
    synthetic.write_kaggle_csv(file, TRAIN, [])
    file.write_text(file.read_text().replace("Usage", "remark"))
    assert_holds(load(file), TRAIN)
    assert "no 'test' split (found: 'train')" in refusal(file, "test")


def test_usage_without_the_rows_asked_for_is_refused(parquet):
    dataset = parquet(train=synthetic.image_table(TRAIN, ["Training"] * len(TRAIN)))
    assert "no test rows: its usage column holds 'Training'; expected" in refusal(dataset, "test")


def test_a_split_without_rows_is_refused(parquet):
    message = refusal(parquet(train=table(TRAIN), test=synthetic.image_table([])), "test")
    assert '"test" corresponds to no data' in message
    assert "--dataset takes" in message


def test_a_missing_column_is_refused_with_those_found(parquet, tmp_path):
    rows = table(TRAIN).rename_column("label", "feeling")
    assert "no label column (found: image, feeling); rename it to one of label" in refusal(parquet(train=rows))
    rows = synthetic.image_table(TRAIN).remove_columns("image")
    other = synthetic.write_parquet(tmp_path / "other", train=rows)
    assert "no image column (found: label); rename it to one of image" in refusal(other)


def test_a_missing_class_is_refused_by_name(parquet):
    without = [face for face in TRAIN if face[0] not in ("disgust", "fear")]
    message = refusal(parquet(train=table(without)))
    assert "no image of disgust, fear (found: 4 anger, 4 happiness, 4 sadness, 4 surprise);" in message


def test_a_dataset_of_other_classes_alone_is_refused(parquet):
    assert "(found: none of the six classes)" in refusal(
        parquet(train=table([face for face in TRAIN if face[0] == "neutral"]))
    )


def test_a_dataset_without_neutral_is_refused_where_seven_classes_are_wanted(parquet):
    dataset = parquet(train=table([face for face in TRAIN if face[0] != "neutral"]))
    assert len(load(dataset)) == 24
    message = refusal(dataset, classes=7)
    assert "no image of neutral (found: " in message
    assert message.endswith("each of the seven is needed, so use a complete copy.")


def test_an_unknown_class_is_refused_with_its_row(parquet):
    words = ["angry", "bored", *(name for name, _ in TRAIN[2:])]
    message = refusal(parquet(train=table(TRAIN, label=words)))
    assert "class 'bored' (row 1)" in message
    assert message.endswith("rename it.")


def test_numbers_without_names_are_refused_until_classnames_txt_tells_them(parquet):
    numbers = [synthetic.FOLDER_CLASSES.index(name) for name, _ in TRAIN]
    dataset = parquet(train=table(TRAIN, label=numbers))
    assert "numbers without names; put a file classnames.txt" in refusal(dataset)
    (dataset / "classnames.txt").write_text("\n".join(synthetic.FOLDER_CLASSES) + "\n")
    assert_holds(load(dataset), TRAIN)


@pytest.mark.parametrize("number", [7, -1])
def test_a_number_beyond_the_names_is_refused_with_its_row(number, tmp_path):
    file = synthetic.write_kaggle_csv(tmp_path / "fer2013.csv", TRAIN, TEST)
    lines = file.read_text().splitlines()
    lines[3] = str(number) + lines[3][1:]
    file.write_text("\n".join(lines))
    assert f"Row 2 of the dataset '{file}' has the label {number}; expected 0 to 6 (angry, " in refusal(file)


@pytest.mark.parametrize(("label", "found"), [([0, 1], "List(Value('int64'))"), (0.5, "Value('float64')")])
def test_labels_that_are_neither_words_nor_whole_numbers_are_refused(label, found, parquet):
    dataset = parquet(train=table(TRAIN, label=[label] * len(TRAIN)))
    assert f"label column 'label' of the dataset '{dataset}' holds {found}; expected" in refusal(dataset)


def test_a_missing_number_in_a_csv_is_explained(tmp_path):
    file = synthetic.write_kaggle_csv(tmp_path / "fer2013.csv", TRAIN, TEST)
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:3], lines[3][1:], *lines[4:]]))
    assert "one missing number turns all of them into fractions" in refusal(file)


# Pictures that cannot be read


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
    assert "(0003.png): The file is not a picture" in refusal(dataset)
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
    assert "row 0 of the train split (no file name): The picture is missing" in refusal(
        parquet(train=table(TRAIN, image=files))
    )


def test_without_network_the_hub_is_named_as_the_trouble(tmp_path):
    # a process of its own, because HF_HUB_OFFLINE is read when huggingface_hub is imported
    root = ROOT
    code = "from fer_model import data; data.load_fer('nobody/nothing')"
    env = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PYTHONPATH": str(root)}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    message = run.stderr.strip().splitlines()[-1]
    assert message.startswith("fer_model.errors.DataError: The dataset 'nobody/nothing' could not be read")
    assert "is not in the local cache" in message
    assert "HF_HUB_OFFLINE is set; unset it" in message


# Splitting and limiting


def shuffled_labels(counts) -> torch.Tensor:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("counts", [FER_COUNTS, (2, 3, 4, 5, 6, 7), (10,) * 6, (1000, 2, 2, 2, 2, 2)])
def test_a_split_is_complete_disjoint_sorted_and_stratified(counts, fraction):
    labels = shuffled_labels(counts)
    larger, smaller = stratified_split(labels, fraction, seed=0)
    assert sorted([*larger.tolist(), *smaller.tolist()]) == list(range(len(labels)))
    for part in (larger, smaller):
        assert part.tolist() == sorted(part.tolist())
    for count, taken in zip(counts, labels[smaller].bincount(minlength=6).tolist(), strict=True):
        assert 1 <= taken <= count - 1
        assert abs(taken - count * fraction) <= 0.5 or taken in (1, count - 1)


def test_a_seed_fixes_the_split_whatever_else_was_drawn():
    labels = shuffled_labels((50,) * 6)
    first = stratified_split(labels, 0.2, seed=7)
    torch.manual_seed(123)
    state = torch.get_rng_state()
    assert all(map(torch.equal, first, stratified_split(labels, 0.2, seed=7)))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first[1], stratified_split(labels, 0.2, seed=8)[1])


def invented(counts) -> FERData:
    labels = shuffled_labels(counts)
    return FERData(torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8), labels, tuple(map(str, range(len(labels)))))


@pytest.mark.parametrize(
    ("counts", "limit"), [(FER_COUNTS, 512), (FER_COUNTS, 109), ((10,) * 6, 16), ((10,) * 6, 59), ((9, 13, 13) * 2, 34)]
)
def test_a_limit_is_kept_and_shared_out_in_proportion(counts, limit):
    data = invented(counts)
    few = limited(data, limit, seed=0)
    assert limit - 6 <= len(few) <= limit
    for count, taken in zip(counts, few.labels.bincount().tolist(), strict=True):
        assert abs(taken - count * limit / len(data)) < 2
    assert torch.equal(few.labels, data.labels[[int(name) for name in few.usage]])
    assert limited(data, limit, seed=0).usage == few.usage
    assert limited(data, limit, seed=1).usage != few.usage


@pytest.mark.parametrize("limit", [None, 60, 61])
def test_without_a_limit_that_bites_the_data_stay_as_they_are(limit):
    data = invented((10,) * 6)
    assert limited(data, limit, seed=0) is data


@pytest.mark.parametrize("counts", [FER_COUNTS, (10,) * 6, (13, 13, 13, 13, 13, 10), (5, 9, 9, 9, 2, 9), (1, *[9] * 5)])
@pytest.mark.parametrize("limit", [1, 6, 11])
def test_too_small_a_limit_is_refused_with_one_that_works(counts, limit):
    data = invented(counts)
    with pytest.raises(DataError, match=f"--limit {limit} leaves fewer than two") as caught:
        limited(data, limit, seed=0)
    enough = int(re.search(r"use --limit (\d+) or more", str(caught.value))[1])
    for works in range(enough, min(enough + 40, len(data) + 1)):
        few = limited(data, works, seed=0)
        assert len(few) <= works
        assert min(few.labels.bincount(minlength=6).tolist()) >= min(2, *counts)


def test_a_limit_that_leaves_too_few_neutral_images_is_refused():
    assert limited(invented((9,) * 7), 40, seed=0).labels.bincount().min() >= 2
    with pytest.raises(DataError, match="fewer than two images of the rarest class"):
        limited(invented((*[9] * 6, 1)), 40, seed=0)


# Batches


@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_hold_every_image_once_with_its_label_and_index(shuffle):
    data = FERData(torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1), torch.arange(10) % 6)
    torch.manual_seed(0)
    loader = batches(data, batch_size=4, shuffle=shuffle)
    images, labels, indices = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert [len(batch[0]) for batch in loader] == [4, 4, 2]
    assert sorted(indices.tolist()) == list(range(10))
    assert (indices.tolist() == list(range(10))) is not shuffle
    assert torch.equal(images, data.images[indices])
    assert torch.equal(labels, data.labels[indices])


def test_a_class_without_photos_that_occur_once_is_named_also_where_it_is_neutral():
    groups = torch.cat([torch.arange(12), torch.full((3,), 12)])
    labels = torch.cat([torch.arange(12) % 6, torch.full((3,), 6)])
    with pytest.raises(DataError, match="Of the class neutral no photo that occurs once"):
        stratified_split(labels, 0.2, seed=0, groups=groups)


# The real FER2013


@pytest.fixture(scope="module")
def fer2013(fer_dataset):
    return load(fer_dataset, "train"), load(fer_dataset, "test")


def test_fer2013_has_its_documented_counts(fer2013):
    train, test = fer2013
    assert tuple(train.labels.bincount().tolist()) == FER_COUNTS
    assert len(train) == 23_744
    assert test.labels.bincount().tolist() == [1774, 831, 1247, 958, 111, 1024]
    assert len(test) == 5_945
    assert Counter(train.usage) == {"Training": 23_744}
    assert Counter(test.usage) == {"PrivateTest": 2_963, "PublicTest": 2_982}
    assert train.images.shape == (23_744, 1, 48, 48)
    assert train.images.min() == 0
    assert train.images.max() == 255


def test_fer2013_with_neutral_has_the_test_halves_of_the_literature(fer_dataset):
    test = load(fer_dataset, "test", classes=7)
    assert test.labels.bincount().tolist() == [1774, 831, 1247, 958, 111, 1024, 1233]
    assert Counter(test.usage) == {"PrivateTest": 3_589, "PublicTest": 3_589}


def test_fer2013_has_its_documented_class_weights(fer2013):
    expected = torch.tensor([0.548, 1.248, 0.819, 0.991, 9.076, 0.966])
    torch.testing.assert_close(class_weights(fer2013[0].labels), expected, atol=0.001, rtol=0)


def test_fer2013_splits_80_to_20_in_every_class(fer2013):
    labels = fer2013[0].labels
    train, validation = stratified_split(labels, 0.2, seed=0)
    assert abs(len(train) - 18_995) <= 1
    assert abs(len(validation) - 4_749) <= 1
    assert torch.equal(torch.cat([train, validation]).sort().values, torch.arange(len(labels)))
    shares = labels[validation].bincount() / labels.bincount()
    torch.testing.assert_close(shares, torch.full((6,), 0.2), atol=0.5 / 436, rtol=0)
    assert torch.equal(stratified_split(labels, 0.2, seed=0)[1], validation)


@pytest.fixture
def hub_sample(fer_dataset) -> Path:
    folder = fer_dataset.parent / "wds_fer2013_sample"
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}, the sample of FER2013 as it lies on the Hub")
    return folder


@pytest.mark.parametrize(("split", "count"), [("train", 60), ("test", 20)])
def test_the_hub_layout_of_fer2013_loads(split, count, hub_sample):
    data = load(hub_sample, split)
    assert data.images.shape == (6 * count, 1, 48, 48)
    assert data.labels.bincount().tolist() == [count] * 6
    # sorted by class: angry, disgusted, fearful, happy, (neutral,) sad, surprised
    assert data.labels.unique_consecutive().tolist() == [3, 4, 5, 0, 2, 1]


def test_the_hub_layout_without_classnames_txt_is_refused(hub_sample, tmp_path):
    folder = shutil.copytree(hub_sample, tmp_path / "sample", ignore=shutil.ignore_patterns("classnames.txt"))
    assert "put a file classnames.txt" in refusal(folder)


def test_the_hub_layout_holds_pictures_of_the_whole_set(hub_sample, fer2013):
    def labelled(data: FERData) -> set[tuple[int, bytes]]:
        return {(label, face.numpy().tobytes()) for label, face in zip(data.labels.tolist(), data.images, strict=True)}

    assert labelled(load(hub_sample)) <= labelled(fer2013[0])
