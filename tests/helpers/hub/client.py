"""Commands run as a user of the tests' Hub runs them: in a process of their own, with a cache of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from fer_model.model.network import FERModel
from helpers import ROOT
from helpers.hub_server import FINE_TOKEN, READ_TOKEN, WRITE_TOKEN, WRONG_TOKEN, Hub

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
        """Run a command; no token may be in anything that it prints."""
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=self.environment | extra,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        said = done.stdout + done.stderr
        assert not any(token in said for token in TOKENS), "a token was printed"
        if check:
            assert done.returncode == 0, said
        return done

    def python(self, *arguments, **options) -> subprocess.CompletedProcess:
        return self.run(sys.executable, *arguments, **options)

    def logits(self, model: str, revision: str | None = None, **options) -> list:
        """`local_logits`, but in a fresh process."""
        code = "import sys; from helpers.hub_client import local_logits; print(local_logits(*sys.argv[1:]))"
        return json.loads(self.python("-c", code, model, *([revision] if revision else []), **options).stdout)
