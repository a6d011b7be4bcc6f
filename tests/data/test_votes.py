"""The votes of a crowd find their images, in any order and in any file format."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from fer_model.data import votes
from fer_model.errors import DataError
from fer_model.labels import EMOTIONS_WITH_NEUTRAL
from helpers.crowd import stack, votes_for, write_votes
from helpers.loaded import load
from helpers.synthetic import draw_faces, encode

TRAIN, TEST = draw_faces(6, seed=1), draw_faces(3, seed=2)
TRAIN_VOTES, TEST_VOTES = votes_for(TRAIN, seed=1), votes_for(TEST, seed=2)


@pytest.fixture
def table(tmp_path, monkeypatch):
    """The file of votes is that of the drawn faces."""
    monkeypatch.setattr(votes, "VOTES_FILE", write_votes(tmp_path / "v.npz", (TRAIN, TRAIN_VOTES), (TEST, TEST_VOTES)))


def copies(faces, kind: str) -> torch.Tensor:
    """The faces as they come out of files of a format."""
    pixels = [np.asarray(Image.open(io.BytesIO(encode(pixels, kind)))) for _, pixels in faces]
    return torch.from_numpy(np.stack(pixels)[:, None])


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_copies_of_an_image_find_its_votes_in_any_order(table, kind):
    order = torch.randperm(len(TRAIN), generator=torch.Generator().manual_seed(0))
    found = votes.find_votes(copies(TRAIN, kind)[order], "train")
    assert torch.equal(found.counts, torch.from_numpy(TRAIN_VOTES)[order])
    assert (found.nearest == 1).all()
    assert bool((found.distance > 0).any()) == (kind == "JPEG"), "JPEG changes bits, PNG none"


def test_test_images_votes_do_not_reach_training_images(table):
    assert votes.find_votes(stack(TEST), "train").counts.sum() == 0
    assert votes.find_votes(stack(TEST), "test").counts.sum() == TEST_VOTES.sum()


def test_other_pictures_and_single_greys_have_no_votes(table):
    noise = torch.randint(0, 256, (4, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = votes.find_votes(torch.cat([noise, torch.full((1, 1, 48, 48), 7, dtype=torch.uint8)]), "train")
    assert found.counts.sum() == 0
    assert found.distance.tolist() == [-1] * 5
    assert found.nearest.tolist() == [0] * 5


def test_hashes_that_are_equally_near_share_their_votes(tmp_path, monkeypatch):
    (name, pixels), *others = TRAIN
    bits = votes.difference_hash(stack([(name, pixels)]))
    pair = bits.repeat(2, 1)
    pair[0, 3], pair[1, 8] = ~bits[0, 3], ~bits[0, 8]
    file = write_votes(tmp_path / "v.npz", (TRAIN[:2], TRAIN_VOTES[:2]), (TEST, TEST_VOTES))
    arrays = dict(np.load(file)) | {"train_hashes": votes.pack(pair)}
    np.savez_compressed(file, **arrays)
    monkeypatch.setattr(votes, "VOTES_FILE", file)
    found = votes.find_votes(stack([(name, pixels)]), "train")
    assert (found.distance.item(), found.nearest.item()) == (1, 2)
    assert found.counts[0].tolist() == TRAIN_VOTES[:2].sum(axis=0).tolist()


def test_a_hash_tells_which_of_twelve_by_thirteen_cells_are_brighter_than_their_left_neighbours():
    picture = torch.rand(48, 48, generator=torch.Generator().manual_seed(0)) * 255
    stored = picture.to(torch.uint8)[None, None]
    fine = stored.double().repeat_interleave(13, dim=3)  # each cell is then 4 x 48 of these
    means = torch.nn.functional.avg_pool2d(fine, (4, 48))[0, 0]
    assert means.shape == (12, 13)
    assert torch.equal(votes.difference_hash(stored)[0], (means[:, 1:] > means[:, :-1]).flatten())


def test_majorities_and_shares():
    #                        hap sur sad ang dis fea neu con unk not
    counts = torch.tensor(
        [[5, 0, 3, 0, 0, 0, 2, 0, 0, 0], [0, 5, 0, 0, 0, 5, 0, 0, 0, 0], [0, 0, 0, 4, 0, 0, 6, 0, 0, 0]]
    )
    counts = torch.cat([counts, torch.zeros(1, 10, dtype=torch.int64)])
    assert votes.majority(counts, 6).tolist() == [0, 1, -1, -1], "of two with five the first"
    assert votes.majority(counts, 7).tolist() == [0, 1, 6, -1]
    assert votes.favourites(counts, 6).nonzero().tolist() == [[0, 0], [1, 1], [1, 5], [2, 3]]
    expected = torch.tensor([[5 / 8, 0, 3 / 8, 0, 0, 0], [0, 0.5, 0, 0, 0, 0.5], [0, 0, 0, 1, 0, 0], [0] * 6])
    torch.testing.assert_close(votes.distribution(counts, 6), expected)
    assert votes.with_votes(counts, 6).tolist() == [True, True, True, False]


def test_the_votes_that_come_with_the_package_are_small_and_whole():
    folder = votes.VOTES_FILE.parent
    assert sum(file.stat().st_size for file in folder.iterdir()) < 1_000_000
    assert "MIT License" in (folder / "LICENSE.md").read_text()
    assert votes.votes_digest() in (folder / "README.md").read_text()
    with np.load(votes.VOTES_FILE) as file:
        voters = {split: int(file[f"{split}_votes"].sum(dtype=np.int64)) for split in ("train", "test")}
        assert all(len(np.unique(file[f"{split}_hashes"], axis=0)) == len(file[f"{split}_hashes"]) for split in voters)
    assert voters == {"train": 285_579, "test": 71_520}, "ten for each image but one, of 35,710"


def test_fer2013_s_images_find_the_votes_that_are_theirs(fer_dataset):
    """By the rows of votes.parquet; images of one hash share a sum, so their shares are compared where it is one."""
    published = fer_dataset.parent / "ferplus" / "votes.parquet"
    if not published.is_file():
        pytest.skip(f"there is no {published}")
    from datasets import Dataset

    rows = Dataset.from_parquet(str(published))
    columns = [{"not a face": "NF"}.get(name, name) for name in votes.ANSWERS]
    own, alone = 0, 0
    for split in ("train", "test"):
        images = load(fer_dataset, split, classes=len(EMOTIONS_WITH_NEUTRAL)).images
        part = rows.filter(lambda row, split=split: row["split"] == split)
        theirs = torch.tensor([[row[name] or 0 for name in columns] for row in part]).long()
        found = votes.find_votes(images, split)
        voted = theirs.sum(dim=1) > 0
        single = voted & (found.counts.sum(dim=1) <= 10)
        assert torch.equal(found.counts[single], theirs[single])
        assert (found.counts[voted] >= theirs[voted]).all(), "a sum holds each of its parts"
        own, alone = own + int(voted.sum()), alone + int(single.sum())
    assert own == 35_710
    assert alone > 33_000


def test_jpeg_copies_of_fer2013_find_their_votes(fer_dataset):
    images = load(fer_dataset, "test", classes=len(EMOTIONS_WITH_NEUTRAL)).images
    exact = votes.find_votes(images, "test")
    again = votes.find_votes(copies([("", face[0].numpy()) for face in images], "JPEG"), "test")
    same = (again.counts == exact.counts).all(dim=1)[exact.counts.sum(dim=1) > 0]
    assert same.float().mean() > 0.99


def test_damaged_votes_are_refused(tmp_path, monkeypatch):
    damaged = bytearray(votes.VOTES_FILE.read_bytes())
    damaged[-200] ^= 1
    (tmp_path / "votes.npz").write_bytes(damaged)
    for name in ("VOTES_FILE", "_VENDORED"):
        monkeypatch.setattr(votes, name, tmp_path / "votes.npz")
    with pytest.raises(DataError, match="damaged; install the package anew"):
        votes.find_votes(torch.zeros(1, 1, 48, 48, dtype=torch.uint8), "train")
