"""What can go wrong between here and the Hub, played by the tests' Hub over HTTP.

The client tries most requests six times, over some 23 seconds, so all cases run side by side.
"""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from fer_model.model.network import FERModel
from helpers.hub_client import HubUser
from helpers.hub_server import FINE_TOKEN, READ_TOKEN, WRITE_TOKEN, WRONG_TOKEN, Fault, Hub
from helpers.synthetic import draw_faces, image_table, write_parquet

LOAD_MODEL = "import sys; from fer_model import FERModel; FERModel.from_pretrained(sys.argv[1])"
LOAD_DATASET = (
    "import sys; from fer_model.data.fer2013 import load_fer; assert len(load_fer(sys.argv[1], 'test')) == 24"
)

NOBODY = {"HF_ENDPOINT": "http://127.0.0.1:9"}


@dataclass
class Case:
    """One fault: what is done meanwhile, and what the last sentence must name."""

    does: str  # pull, push or dataset
    says: tuple[str, ...]
    fault: Fault | None = None
    token: str | None = WRITE_TOKEN
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
    "pull, connection refused": Case("pull", ("cannot be reached", "check the network"), environment=NOBODY),
    "pull, wrong token": Case("pull", ("401", "hf auth login"), token=WRONG_TOKEN),
    "pull, no such model": Case("pull", ("404", "check the name"), missing=True),
    "pull, too many requests": Case("pull", ("wait 1 s", "429"), Fault("HEAD /NAME/", 429, {"Retry-After": "1"})),
    "pull, server error": Case("pull", ("500", "try again later"), Fault(" /NAME/", 500)),
    "pull, cut in the middle": Case("pull", ("cut", "try again"), Fault("GET /NAME/.*safetensors", cut_after=99_999)),
    "pull, tampered on its way": Case("pull", ("SHA-256", "try again"), Fault("GET /NAME/.*safetensors", edit=flipped)),
    "pull, full disk": Case("pull", ("disk is full", "make room"), full_disk=True),
    "pull, truncated before upload": Case(
        "pull", ("not a whole safetensors file", "upload it again"), broken=("model.safetensors",)
    ),
    "pull, a config that lies": Case("pull", ("not those of version v2", "save_pretrained"), broken=("config.json",)),
    "push, connection refused": Case("push", ("cannot be reached", "check the network"), environment=NOBODY),
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
    "push, cut in the middle": Case("push", ("cut", "try again"), Fault("PUT /lfs/NAME/", cut_after=0)),
    "dataset, connection refused": Case("dataset", ("cannot be reached",), environment=NOBODY),
    "dataset, wrong token": Case("dataset", ("401", "hf auth login"), token=WRONG_TOKEN),
    "dataset, server error": Case("dataset", ("500", "try again later"), Fault(" /(api/)?datasets/NAME", 500)),
    "dataset, cut in the middle": Case(
        "dataset", ("cut", "try again"), Fault("GET /datasets/NAME/.*parquet", cut_after=999)
    ),
}


@dataclass
class Outcome:
    first: subprocess.CompletedProcess
    second: subprocess.CompletedProcess | None
    untouched: bool  # the local results after the fault
    home: Path


def on_full_disk(cache: Path) -> list[str]:
    """Words before a command that give it a cache on a disk of two megabytes, or files of at most so many."""
    cache.mkdir(parents=True, exist_ok=True)
    mount = f"mount -t tmpfs -o size=2m none '{cache}'"
    if shutil.which("unshare") and subprocess.run(["unshare", "-rm", "sh", "-c", mount], check=False).returncode == 0:
        return ["unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    return ["sh", "-c", 'ulimit -f 4000; exec "$@"', "sh"]


def play_all(hub: Hub, folder: Path) -> dict[str, Outcome]:
    """Every case, with its fault and then without; what each leaves goes below `folder`."""
    good = model_files(folder / "model")
    broken = {
        "model.safetensors": good["model.safetensors"][:-1000],
        "config.json": good["config.json"].replace(b'"v1"', b'"v2"'),
    }
    faces = image_table(draw_faces(4, seed=0))
    table = local_files(write_parquet(folder / "dataset", train=faces, test=faces))

    def play(name: str) -> Outcome:
        case = CASES[name]
        repo_id = "tester/" + name.replace(", ", "-").replace(" ", "-")
        home = folder / repo_id
        results = home / "results"
        shutil.copytree(folder / "model", results / "models")
        (results / "metrics.json").write_bytes(b"{}")
        if case.does == "dataset":
            hub.create("datasets", repo_id, table)
        elif case.does == "pull" and not case.missing or case.there:
            hub.create("models", repo_id, good | {path: broken[path] for path in case.broken})
        command = {
            "pull": ["evaluate.py", "--model", repo_id, "--dataset", folder / "dataset", "--output-dir", results],
            "push": ["-m", "fer_model", "push", results, repo_id],
            "dataset": ["evaluate.py", "--model", folder / "model", "--dataset", repo_id, "--output-dir", results],
        }[case.does]
        user = HubUser(hub, home / "cache", case.token)
        prefix = on_full_disk(user.cache) if case.full_disk else []
        fault = replace(case.fault, pattern=case.fault.pattern.replace("NAME", repo_id)) if case.fault else None
        hub.faults += [fault] if fault else []
        first = user.run(*prefix, sys.executable, *command, check=False, **case.environment)
        left = local_files(results)
        if fault:
            hub.faults.remove(fault)
        user.token = WRITE_TOKEN
        again = {"pull": ["-c", LOAD_MODEL, repo_id], "push": command, "dataset": ["-c", LOAD_DATASET, repo_id]}
        second = user.python(*again[case.does], check=False) if case.mended else None
        return Outcome(first, second, left == good_results, home)

    good_results = {f"models/{path}": content for path, content in good.items()} | {"metrics.json": b"{}"}
    # what waits for the client's many attempts goes first, so that the others work meanwhile
    order = sorted(CASES, key=lambda name: CASES[name].fault is None and CASES[name].environment != NOBODY)
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(order, pool.map(play, order), strict=True))
