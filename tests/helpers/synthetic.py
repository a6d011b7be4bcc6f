"""Drawn faces in every shape of dataset that the loader reads.

FER2013's own pictures may not be committed, so the tests draw theirs: small, each different, and
the expressions different enough for a network to learn. `train` and `test` are lists of
(class name, uint8 (48, 48)), as `draw_faces` returns them.
"""

import csv
import io
import tarfile
from pathlib import Path

import datasets
import numpy as np
from PIL import Image, ImageDraw

# as the folders of Kaggle's msambare/fer2013 are called, and as `emotion` in fer2013.csv counts them
FOLDER_CLASSES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
KAGGLE_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
HUB_CLASSES = ("angry", "disgusted", "fearful", "happy", "neutral", "sad", "surprised")

# pixels: how far the corners of the mouth rise, how far it opens, how far the inner brows drop
EXPRESSIONS = {
    "angry": (-2, 0, 4),
    "disgust": (-4, 3, 2),
    "fear": (-2, 6, -4),
    "happy": (6, 2, 0),
    "neutral": (0, 0, 0),
    "sad": (-6, 0, -3),
    "surprise": (0, 10, -1),
}

Faces = list[tuple[str, np.ndarray]]


def draw_face(name: str, rng: np.random.Generator) -> np.ndarray:
    """uint8 (48, 48): a head with brows, eyes and a mouth, under noise."""
    corners, opening, brows = EXPRESSIONS[name]
    picture = Image.new("L", (48, 48), 50)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((6, 1, 41, 46), fill=180)
    for side in (-1, 1):
        draw.ellipse((24 + side * 8 - 2, 17, 24 + side * 8 + 2, 21), fill=30)
        draw.line((24 + side * 13, 13, 24 + side * 4, 13 + brows), fill=30, width=2)
    across = np.linspace(-1, 1, 9)
    curve = 34 + corners * (0.5 - across**2)
    upper = [(24 + 9 * x, y - opening / 2 * (1 - x * x)) for x, y in zip(across, curve, strict=True)]
    lower = [(24 + 9 * x, y + opening / 2 * (1 - x * x)) for x, y in zip(across, curve, strict=True)]
    draw.line(upper + lower[::-1], fill=30, width=2)
    return (np.asarray(picture) + rng.normal(0, 12, (48, 48))).clip(0, 255).astype(np.uint8)


def draw_faces(per_class: int = 4, seed: int = 0, classes: tuple[str, ...] = FOLDER_CLASSES) -> Faces:
    """Faces of all classes in turn: angry, disgust, …, surprise, angry, …"""
    rng = np.random.default_rng(seed)
    return [(name, draw_face(name, rng)) for _ in range(per_class) for name in classes]


def encode(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def usages(train: Faces, test: Faces) -> tuple[list[str], list[str]]:
    """FER2013's own split names; the test rows are of its two test halves in turn."""
    return ["Training"] * len(train), [("PublicTest", "PrivateTest")[i % 2] for i in range(len(test))]


def image_table(faces: Faces, usage: list[str] | None = None) -> datasets.Dataset:
    """Columns image (Image), label (ClassLabel) and, if given, usage."""
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(FOLDER_CLASSES))}
    columns = {
        "image": [{"bytes": encode(pixels), "path": f"{i}.png"} for i, (_, pixels) in enumerate(faces)],
        "label": [FOLDER_CLASSES.index(name) for name, _ in faces],
    }
    if usage:
        features["usage"], columns["usage"] = datasets.Value("string"), usage
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def write_parquet(folder: Path, **splits: datasets.Dataset) -> Path:
    """README.md with the splits, data/SPLIT-00000-of-00001.parquet: as `push_to_hub` lays it out."""
    lines = ["---", "configs:", "- config_name: default", "  data_files:"]
    for name, table in splits.items():
        # a size of batches, because datasets 4 divides by the rows to find one
        table.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet", batch_size=1000)
        lines += [f"  - split: {name}", f"    path: data/{name}-*.parquet"]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))
    return folder


def write_image_folder(folder: Path, train: Faces, test: Faces) -> Path:
    """SPLIT/CLASS/NUMBER.png"""
    for split, faces in (("train", train), ("test", test)):
        for number, (name, pixels) in enumerate(faces):
            file = folder / split / name / f"{number:04}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode(pixels))
    return folder


def write_kaggle_csv(file: Path, train: Faces, test: Faces) -> Path:
    """fer2013.csv: emotion,pixels,Usage."""
    return _write_csv(file, ("emotion", "pixels", "Usage"), train, test)


def write_icml_csv(file: Path, train: Faces, test: Faces) -> Path:
    """icml_face_data.csv: the columns in another order, and with blanks before their names."""
    return _write_csv(file, ("emotion", " Usage", " pixels"), train, test)


def _write_csv(file: Path, columns: tuple[str, ...], train: Faces, test: Faces) -> Path:
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        for (name, pixels), usage in zip(train + test, sum(usages(train, test), []), strict=True):
            values = {
                "emotion": KAGGLE_CLASSES.index(name),
                "Usage": usage,
                "pixels": " ".join(str(value) for value in pixels.flatten()),
            }
            writer.writerow([values[column.strip()] for column in columns])
    return file


def write_webdataset(folder: Path, train: Faces, test: Faces) -> Path:
    """SPLIT/0.tar and 1.tar of s0000000.jpg, s0000000.cls, …; classnames.txt: as clip-benchmark/wds_fer2013.

    Two shards, as there: beside a single one, `datasets` would take nshards.txt for the data.
    """
    for split, faces in (("train", train), ("test", test)):
        (folder / split).mkdir(parents=True)
        (folder / split / "nshards.txt").write_text("2")
        numbered = list(enumerate(faces))
        for shard, part in enumerate((numbered[: len(faces) // 2], numbered[len(faces) // 2 :])):
            with tarfile.open(folder / split / f"{shard}.tar", "w") as tar:
                for number, (name, pixels) in part:
                    _add(tar, f"s{number:07}.jpg", encode(pixels, "JPEG"))
                    _add(tar, f"s{number:07}.cls", str(FOLDER_CLASSES.index(name)).encode())
    (folder / "classnames.txt").write_text("\n".join(HUB_CLASSES))
    return folder


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
