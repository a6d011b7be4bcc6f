"""What can go wrong between here and the Hub, played by the tests' Hub over HTTP."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from fer_model.data.fer2013 import load_fer
from fer_model.model.network import FERModel
from helpers.hub.client import HubUser
from helpers.hub.faults import Fault
from helpers.hub.repos import FINE_TOKEN, READ_TOKEN, WRITE_TOKEN, WRONG_TOKEN, Hub
from helpers.synthetic import draw_faces, image_table, write_parquet

NOBODY = "http://127.0.0.1:9"


@dataclass
class Case:
    """One fault: what is done meanwhile, and what the last sentence must name."""

    does: str  # pull, push or dataset
    says: tuple[str, ...]
    fault: Fault | None = None
    token: str | None = WRITE_TOKEN
    endpoint: str | None = None  # of another Hub, or none
    environment: dict[str, str] = field(default_factory=dict)
    full_disk: bool = False
    broken: tuple[str, ...] = ()  # files that were uploaded broken
    missing: bool = False  # no such repository
    there: bool = False  # the repository that is pushed to exists already

    @property
    def mended(self) -> bool:
        """The command works once the fault is gone."""
        return not (self.broken or self.missing)


def flipped(content: bytes) -> bytes:
    """The same bytes but for one bit in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def model_files(folder: Path) -> dict[str, bytes]:
    FERModel(version="v1", seed=0).save_pretrained(folder)
    return local_files(folder)


def local_files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# NAME in a pattern stands for the case's own repository
CASES = {
    "pull, connection refused": Case("pull", ("cannot be reached", "check the network"), endpoint=NOBODY),
    "pull, wrong token": Case("pull", ("401", "hf auth login"), token=WRONG_TOKEN),
    "pull, no such model": Case("pull", ("404", "check the name"), missing=True),
    "pull, too many requests": Case("pull", ("wait 1 s", "429"), Fault("HEAD /NAME/", 429, {"Retry-After": "1"})),
    "pull, server error": Case("pull", ("500", "try again later"), Fault(" /NAME/", 500)),
    "pull, cut in the middle": Case("pull", ("cut", "try again"), Fault("GET /NAME/.*safetensors", cut_after=99_999)),
    "pull, redirect loop": Case("pull", ("in a circle", "HF_ENDPOINT"), Fault("HEAD /NAME/", 302, {"Location": "?on"})),
    "pull, tampered on its way": Case("pull", ("SHA-256", "try again"), Fault("GET /NAME/.*safetensors", edit=flipped)),
    "pull, full disk": Case("pull", ("disk is full", "make room"), full_disk=True),
    "pull, truncated before upload": Case(
        "pull", ("not a whole safetensors file", "upload it again"), broken=("model.safetensors",)
    ),
    "pull, a config that lies": Case("pull", ("not those of version v2", "save_pretrained"), broken=("config.json",)),
    "push, connection refused": Case("push", ("cannot be reached", "check the network"), endpoint=NOBODY),
    "push, wrong token": Case("push", ("401", "hf auth login"), token=WRONG_TOKEN, environment={"HF_DEBUG": "1"}),
    "push, read token": Case("push", ("may only read", "hf auth login"), token=READ_TOKEN),
    "push, fine-grained token that may read": Case("push", ("403", "hf auth login"), token=FINE_TOKEN, there=True),
    "push, no token": Case("push", ("not logged in", "hf auth login"), token=None),
    "push, token without the right": Case(
        "push", ("403", "hf auth login"), Fault("POST /api/models/NAME/commit", 403, {"X-Error-Message": "No rights."})
    ),
    "push, too many requests": Case(
        "push", ("wait 7 s", "429"), Fault("POST /api/models/NAME/commit", 429, {"Retry-After": "7"})
    ),
    "push, server error on commit": Case(
        "push", ("500", "try again later"), Fault("POST /api/models/NAME/commit", 500)
    ),
    "push, a commit that races another": Case("push", ("412", "try again"), Fault("POST /api/models/NAME/commit", 412)),
    "push, redirect loop": Case(
        "push", ("in a circle", "HF_ENDPOINT"), Fault("GET /api/models/NAME", 307, {"Location": "?on"})
    ),
    "push, cut in the middle": Case("push", ("cut", "try again"), Fault("PUT /lfs/NAME/", cut_after=0)),
    "dataset, connection refused": Case("dataset", ("cannot be reached",), endpoint=NOBODY),
    "dataset, wrong token": Case("dataset", ("401", "hf auth login"), token=WRONG_TOKEN),
    "dataset, server error": Case("dataset", ("500", "try again later"), Fault(" /(api/)?datasets/NAME", 500)),
    "dataset, redirect loop": Case(
        "dataset", ("in a circle", "HF_ENDPOINT"), Fault(" /(api/)?datasets/NAME", 302, {"Location": "?on"})
    ),
    "dataset, cut in the middle": Case(
        "dataset", ("cut", "try again"), Fault("GET /datasets/NAME/.*parquet", cut_after=999)
    ),
}


