"""Commands run as a user of the tests' Hub runs them: with a token and a cache of their own."""

import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import datasets
import torch
from huggingface_hub import HfFileSystem, constants, file_download
from huggingface_hub.utils import _http

from fer_model.hub import push
from fer_model.model.network import FERModel
from helpers import ROOT, scripts
from helpers.hub.repos import FINE_TOKEN, READ_TOKEN, WRITE_TOKEN, WRONG_TOKEN, Hub

TOKENS = (WRITE_TOKEN, READ_TOKEN, FINE_TOKEN, WRONG_TOKEN)


def local_logits(model: str | Path, revision: str | None = None) -> list:
    """What a model from a folder or Hub id makes of two fixed images, to the last digit the same in any process."""
    images = torch.linspace(-1, 1, 2 * 3 * 64 * 64).reshape(2, 3, 64, 64)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the last digits depend on their number, which earlier tests may have changed
    try:
        return FERModel.from_pretrained(model, revision=revision)(images).tolist()
    finally:
        torch.set_num_threads(threads)


class HubUser:
    """Someone with a token (None: logged out) and a cache folder."""

    def __init__(self, hub: Hub, cache: Path, token: str | None = WRITE_TOKEN):
        self.hub, self.cache, self.token = hub, cache, token

    @property
    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "FER_MODEL"))}
        clean |= {"HF_ENDPOINT": self.hub.url, "HF_HOME": str(self.cache), "HF_HUB_DISABLE_XET": "1"}
        clean |= {
            "NO_PROXY": "127.0.0.1",  # no proxy of this machine shall stand between
            "TQDM_DISABLE": "1",
            "ACCELERATE_USE_CPU": "true",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
        }
        return clean | ({"HF_TOKEN": self.token} if self.token else {})

    def run(self, *command, check: bool = True, cwd: Path = ROOT, **extra: str) -> subprocess.CompletedProcess:
        """Run a command in a process of its own."""
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=self.environment | extra,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return self._checked(done, check)

    def python(self, *arguments, **options) -> subprocess.CompletedProcess:
        """`python ARGUMENTS` in a process of its own."""
        return self.run(sys.executable, *arguments, **options)

    def script(self, *arguments, check: bool = True, endpoint: str | None = None) -> subprocess.CompletedProcess:
        """The same of a script, in this process, which is much faster (`helpers.scripts`)."""
        with self.at_work(endpoint):
            done = scripts.python(*arguments, check=False)
        return self._checked(done, check)

    @contextlib.contextmanager
    def at_work(self, endpoint: str | None = None, offline: bool = False) -> Iterator[None]:
        """This process's Hub client is this user's, as if freshly started; it does not wait between its attempts.

        Args:
            endpoint: of the Hub (default: the tests' own).
        """
        endpoint = endpoint or self.hub.url
        _wheel()  # before its building is replaced
        hub_cache = self.cache / "hub"
        HfFileSystem.clear_instance_cache()  # it remembers which repositories there are not
        _http.close_session()
        with contextlib.ExitStack() as stack:
            for module, name, value in (
                (constants, "ENDPOINT", endpoint),
                (constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"),
                (constants, "HF_HUB_CACHE", str(hub_cache)),
                (constants, "HF_HUB_OFFLINE", offline),
                (datasets.config, "HF_ENDPOINT", endpoint),
                (datasets.config, "HF_HUB_OFFLINE", offline),
                (push, "build_wheel", _copied_wheel),
                *((module, "time", _unhurried) for module in (_http, file_download)),
            ):
                stack.enter_context(patch.object(module, name, value))
            stack.enter_context(patch.dict(os.environ, {"HF_TOKEN": self.token} if self.token else {}))
            yield
        _http.close_session()

    def logits(self, model: str, revision: str | None = None, offline: bool = False) -> list:
        """`local_logits`, as this user gets them."""
        with self.at_work(offline=offline):
            return local_logits(model, revision)

    def logits_in_a_fresh_process(self, model: str, **options) -> list:
        code = "import sys; from helpers.hub.client import local_logits; print(local_logits(*sys.argv[1:]))"
        return json.loads(self.python("-c", code, model, **options).stdout)

    def _checked(self, done: subprocess.CompletedProcess, check: bool) -> subprocess.CompletedProcess:
        """No token may be in anything that a command prints."""
        said = done.stdout + done.stderr
        assert not any(token in said for token in TOKENS), "a token was printed"
        if check:
            assert done.returncode == 0, said
        return done


_unhurried = SimpleNamespace(**vars(_http.time) | {"sleep": lambda seconds: None})
"""The module `time`, but nobody sleeps."""


@functools.cache
def _wheel() -> tuple[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        file = push.build_wheel(Path(folder))
        return file.name, file.read_bytes()


def _copied_wheel(folder: Path) -> Path:
    """The package's wheel, built once for all pushes."""
    name, content = _wheel()
    (folder / name).write_bytes(content)
    return folder / name
