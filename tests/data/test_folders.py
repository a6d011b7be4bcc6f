"""Folders and files as people have them: splits at any depth, numbers, unknown and missing classes, zips."""

import logging
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from fer_model.data.files import reading_place
from fer_model.errors import DataError
from helpers import synthetic
from helpers.loaded import LABELS, TEST, TRAIN, load, refusal

RAF_DB = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")  # its classes 1 to 7


def write(folder, faces, name=lambda word: word, prefix=""):
    for number, (word, pixels) in enumerate(faces):
        file = folder / name(word) / f"{prefix}{number:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(synthetic.encode(pixels))
    return folder


@pytest.mark.parametrize(
    ("train", "tests"),
    [
        ("Training", ["PublicTest", "PrivateTest"]),
        ("TRAIN", ["TEST"]),
        ("FER2013Train", ["FER2013Test"]),
        ("traindata", ["testdata"]),
    ],
)
def test_split_folders_are_told_by_their_own_names(train, tests, tmp_path):
    write(tmp_path / train, TRAIN, prefix="test_")
    write(tmp_path / "validation", TRAIN)
    for name in tests:
        write(tmp_path / name, TEST, prefix="train_")
    assert len(load(tmp_path, "train")) == 24
    test = load(tmp_path, "test")
    assert len(test) == 12 * len(tests)
    assert set(test.usage or ()) == (set(tests) if len(tests) > 1 else set())


def test_without_splits_all_images_are_the_test_images_and_the_log_says_so(tmp_path, caplog):
    for prefix in ("train_", "test_", "web_"):
        write(tmp_path, TEST, prefix=prefix)
    with caplog.at_level(logging.INFO, logger="fer_model.data.fer2013"):
        assert len(load(tmp_path, "test")) == 36
    assert "has no splits: all its images are taken as the test images" in caplog.text


def test_a_test_split_alone_suffices_for_testing(tmp_path):
    write(tmp_path / "test", TEST)
    assert len(load(tmp_path, "test")) == 12
    assert "no 'train' split (found: 'test')" in refusal(tmp_path, "train")


@pytest.mark.parametrize("first", [0, 1])
def test_numbered_folders_get_the_names_of_classnames_txt(first, tmp_path):
    write(tmp_path / "test", TEST, lambda word: str(RAF_DB.index(word) + first))
    assert "are numbers without names; put a file classnames.txt" in refusal(tmp_path, "test")
    (tmp_path / "classnames.txt").write_text("\n".join(RAF_DB))
    by_number = sorted((face for face in TEST if face[0] != "neutral"), key=lambda face: RAF_DB.index(face[0]))
    assert load(tmp_path, "test").labels.tolist() == [LABELS[word] for word, _ in by_number]


def test_a_folder_beyond_the_names_is_refused(tmp_path):
    write(tmp_path, TEST, lambda word: str(RAF_DB.index(word) + 2))
    (tmp_path / "classnames.txt").write_text("\n".join(RAF_DB))
    assert "has the label 8; expected 1 to 7 (surprise, " in refusal(tmp_path, "test")


def test_unknown_classes_are_left_out_and_counted_where_asked_for(tmp_path):
    write(tmp_path, TEST)
    write(tmp_path, [("bored", pixels) for _, pixels in TEST[:3]])
    assert "class 'bored' (row 2)" in (message := refusal(tmp_path, "test"))
    assert "--skip-unknown-classes" in message
    data = load(tmp_path, "test", skip_unknown=True)
    assert len(data) == 12
    assert data.left_out == {"bored": 3, "neutral": 2}
    assert data.subset(data.labels == 0).left_out == data.left_out


def test_a_test_set_may_lack_classes_and_a_training_set_may_not(tmp_path, caplog):
    write(tmp_path, [face for face in TEST if face[0] not in ("disgust", "fear")])
    assert len(load(tmp_path, "test")) == 8
    assert "no image of disgust, fear" in caplog.text
    assert "each of the six is needed" in refusal(tmp_path, "train")


def test_classes_beside_splits_are_refused_by_name(tmp_path):
    write(tmp_path / "test", TEST)
    write(tmp_path, TEST[:1])
    assert f"the classes {TEST[0][0]} lie beside splits; move them into one" in refusal(tmp_path, "test")


