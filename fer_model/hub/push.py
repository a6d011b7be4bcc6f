"""Uploads to the Hugging Face Hub: a run's weights, card and wheel; or figures into a card that is there."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token, hf_hub_url
from huggingface_hub.hf_api import RepoFile, RepoFolder

from fer_model.errors import FERError
from fer_model.hub.card import Network, model_card, render
from fer_model.hub.download import hub_card, hub_wheel
from fer_model.hub.errors import explain
from fer_model.hub.merge import merged, personal, with_results
from fer_model.records import Metrics
from fer_model.runs import CARD_FILE, CONFIG_FILE, ONNX_FILE, ROOT, WEIGHTS_FILE, Run


def prepare_push(repo_id: str, private: bool = False) -> str:
    """Make sure, before hours of work, that a push can succeed. The repository is created if need be.

    Args:
        private: the repository must be private.

    Returns:
        The full id, "user/name".

    Raises:
        FERError: nobody is logged in, the token may not write there, the repository is public though a private
            one was asked for, or the Hub cannot be reached.
    """
    if constants.HF_HUB_OFFLINE:
        raise FERError(f"{repo_id} cannot be pushed to while HF_HUB_OFFLINE is set; unset it.")
    if not get_token():
        raise FERError(f"{repo_id} cannot be pushed to: you are not logged in; run `hf auth login`, or set HF_TOKEN.")
    try:
        role = HfApi().whoami().get("auth", {}).get("accessToken", {}).get("role")
        if role != "read":
            repo_id = HfApi().create_repo(repo_id, private=private or None, exist_ok=True).repo_id
            HfApi().auth_check(repo_id, write=True)  # the role does not say what a fine-grained token may do
        public = role != "read" and private and not HfApi().model_info(repo_id).private
    except Exception as error:  # see hub/errors
        raise FERError(f"{repo_id} cannot be pushed to: {explain(error)}.") from error
    if role == "read":
        raise FERError(
            f"{repo_id} cannot be pushed to: your token may only read; "
            "make one that may write at https://huggingface.co/settings/tokens and run `hf auth login`."
        )
    if public:
        raise FERError(f"{repo_id} is there already and public; make it private on the Hub, or leave out --private.")
    return repo_id


def require_files(run: Run) -> None:
    """Stop where there is nothing to push.

    Raises:
        FERError: the run's folder holds no model.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (run.models / name).is_file():
            raise FERError(f"There is nothing to push: {run.models / name} is not there.")


def push_folder(
    run: Run, model: Network, repo_id: str, private: bool = False, onnx: Callable[[], bytes] | None = None
) -> str:
    """Upload weights, config, card and the package's wheel to the Hub in one commit; returns a sentence.

    The repository is created if need be. A card that is there already keeps what people wrote in it.

    Args:
        model: the network in the run's folder.
        onnx: gives the same as an ONNX file, which goes up too. Without, an older one is removed, because it may hold
            other weights.

    Raises:
        FERError: the upload failed. Nothing local is changed; the message says how to try again.
    """
    require_files(run)
    local = run.card.read_text(encoding="utf-8") if run.card.is_file() else ""
    again = shlex.join(["python", "-m", "fer_model", "push", str(run.folder), repo_id])
    again += " --private" * private + " --onnx" * (onnx is not None)
    try:
        repo_id = prepare_push(repo_id, private)
        head = commit_of(repo_id)
        there = hub_card(repo_id, head)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            wheel = build_wheel(folder)
            for name in (CONFIG_FILE, WEIGHTS_FILE):
                shutil.copy(run.models / name, folder)
            if onnx:
                (folder / ONNX_FILE).parent.mkdir()
                (folder / ONNX_FILE).write_bytes(onnx())
            address = hf_hub_url(repo_id, wheel.name) if wheel else hub_wheel(repo_id, head)
            new = model_card(run, model, repo_id, address, onnx=onnx is not None)
            (folder / CARD_FILE).write_text(merged(there or local, new), encoding="utf-8", newline="")
            HfApi().upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                delete_patterns=ONNX_FILE,  # does nothing to a file that goes up
                commit_message="Upload model, config, card and package",
                parent_commit=head,  # if somebody else writes at this moment, the Hub answers 412
            )
    except Exception as error:  # see hub/errors
        why = str(error) if isinstance(error, FERError) else f"The upload to {repo_id} failed: {explain(error)}."
        raise FERError(f"{why} Nothing is lost: the model is in {run.models}. To try again:\n  {again}") from error
    unsent = there and personal(local) not in (personal(there), personal(new), "")
    note = " (your own text in the local card was not sent: the card on the Hub keeps the one it has)" if unsent else ""
    return f"pushed to {repo_id}{note}"


