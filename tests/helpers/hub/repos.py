"""What the tests' Hub holds: repositories with their commits, and users' tokens."""

import hashlib
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fastapi.responses import JSONResponse

from helpers.hub.faults import Fault

WRITE_TOKEN = "hf_WriteTokenOfTheTestUser"
READ_TOKEN = "hf_ReadTokenOfTheTestUser"
WRONG_TOKEN = "hf_WrongTokenOfNobody"
FINE_TOKEN = "hf_FineGrainedTokenThatMayRead"
ROLES = {WRITE_TOKEN: "write", READ_TOKEN: "read", FINE_TOKEN: "fineGrained"}
USER = "tester"

ID = r"[\w.-]+(/[\w.-]+)?"  # of a dataset in a model-index
LFS_NAMES = re.compile(r"\.(safetensors|onnx|parquet|tar|whl|png|jpg|bin)$")
PREFIXES = {"models": "", "datasets": "datasets/", "spaces": "spaces/"}


class HubError(Exception):
    """An answer with the Hub's own error code, which the client turns into a typed exception."""

    def __init__(self, status: int, code: str | None, message: str):
        self.answer = JSONResponse({"error": message}, status, headers={"X-Error-Message": message})
        if code:
            self.answer.headers["X-Error-Code"] = code


@dataclass
class Repo:
    kind: str
    id: str
    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)  # sha -> all files at that commit
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        self.commit({".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"})

    def commit(self, changes: dict[str, bytes | None], branch: str = "main") -> str:
        """A new commit on a branch; None deletes a file. Returns its sha."""
        files = dict(self.commits.get(self.branches.get(branch, ""), {})) | changes
        sha = secrets.token_hex(20)
        self.commits[sha] = {path: content for path, content in files.items() if content is not None}
        self.branches[branch] = sha
        return sha

    def resolve(self, revision: str) -> str:
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        if sha not in self.commits:
            raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return sha

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return self.commits[self.resolve(revision)]

    def entries(self, revision: str, under: str = "") -> list[dict]:
        """Files and folders below `under`, as the tree lists them."""
        found, folders = [], set()
        for path, content in self.files(revision).items():
            if under and path != under and not path.startswith(under + "/"):
                continue
            parts = path.split("/")
            folders |= {"/".join(parts[:n]) for n in range(1, len(parts)) if n > len(under.split("/")) or not under}
            entry = {"type": "file", "path": path, "size": len(content), "oid": git_oid(content)}
            if is_lfs(path, len(content)):
                entry["lfs"] = {
                    "oid": sha256(content),
                    "sha256": sha256(content),
                    "size": len(content),
                    "pointerSize": 134,
                }
            found.append(entry)
        return found + [{"type": "directory", "path": folder, "size": 0, "oid": "0" * 40} for folder in sorted(folders)]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_lfs(path: str, size: int) -> bool:
    return size > 100_000 or bool(LFS_NAMES.search(path))


class Hub:
    """The running server's state: tests read and change it directly."""

    def __init__(self, url: str):
        self.url = url
        self.repos: dict[tuple[str, str], Repo] = {}
        self.objects: dict[str, bytes] = {}  # uploaded by LFS, by repository and SHA-256
        self.faults: tuple[Fault, ...] = ()
        self.lock = threading.Lock()
        self.requests: list[str] = []

    def create(self, kind: str, repo_id: str, files: dict[str, bytes] | None = None, private: bool = False) -> Repo:
        repo = self.repos[kind, repo_id] = Repo(kind, repo_id, private)
        if files:
            repo.commit(files)
        return repo

    def repo(self, kind: str, repo_id: str) -> Repo:
        return self.repos[kind, repo_id]

    @contextmanager
    def playing(self, *faults: Fault) -> Iterator[None]:
        """Faults for as long as the block lasts. Others may come and go meanwhile, and requests are being answered, so
        the tuple is replaced and never changed."""
        with self.lock:
            self.faults += faults
        try:
            yield
        finally:
            with self.lock:
                self.faults = tuple(fault for fault in self.faults if not any(fault is mine for mine in faults))

    def fault_for(self, request: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and re.search(fault.pattern, request):
                fault.times -= 1
                return fault
        return None