def tables(folder, **faces):
    """A parquet file for each name, without a README that tells their splits."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in faces.items():
        synthetic.image_table(rows).to_parquet(folder / f"{name}.parquet")
    return folder


@pytest.mark.parametrize("names", [("Training", "PublicTest"), ("FER2013Train", "FER2013Test"), ("TRAIN", "TEST")])
def test_parquet_files_are_told_apart_by_their_names_in_any_case(names, tmp_path, caplog):
    tables(tmp_path, **dict(zip(names, (TRAIN, TEST), strict=True)), extra=TEST)
    (tmp_path / "test.json").write_text("[]")
    assert (len(load(tmp_path, "train")), len(load(tmp_path, "test"))) == (24, 12)
    assert "left out 1 files that are named after no split: extra.parquet" in caplog.text
    assert "left out 1 files of another kind than .parquet: test.json" in caplog.text


def test_a_folder_named_after_a_split_wins_over_the_names_of_its_files(tmp_path):
    tables(tmp_path / "Data" / "TRAIN", test_0=TRAIN)
    tables(tmp_path / "Data" / "Test", train_0=TEST)
    assert (len(load(tmp_path, "train")), len(load(tmp_path, "test"))) == (24, 12)


@pytest.mark.parametrize("order", ["fer2013/images/{split}/{name}", "{name}/{split}"])
def test_splits_of_images_lie_at_any_depth(order, tmp_path, caplog):
    for split, faces in (("Training", TRAIN), ("TEST", TEST)):
        for number, (name, pixels) in enumerate(faces):
            file = tmp_path / order.format(split=split, name=name) / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(synthetic.encode(pixels))
    (tmp_path / "preview.png").write_bytes(synthetic.encode(TEST[0][1]))
    (tmp_path / "labels.csv").write_text("file,label\n")
    assert (len(load(tmp_path, "train")), len(load(tmp_path, "test"))) == (24, 12)
    assert "preview.png" in caplog.text
    assert "left out 1 files that are no images: labels.csv" in caplog.text


def test_a_zip_is_read_with_the_names_of_classes_in_it(tmp_path):
    folder = synthetic.write_image_folder(tmp_path / "tree", TRAIN, TEST)
    for split in ("train", "test"):
        for number, name in enumerate(synthetic.FOLDER_CLASSES):
            (folder / split / name).rename(folder / split / str(number))
    (folder / "classnames.txt").write_text("\ufeff" + "\n".join(synthetic.FOLDER_CLASSES), encoding="utf-8")
    archive = shutil.make_archive(str(tmp_path / "faces"), "zip", folder)
    assert (len(load(archive, "train")), len(load(archive, "test"))) == (24, 12)
    (tmp_path / "half.ZIP").write_bytes((tmp_path / "faces.zip").read_bytes()[:999])
    assert "cannot be read (File is not a zip file); unpack it" in refusal(tmp_path / "half.ZIP")


def test_zips_of_one_name_are_told_apart_by_their_folders(tmp_path):
    for split, faces in (("train", TRAIN), ("test", TEST)):
        write(tmp_path / "tree" / split, faces)
        shutil.make_archive(str(tmp_path / "zips" / split / "images"), "zip", tmp_path / "tree" / split)
    assert (len(load(tmp_path / "zips", "train")), len(load(tmp_path / "zips", "test"))) == (24, 12)


def test_who_unpacks_a_zip_at_the_same_time_gets_all_of_it(tmp_path):
    shutil.make_archive(str(tmp_path / "faces"), "zip", write(tmp_path / "tree", TRAIN * 5))
    with ThreadPoolExecutor(4) as pool:
        places = {one.result() for one in [pool.submit(reading_place, tmp_path / "faces.zip") for _ in range(4)]}
    (place,) = places
    assert len(list(place.rglob("*.png"))) == 5 * len(TRAIN)
    assert [path.name for path in place.parent.iterdir()] == ["unpacked"], "nothing else is left"


def test_a_zip_that_changes_behind_a_link_is_unpacked_anew(tmp_path):
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "faces").symlink_to(tmp_path / "real")
    for faces, expected in ((TEST, 12), (TRAIN, 24)):
        shutil.rmtree(tmp_path / "tree", ignore_errors=True)
        shutil.make_archive(str(tmp_path / "real" / "faces"), "zip", write(tmp_path / "tree", faces))
        assert len(load(tmp_path / "linked", "test")) == expected


def test_a_folder_that_cannot_be_read_is_named_and_not_passed_over(tmp_path, monkeypatch):
    write(tmp_path, TEST)
    scan = os.scandir

    def locked(place):
        if str(place).endswith("sad"):
            raise PermissionError(13, "Permission denied", place)
        return scan(place)

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(DataError, match="sad' cannot be read .Permission denied"):
        load(tmp_path, "test")


def test_a_single_parquet_and_a_validation_split_alone_are_read_and_said(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="fer_model.data.fer2013"):
        (tmp_path / "more.csv").write_text("a\n1\n")
        assert len(load(tables(tmp_path, faces=TEST) / "faces.parquet", "test")) == 12
        assert "more.csv" not in caplog.text
        assert len(load(tmp_path, "test")) == 12
        assert "left out 1 files of another kind than .parquet: more.csv" in caplog.text
        assert len(load(tables(tmp_path / "alone", Validation=TEST), "test")) == 12
    assert "has no splits: all its images are taken as the test images" in caplog.text
    assert "has a validation split only: its images are taken as the test images" in caplog.text


def test_pixels_may_be_written_as_a_list_and_the_ending_in_capitals(tmp_path):
    file = synthetic.write_kaggle_csv(tmp_path / "FER2013.CSV", TRAIN, TEST)
    lines = [line.split(",") for line in file.read_text().splitlines()]
    file.write_text("\n".join(f'{a},"[{b.replace(" ", ", ")}]",{c}' for a, b, c in lines).replace("[pixels]", "pixels"))
    assert (len(load(file, "train")), len(load(tmp_path, "test"))) == (24, 12)


def test_a_column_of_other_classes_is_not_taken_for_the_label(parquet):
    rows = synthetic.image_table(TRAIN).rename_column("label", "feeling").rename_column("feeling", "emotion")
    gender = rows.add_column("gender", ["female"] * len(TRAIN)).class_encode_column("gender")
    assert len(load(parquet(train=gender))) == 24


@pytest.mark.parametrize("labels", [["x" * 9000] * len(TRAIN), [f"class {n}" for n in range(len(TRAIN))]])
def test_a_message_stays_short_whatever_is_in_the_dataset(labels, parquet):
    rows = synthetic.image_table(TRAIN).remove_columns("label").add_column("label", labels)
    for name in range(50):
        rows = rows.add_column(f"a column of a long name {name}", labels)
    dataset = parquet(train=rows)
    assert len(refusal(dataset)) < 600 + len(str(dataset))
    rows = rows.remove_columns("label")
    assert "and 43 more" in refusal(synthetic.write_parquet(dataset.parent / "other", train=rows))


def test_images_without_class_folders_are_named_with_the_remedy(tmp_path):
    (tmp_path / "photo.png").write_bytes(synthetic.encode(TEST[0][1]))
    assert "(found: photo.png); images must lie in a folder for each class" in refusal(tmp_path)