@dataclass
class Outcome:
    """What a case's command printed, and whether the local results are as they were."""

    done: subprocess.CompletedProcess
    untouched: bool


def on_full_disk(cache: Path) -> list[str]:
    """Words before a command that give it a cache on a disk of two megabytes, or files of at most so many."""
    cache.mkdir(parents=True, exist_ok=True)
    mount = f"mount -t tmpfs -o size=2m none '{cache}'"
    if shutil.which("unshare") and subprocess.run(["unshare", "-rm", "sh", "-c", mount], check=False).returncode == 0:
        return ["unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    return ["sh", "-c", 'ulimit -f 4000; exec "$@"', "sh"]


class Stage:
    """Plays cases; what each leaves goes into a folder of its own below `folder`."""

    def __init__(self, hub: Hub, folder: Path):
        self.hub, self.folder = hub, folder
        self.model = model_files(folder / "model")
        faces = image_table(draw_faces(4, seed=0))
        self.table = local_files(write_parquet(folder / "dataset", train=faces, test=faces))

    def home(self, name: str) -> Path:
        return self.folder / self.repo_id(name)

    def repo_id(self, name: str) -> str:
        return "tester/" + name.replace(", ", "-").replace(" ", "-")

    def command(self, name: str) -> list:
        repo_id, results = self.repo_id(name), self.home(name) / "results"
        return {
            "pull": ["evaluate.py", "--model", repo_id, "--dataset", self.folder / "dataset", "--output-dir", results],
            "push": ["-m", "fer_model", "push", results, repo_id],
            "dataset": ["evaluate.py", "--model", self.folder / "model", "--dataset", repo_id, "--output-dir", results],
        }[CASES[name].does]

    def play(self, name: str, process: bool = False) -> Outcome:
        """A case with its fault: in this process, or in one of its own, whose client really waits between attempts."""
        case, repo_id, results = CASES[name], self.repo_id(name), self.home(name) / "results"
        shutil.copytree(self.folder / "model", results / "models")
        (results / "metrics.json").write_bytes(b"{}")
        before = local_files(results)
        if case.does == "dataset":
            self.hub.create("datasets", repo_id, self.table)
        elif case.does == "pull" and not case.missing or case.there:
            self.hub.create("models", repo_id, self.model | {path: self._broken(path) for path in case.broken})
        user = HubUser(self.hub, self.home(name) / "cache", case.token)
        faults = [replace(case.fault, pattern=case.fault.pattern.replace("NAME", repo_id))] if case.fault else []
        with self.hub.playing(*faults):
            if process or case.full_disk or case.environment:
                prefix = on_full_disk(user.cache) if case.full_disk else []
                environment = case.environment | ({"HF_ENDPOINT": case.endpoint} if case.endpoint else {})
                done = user.run(*prefix, sys.executable, *self.command(name), check=False, **environment)
            else:
                done = user.script(*self.command(name), check=False, endpoint=case.endpoint)
        return Outcome(done, local_files(results) == before)

    def play_mended(self, name: str) -> None:
        """The same push, or a load with the same cache, once the fault is gone."""
        user = HubUser(self.hub, self.home(name) / "cache", WRITE_TOKEN)
        if CASES[name].does == "push":
            user.script(*self.command(name))
            return
        with user.at_work():
            if CASES[name].does == "pull":
                FERModel.from_pretrained(self.repo_id(name))
            else:
                assert len(load_fer(self.repo_id(name), "test", progress=False)) == 24

    def play_all(self) -> dict[str, Outcome]:
        """Every case in a process of its own. The client tries most requests six times, over some 23 seconds, so
        they run side by side."""
        # what waits for the client's many attempts goes first, so that the others work meanwhile
        order = sorted(CASES, key=lambda name: CASES[name].fault is None and not CASES[name].endpoint)
        with ThreadPoolExecutor(4) as pool:
            return dict(zip(order, pool.map(lambda name: self.play(name, process=True), order), strict=True))

    def _broken(self, path: str) -> bytes:
        """A file as it should not have been uploaded."""
        good = self.model[path]
        return good[:-1000] if path == "model.safetensors" else good.replace(b'"v1"', b'"v2"')
