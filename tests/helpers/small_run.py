"""One `train.py` on drawn faces, as small as can be."""

from pathlib import Path

import train
from helpers.synthetic import draw_faces, image_table, write_parquet


def drawn_dataset(folder: Path) -> Path:
    """Five faces a class, for training and for testing."""
    faces = image_table(draw_faces(5, seed=0))
    return write_parquet(folder, train=faces, test=faces)


def run(dataset: Path, folder: Path, *more: str) -> dict:
    """Train V1 for an epoch into `folder`, with `more` arguments; returns the history."""
    options = ["--version", "v1", "--epochs", "1", "--batch-size", "12", "--threads", "1", "--set", "size=16"]
    options += ["--dataset", str(dataset), "--output-dir", str(folder), *more]
    return train.main(train.parse_args(options))
