"""The files of a model, from a folder or from the Hugging Face Hub."""

import hashlib
import os
import re
import reprlib
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download, hf_hub_url
from huggingface_hub.errors import EntryNotFoundError, RemoteEntryNotFoundError
from packaging.utils import parse_wheel_filename

from fer_model.errors import ModelError
from fer_model.hub.errors import explain
from fer_model.runs import CARD_FILE, WEIGHTS_FILE


def fetch(source: str, filename: str, download: dict) -> Path:
    """The local path of one file of a model's folder or Hub repository.

    Args:
        download: options of `hf_hub_download`: revision, token, cache_dir, …

    Raises:
        ModelError: the file is missing, cannot be downloaded, or is damaged.
    """
    if os.path.isdir(source):
        path = Path(source) / filename
        if not path.is_file():
            raise ModelError(_missing(source, filename, [p.name for p in Path(source).iterdir()]))
        return path
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise ModelError(f"There is no folder {reprlib.repr(source)}, and a Hub id has the form user/name.")
    try:
        path = Path(hf_hub_download(source, filename, **download))
    except Exception as error:  # see hub/errors
        if isinstance(error, RemoteEntryNotFoundError):
            raise ModelError(_missing(source, filename, [])) from error
        if isinstance(error, EntryNotFoundError) and error.__cause__ is None:  # local_files_only
            raise ModelError(f"{source} is not in the local cache; load it once without local_files_only.") from error
        revision = f" at revision {download['revision']!r}" if download["revision"] else ""
        raise ModelError(f"The model {source!r}{revision} could not be loaded: {explain(error)}.") from error
    _check_cached(path, source)
    return path


def hub_card(repo_id: str, revision: str | None = None, token: str | bool | None = None) -> str | None:
    """The text of a card on the Hub, with its own line ends; None where there is none."""
    try:
        path = hf_hub_download(repo_id, CARD_FILE, revision=revision, token=token)
    except RemoteEntryNotFoundError:
        return None
    return Path(path).read_bytes().decode("utf-8-sig")


def hub_wheel(repo_id: str, revision: str | None = None, token: str | bool | None = None) -> str | None:
    """The address of the newest wheel of this package in a repository; None where there is none."""
    names = [n for n in HfApi(token=token).list_repo_files(repo_id, revision=revision) if n.startswith("fer_model-")]
    wheels = sorted((name for name in names if name.endswith(".whl")), key=lambda name: parse_wheel_filename(name)[1])
    return hf_hub_url(repo_id, wheels[-1]) if wheels else None


def _file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_cached(path: Path, source: str) -> None:
    """Compare a file in the Hub's cache with its SHA-256, under which the cache keeps it.

    The client itself checks only the size, and only while it downloads.
    """
    if not path.is_symlink():  # a cache without symlinks does not hold the digest
        return
    blob = path.parent / os.readlink(path)
    if re.fullmatch(r"[0-9a-f]{64}", blob.name) and _file_digest(path) != blob.name:
        try:
            for file in (path.resolve(), blob, path):
                file.unlink(missing_ok=True)  # or the cache would give it out for ever
            then = "It has been removed from the cache; try again."
        except OSError:
            then = f"Remove {blob} and try again."
        raise ModelError(
            f"{path.name} of {source} was damaged on its way or in the cache: its SHA-256 is not the Hub's. {then}"
        )


def _missing(source: str, filename: str, found: list[str]) -> str:
    message = f"{source} has no {filename}"
    if filename == WEIGHTS_FILE and any(name.endswith((".bin", ".pt", ".pth", ".pkl", ".ckpt")) for name in found):
        return message + ". Pickled weights can run code and are refused; save them as safetensors."
    more = f" and {len(found) - 20:,} more" if len(found) > 20 else ""
    return message + (f" (found: {', '.join(sorted(found)[:20])}{more})." if found else ".")
