"""Images in class folders as people have them: other splits, numbers, unknown and missing classes."""

import logging

import pytest

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
