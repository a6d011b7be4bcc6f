"""Validation splits and limits: complete, stratified, and no photo on both sides. Batches: every image once."""

import re

import pytest
import torch

from fer_model.data.dataset import FERData, batches, shuffled
from fer_model.data.duplicates import near_pairs, photo_groups
from fer_model.data.splits import limited, stratified_split
from fer_model.errors import DataError
from helpers.loaded import FER_COUNTS


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


def test_a_class_without_photos_that_occur_once_is_named_also_where_it_is_neutral():
    groups = torch.cat([torch.arange(12), torch.full((3,), 12)])
    labels = torch.cat([torch.arange(12) % 6, torch.full((3,), 6)])
    with pytest.raises(DataError, match="Of the class neutral no photo that occurs once"):
        stratified_split(labels, 0.2, seed=0, groups=groups)


def test_no_photo_is_on_both_sides_of_the_split():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (60, 1, 48, 48), dtype=torch.uint8, generator=generator)
    images = torch.cat([images, images[:12].flip(-1), images[:6]])
    labels = torch.arange(len(images)) % 6
    groups = photo_groups(len(images), near_pairs(images, 0.95))
    larger, smaller = stratified_split(labels, 0.2, seed=0, groups=groups)
    assert not set(groups[larger].tolist()) & set(groups[smaller].tolist())
    assert sorted([*larger.tolist(), *smaller.tolist()]) == list(range(len(images)))
    _, plain = stratified_split(labels, 0.2, seed=0)
    assert set(smaller.tolist()) < set(plain.tolist()), "of the split without groups, what occurs once"
    assert {index for index in plain.tolist() if (groups == groups[index]).sum() == 1} == set(smaller.tolist())


def test_batches_hold_every_image_once_with_its_label_and_index():
    data = FERData(torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1), torch.arange(10) % 6)
    loader = batches(data, batch_size=4)
    images, labels, indices = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert [len(batch[0]) for batch in loader] == [4, 4, 2]
    assert indices.tolist() == list(range(10))
    assert torch.equal(images, data.images[indices])
    assert torch.equal(labels, data.labels[indices])


def test_shuffled_batches_hold_every_index_once_in_another_order_each_time():
    torch.manual_seed(0)
    first, second = (torch.cat(list(shuffled(10, batch_size=4))).tolist() for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