def commit_of(repo_id: str, revision: str | None = None) -> str:
    """The commit that a branch or tag of a model on the Hub is at now.

    Raises:
        FERError: there is none, or the Hub cannot be asked.
    """
    try:
        return cast(str, HfApi().model_info(repo_id, revision=revision).sha)  # None only where it was not asked for
    except Exception as error:  # see hub/errors
        raise FERError(f"{repo_id} cannot be looked up: {explain(error)}.") from error


def require_branch(repo_id: str, branch: str | None) -> None:
    """Stop unless results can be written to this branch of a model on the Hub.

    Raises:
        FERError: it is a tag, a commit or nothing, or the Hub cannot be asked.
    """
    try:
        branches = [ref.name for ref in HfApi().list_repo_refs(repo_id).branches]
    except Exception as error:  # see hub/errors
        raise FERError(f"{repo_id} cannot be looked up: {explain(error)}.") from error
    if branch is not None and branch not in branches:
        raise FERError(f"Results can only be written to a branch of {repo_id} ({', '.join(branches)}), not {branch!r}.")


def push_results(repo_id: str, branch: str | None, measured: str, model: Network, metrics: Metrics) -> str:
    """Write measured figures into the card of a model on the Hub, and change nothing else in it.

    Args:
        branch: the branch whose card is changed (default: main).
        measured: the commit whose weights were measured. Where the branch holds others by now, nothing is written.

    Raises:
        FERError: the weights have changed since, or the upload failed.
    """
    api = HfApi()
    branch = branch or "main"
    try:
        head = commit_of(repo_id, branch)
        files = [CONFIG_FILE, WEIGHTS_FILE]  # the config holds the calibration
        before, now = (api.get_paths_info(repo_id, files, revision=revision) for revision in (measured, head))
        if _blobs(before) != _blobs(now):
            raise FERError(
                f"The weights of {repo_id} at {branch!r} are not the ones that were measured; measure them anew."
            )
        old = hub_card(repo_id, head) or ""
        card = render(
            model.version, model.parameter_count, emotions=model.class_names, repo_id=repo_id, metrics=metrics
        )
        new = with_results(old, card)
        if new == old:
            return f"{repo_id} holds these results already"
        api.create_commit(
            repo_id,
            [CommitOperationAdd(CARD_FILE, new.encode())],
            commit_message="Results measured by evaluate.py",
            revision=branch,
            parent_commit=head,  # if somebody else writes at this moment, the Hub answers 412
        )
    except FERError:
        raise
    except Exception as error:  # see hub/errors
        raise FERError(f"The results could not be written to {repo_id}: {explain(error)}.") from error
    return f"results written to the card of {repo_id}"


def _blobs(files: list[RepoFile | RepoFolder]) -> set[str]:
    """The digests that git gives to the files' contents."""
    return {file.blob_id for file in files if isinstance(file, RepoFile)}


def build_wheel(folder: Path) -> Path | None:
    """The package as a wheel in `folder`, so that others can install it; None outside a clone of the repository.

    Raises:
        FERError: setuptools could not build it.
    """
    if not (ROOT / "pyproject.toml").is_file():
        return None
    with tempfile.TemporaryDirectory() as temporary:  # setuptools leaves files where it builds
        source = Path(temporary)
        for name in ("pyproject.toml", "LICENSE"):
            shutil.copy(ROOT / name, source)
        shutil.copytree(ROOT / "fer_model", source / "fer_model", ignore=shutil.ignore_patterns("__pycache__"))
        code = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
        command = [sys.executable, "-c", code, str(folder.resolve())]
        # a fixed date, so that the same package gives the same bytes, and the Hub keeps it once
        environment = os.environ | {"SOURCE_DATE_EPOCH": "1577836800"}
        done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise FERError(f"The package could not be built ({last}); `pip install -U setuptools` may help.")
    return next(folder.glob("*.whl"))
