"""Votes for drawn faces, in the form of FER+'s."""

from pathlib import Path

import numpy as np
import torch

from fer_model.data.votes import ANSWERS, difference_hash, pack
from fer_model.labels import LABEL2ID, canonical_name
from helpers.synthetic import Faces


def stack(faces: Faces) -> torch.Tensor:
    """uint8 (N, 1, 48, 48)."""
    return torch.from_numpy(np.stack([pixels[None] for _, pixels in faces]))


def votes_for(faces: Faces, seed: int = 0) -> np.ndarray:
    """Ten votes for each face, int64 (N, 10): six for its own class, the others anywhere."""
    rng = np.random.default_rng(seed)
    found = np.zeros((len(faces), len(ANSWERS)), dtype=np.int64)
    for row, (name, _) in zip(found, faces, strict=True):
        row[LABEL2ID[canonical_name(name)]] += 6
        np.add.at(row, rng.integers(0, len(ANSWERS), 4), 1)
    return found


def write_votes(file: Path, train: tuple[Faces, np.ndarray], test: tuple[Faces, np.ndarray]) -> Path:
    """A file as vendor/ferplus/votes.npz."""
    arrays = {}
    for split, (faces, votes) in (("train", train), ("test", test)):
        arrays |= {f"{split}_hashes": pack(difference_hash(stack(faces))), f"{split}_votes": votes.astype(np.uint8)}
    np.savez_compressed(file, **arrays)
    return file
