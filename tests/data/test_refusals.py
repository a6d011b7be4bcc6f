"""Every fault of a dataset is explained in a sentence that names it."""

import pytest

from helpers import synthetic
from helpers.loaded import TEST, TRAIN, assert_holds, load, refusal, table


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


def test_without_network_the_hub_is_named_as_the_trouble(user):
    with user.at_work(offline=True):
        message = refusal("nobody/nothing")
    assert message.startswith("The dataset 'nobody/nothing' could not be read")
    assert "is not in the local cache" in message
    assert "HF_HUB_OFFLINE is set; unset it" in message
