"""The real FER2013, where it is there: its counts, class weights and splits."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch

from fer_model.data.dataset import FERData
from fer_model.data.splits import stratified_split
from fer_model.training.losses import class_weights
from helpers.loaded import FER_COUNTS, load, refusal


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
