"""A file or folder on this machine -> the rows of its splits, which are found here and not guessed by a library."""

import shutil
import tempfile
import zipfile
from pathlib import Path

import datasets

from fer_model.data.folders import IMAGES, UNSPLIT, all_files, image_folder, listed, log_left_out, split_of
from fer_model.errors import DataError

READERS = {
    ".parquet": "parquet",
    ".tar": "webdataset",
    ".arrow": "arrow",
    ".csv": "csv",
    ".jsonl": "json",
    ".json": "json",
}
"""Endings of data files, and what `datasets` calls their readers."""

TAKES = "--dataset takes a Hub id, a file or folder of parquet, WebDataset shards or images, or Kaggle's CSV."

KAGGLE = ("fer2013.csv", "icml_face_data.csv")
"""How Kaggle calls its files. Both hold the same images."""


def local_dataset(path: Path) -> datasets.DatasetDict:
    """The rows of a file's or folder's splits.

    Raises:
        DataError: there is nothing to read, or it cannot be told what belongs to which split.
        Exception: whatever the readers raise for damaged files.
    """
    path = reading_place(path)
    if csv_file := _kaggle_csv(path):
        rows = datasets.load_dataset("csv", data_files=str(csv_file), split="train")
        rows = rows.rename_columns({name: name.strip() for name in rows.column_names if name != name.strip()})
        return datasets.DatasetDict(train=rows)
    if found := image_folder(path):
        return found
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():  # of save_to_disk
        saved = datasets.load_from_disk(str(path))
        return saved if isinstance(saved, datasets.DatasetDict) else datasets.DatasetDict({UNSPLIT: saved})
    if _says_itself(path):
        return datasets.load_dataset(str(path), cache_dir=str(_cache(path)))
    if files := _data_files(path):
        reader = READERS[next(iter(files.values()))[0].suffix.lower()]
        # `datasets` gives its own meaning to some names of splits, so each is read as its "train"
        return datasets.DatasetDict(
            {
                split: datasets.load_dataset(
                    reader, data_files=[str(file) for file in part], cache_dir=str(_cache(path)), split="train"
                )
                for split, part in files.items()
            }
        )
    found = list(all_files(path))
    images = "; images must lie in a folder for each class" * any(f.suffix.lower() in IMAGES for f in found)
    raise DataError(
        f"The dataset {str(path)!r} holds nothing that can be read (found: {listed([f.name for f in found])}){images}. "
        f"{TAKES}"
    )


def _says_itself(path: Path) -> bool:
    """Whether a folder tells `datasets` which files belong to which split, or what label each image has."""
    readme = path / "README.md"
    told = readme.is_file() and "data_files:" in readme.read_text(encoding="utf-8", errors="replace")
    return told or (path.is_dir() and any(file.stem == "metadata" for file in all_files(path)))


def reading_place(path: Path) -> Path:
    """Where a dataset is read: the path itself, or where its zips were unpacked.

    A folder's zips are unpacked if it has neither data files nor images. Each becomes a folder of its name, where it
    lies.

    Raises:
        DataError: a zip is damaged or encrypted, or there is no room for what it holds.
    """
    files = list(all_files(path))
    endings = {file.suffix.lower() for file in files}
    if ".zip" not in endings or endings & {*READERS, *IMAGES}:
        return path
    place = _cache(path) / "unpacked"
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        root = path if path.is_dir() else path.parent
        # in a folder of its own, for another process may be unpacking the same
        with tempfile.TemporaryDirectory(dir=place.parent) as temporary:
            whole = Path(temporary, "whole")
            for file in files:
                if file.suffix.lower() == ".zip":
                    _unpack(file, whole / file.relative_to(root).with_suffix(""))
            try:
                whole.rename(place)
            except OSError:
                if not place.is_dir():  # nobody else was faster
                    raise
    return place


def _unpack(file: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    try:
        with zipfile.ZipFile(file) as archive:
            size, free = sum(info.file_size for info in archive.infolist()), shutil.disk_usage(folder).free
            if size > free:
                sizes = f"{size / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free in {folder}"
                raise DataError(f"The zip {str(file)!r} holds {sizes}.")
            archive.extractall(folder)  # it leaves no folder: `..` and roots are taken from the names
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"The zip {str(file)!r} cannot be read ({reason}); unpack it, and name the folder.") from error


def _cache(path: Path) -> Path:
    """A cache of its own for every folder and every state of it.

    Where a README lists the files, `datasets` finds its cache by that README and the folder's last name alone. A
    repaired dataset, or another one of the same name, would silently be read as the old one.
    """
    files = sorted(file for file in all_files(path.resolve()) if file.is_file())
    state = [(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files]
    return Path(datasets.config.HF_DATASETS_CACHE) / "local" / datasets.fingerprint.Hasher.hash(state)


def _kaggle_csv(path: Path) -> Path | None:
    """Kaggle's file, in any case and at any depth; or the one CSV that is named."""
    if path.is_file():
        return path if path.suffix.lower() == ".csv" else None
    found = [file for file in all_files(path) if file.name.lower() in KAGGLE]
    # the one that lies highest, and comes first in KAGGLE
    return min(found, key=lambda file: (len(file.parts), KAGGLE.index(file.name.lower())), default=None)


def _data_files(path: Path) -> dict[str, list[Path]]:
    """The data files of each split, by the names of their folders, else by their own; all are of the first reader.

    Those of other readers, and those that are named after no split where others are, are named in the log.
    """
    files = list(all_files(path))
    ending = next((ending for ending in READERS if any(file.suffix.lower() == ending for file in files)), None)
    found: dict[str | None, list[Path]] = {}
    others = []
    for file in files:
        if file.suffix.lower() == ending:
            folders = file.relative_to(path).parts[:-1]
            split = next(filter(None, map(split_of, reversed(folders))), None) or split_of(file.stem)
            found.setdefault(split, []).append(file)
        elif file.suffix.lower() in READERS:
            others.append(file)
    log_left_out(path, f"files of another kind than {ending}", others)
    if list(found) == [None]:
        return {UNSPLIT: found[None]}
    log_left_out(path, "files that are named after no split", found.pop(None, []))
    return {split: part for split, part in found.items() if split}
