"""Copies of photos are found, counted and kept on one side."""

import json

import numpy as np
import pytest
import torch

from fer_model.data import duplicates
from fer_model.data.dataset import FERData
from fer_model.data.fer2013 import load_fer
from fer_model.errors import DataError
from helpers import ROOT
from helpers.synthetic import draw_faces, image_table, write_parquet


@pytest.fixture
def faces() -> torch.Tensor:
    """Twelve drawn faces under different noise, uint8 (12, 1, 48, 48)."""
    return torch.tensor(np.stack([pixels for _, pixels in draw_faces(2, classes=("angry", "fear", "happy") * 2)]))[
        :, None
    ]


def test_correlations_are_numpys(faces):
    pairs = duplicates.near_pairs(faces, 0.5)
    flat = faces.flatten(1).double().numpy()
    straight = np.corrcoef(flat)
    flipped = np.corrcoef(flat, faces.flip(-1).flatten(1).double().numpy())[: len(flat), len(flat) :]
    best = np.maximum(straight, flipped)
    expected = {(i, j): best[i, j] for i in range(12) for j in range(i + 1, 12) if best[i, j] >= 0.5}
    found = zip(pairs.first.tolist(), pairs.second.tolist(), pairs.correlation.tolist(), strict=True)
    assert {(i, j): c for i, j, c in found} == pytest.approx(expected, abs=1e-5)
    assert expected


def test_the_same_pairs_are_found_whatever_the_size_of_the_blocks(faces, monkeypatch):
    whole = duplicates.near_pairs(faces, 0.7)
    monkeypatch.setattr(duplicates, "_BLOCK", 5)
    parts = duplicates.near_pairs(faces, 0.7)
    assert set(zip(whole.first.tolist(), whole.second.tolist(), strict=True)) == set(
        zip(parts.first.tolist(), parts.second.tolist(), strict=True)
    )


def test_copies_are_near_also_when_mirrored_darker_or_fainter(faces):
    noise = torch.randint(0, 256, (6, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    original = noise[:1]
    darker = (original.float() * 0.5 + 10).to(torch.uint8)
    images = torch.cat([noise, original.flip(-1), darker, original])
    pairs = duplicates.near_pairs(images, 0.99)
    found = dict(
        zip(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True), pairs.mirrored.tolist(), strict=True)
    )
    assert found == {(0, 6): True, (0, 7): False, (0, 8): False, (6, 7): True, (6, 8): True, (7, 8): False}
    assert duplicates.exact_groups(images) == [[0, 8]]
    groups = duplicates.photo_groups(len(images), pairs)
    assert groups.tolist() == [0, 1, 2, 3, 4, 5, 0, 0, 0]


def test_blank_images_are_counted_and_are_nobodys_copies():
    images = torch.zeros(3, 1, 48, 48, dtype=torch.uint8)
    images[1] = 7
    images[2, 0, 5, 5] = 1
    assert duplicates.blank(images).tolist() == [True, True, False]
    assert len(duplicates.near_pairs(images, 0.9)) == 0
    train = FERData(torch.cat([images[:1], images]), torch.zeros(4, dtype=torch.int64))
    test = FERData(images, torch.ones(3, dtype=torch.int64), ("PublicTest", "PublicTest", "PrivateTest"))
    found = duplicates.study(train, test)
    assert found["blank"] == {"Training": 3, "PublicTest": 2, "PrivateTest": 0}
    # the third image is in both
    assert (found["exact"]["groups"], found["exact"]["pairs"], found["near"]["0.99"]["pairs"]) == (1, 1, 1)


def test_the_study_counts_by_part_label_and_class(tmp_path):
    noise = torch.randint(0, 256, (8, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    train = FERData(noise[:4], torch.tensor([0, 1, 2, 6]))
    # a copy with its label, one with another label, one of a neutral face, one that is new
    test = FERData(
        torch.cat([noise[5:6], noise[0:1], noise[1:2].flip(-1), noise[3:4], noise[1:2]]),
        torch.tensor([0, 0, 5, 3, 6]),
        ("PublicTest", "PublicTest", "PrivateTest", "PrivateTest", "PrivateTest"),
    )
    found = duplicates.study(train, test)
    assert found["images"] == {"Training": 4, "PublicTest": 2, "PrivateTest": 3}
    assert found["images_six_classes"] == {"Training": 3, "PublicTest": 2, "PrivateTest": 2}
    assert found["exact"]["groups"] == 3
    near = found["near"]["0.95"]
    assert (near["pairs"], near["mirrored"], near["different_label"]) == (5, 2, 4)
    assert near["pairs_between"] == {
        "Training, PublicTest": 1,
        "Training, PrivateTest": 3,
        "PrivateTest, PrivateTest": 1,
    }
    assert near["test_images_with_one_in_train"] == 4
    assert near["test_images_with_one_in_train_six_classes"] == 2
    (tmp_path / "data.json").write_text(json.dumps(found))
    six = test.subset(torch.tensor([0, 1, 2, 3]))
    assert duplicates.leaked_rows(tmp_path / "data.json", six).tolist() == [False, True, True, False]
    assert duplicates.leaked_rows(tmp_path / "data.json", test).tolist() == [False, True, True, True, True]
    assert duplicates.leaked_rows(tmp_path / "data.json", train) is None
    assert duplicates.leaked_rows(tmp_path / "nothing.json", six) is None
    with pytest.raises(DataError, match="usage"):
        duplicates.study(train, train)


def test_counts_from_before_there_were_seven_classes_are_still_those_of_six(tmp_path):
    noise = torch.randint(0, 256, (7, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    seven = FERData(noise, torch.arange(7))
    six = seven.subset(torch.arange(6))
    known = {"sha256": duplicates.fingerprint(six.images), "rows_with_twin_in_train": [2]}
    (tmp_path / "data.json").write_text(json.dumps({"six_class_test": known}))
    assert duplicates.leaked_rows(tmp_path / "data.json", six).nonzero().tolist() == [[2]]
    assert duplicates.leaked_rows(tmp_path / "data.json", seven) is None


def test_neutral_faces_are_kept_when_asked_for(tmp_path):
    table = image_table(draw_faces(3))
    write_parquet(tmp_path, train=table, test=table)
    with_neutral = load_fer(str(tmp_path), "train", classes=7)
    assert torch.bincount(with_neutral.labels).tolist() == [3] * 7
    without = load_fer(str(tmp_path), "train")
    assert torch.equal(with_neutral.images[with_neutral.labels < 6], without.images)


@pytest.mark.parametrize(("classes", "which"), [(6, "_six_classes"), (7, "")])
def test_the_published_counts_are_of_the_real_test_set(fer_dataset, classes, which):
    test = load_fer(str(fer_dataset), "test", progress=False, classes=classes)
    mask = duplicates.leaked_rows(ROOT / "results" / "data.json", test)
    published = json.loads((ROOT / "results" / "data.json").read_text())
    assert int(mask.sum()) == published["near"]["0.95"][f"test_images_with_one_in_train{which}"]
