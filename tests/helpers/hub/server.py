"""A Hugging Face Hub on 127.0.0.1 for the tests: what the real client asks for, and faults on demand.

    with running_hub() as hub:
        subprocess.run([...], env=os.environ | {"HF_ENDPOINT": hub.url, "HF_TOKEN": WRITE_TOKEN, ...})
        hub.repo("models", "tester/faces").files()

Models, datasets and Spaces; create, preupload, LFS, commit, tags and branches, resolve with ranges, info,
tree and typed errors. Everything is kept in memory. Files above 100 kB, and those that Git LFS tracks on
the real Hub, go through LFS; Xet is not served, so clients need HF_HUB_DISABLE_XET=1.
"""

import base64
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
import yaml
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from helpers.hub.faults import FaultyTransport
from helpers.hub.repos import ID, PREFIXES, ROLES, USER, Hub, HubError, Repo, git_oid, is_lfs, sha256


def role(request: Request) -> str | None:
    """What the request's token may do; None without a token."""
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    if token and token not in ROLES:
        raise HubError(401, None, "Invalid credentials in Authorization header")
    return ROLES.get(token)


def require_write(request: Request, repo_id: str) -> None:
    found = role(request)
    if found is None:
        raise HubError(401, None, "Authentication required")
    if found != "write" or not repo_id.startswith(USER + "/"):
        raise HubError(403, None, f"You don't have the rights to write to {repo_id}")


def make_app(hub: Hub) -> FastAPI:
    app = FastAPI()
    app.add_middleware(FaultyTransport, hub=hub)

    @app.exception_handler(HubError)
    async def typed(request: Request, error: HubError):
        return error.answer

    def readable(request: Request, kind: str, namespace: str, name: str) -> Repo:
        known = role(request)
        repo = hub.repos.get((kind, f"{namespace}/{name}"))
        if repo is None or (repo.private and known is None):
            # the real Hub does not tell strangers whether a private repository exists
            raise HubError(404 if known else 401, "RepoNotFound", "Repository not found")
        return repo

    @app.get("/api/whoami-v2")
    async def whoami(request: Request):
        found = role(request)
        if found is None:
            raise HubError(401, None, "Invalid username or password.")
        return {"type": "user", "name": USER, "orgs": [], "auth": {"accessToken": {"role": found, "displayName": "t"}}}

    @app.post("/api/repos/create")
    async def create(request: Request):
        asked = await request.json()
        repo_id = f"{asked.get('organization') or USER}/{asked['name']}"
        kind = asked.get("type", "model") + "s"
        answer = {"url": f"{hub.url}/{PREFIXES[kind]}{repo_id}", "name": repo_id, "id": repo_id}
        require_write(request, repo_id)
        if (kind, repo_id) in hub.repos:
            return JSONResponse(answer | {"error": "You already created this repo"}, 409)
        hub.create(kind, repo_id, private=asked.get("visibility") == "private" or asked.get("private") is True)
        return answer

    @app.get("/api/agent-harnesses")
    async def agent_harnesses():
        return {}

    @app.post("/api/validate-yaml")
    async def validate_yaml(request: Request):
        text = (await request.json())["content"]
        try:
            found = yaml.safe_load(text.split("---")[1]) if text.startswith("---") else {}
            results = [result for entry in found.get("model-index", []) for result in entry["results"]]
            wrong = [r["dataset"]["type"] for r in results if not re.fullmatch(ID, r["dataset"]["type"])]
        except (yaml.YAMLError, AttributeError, KeyError) as error:
            wrong = [repr(error)]
        answer = {"errors": [{"message": f"not accepted: {what}"} for what in wrong], "warnings": []}
        return JSONResponse(answer, 400 if wrong else 200)

    @app.get("/api/{kind}/{namespace}/{name}/auth-check")
    async def auth_check(request: Request, kind: str, namespace: str, name: str):
        readable(request, kind, namespace, name)

    @app.get("/api/{kind}/{namespace}/{name}/auth-check/write")
    async def auth_check_write(request: Request, kind: str, namespace: str, name: str):
        readable(request, kind, namespace, name)
        require_write(request, f"{namespace}/{name}")

    @app.get("/api/{kind}/{namespace}/{name}/refs")
    async def refs(request: Request, kind: str, namespace: str, name: str):
        repo = readable(request, kind, namespace, name)
        return {
            group: [{"name": ref, "ref": f"refs/{what}/{ref}", "targetCommit": sha} for ref, sha in found.items()]
            for group, what, found in (("branches", "heads", repo.branches), ("tags", "tags", repo.tags))
        } | {"converts": []}

    @app.post("/api/{kind}/{namespace}/{name}/preupload/{revision}")
    async def preupload(request: Request, kind: str, namespace: str, name: str, revision: str):
        require_write(request, f"{namespace}/{name}")
        readable(request, kind, namespace, name).resolve(revision)
        files = (await request.json())["files"]
        modes = {True: "lfs", False: "regular"}
        return {
            "files": [
                {"path": f["path"], "uploadMode": modes[is_lfs(f["path"], f["size"])], "shouldIgnore": False}
                for f in files
            ]
        }

    async def lfs_batch(request: Request, namespace: str, name: str):
        require_write(request, f"{namespace}/{name}")
        storage = f"{hub.url}/lfs/{namespace}/{name}"
        found = (await request.json())["objects"]
        for entry in found:
            if f"{namespace}/{name}/{entry['oid']}" not in hub.objects:
                entry["actions"] = {
                    "upload": {"href": f"{storage}/{entry['oid']}"},
                    "verify": {"href": f"{storage}/verify"},
                }
        return {"transfer": "basic", "objects": found}

    for prefix in PREFIXES.values():
        app.post(f"/{prefix}{{namespace}}/{{name}}.git/info/lfs/objects/batch")(lfs_batch)

    @app.put("/lfs/{namespace}/{name}/{oid}")
    async def upload(request: Request, namespace: str, name: str, oid: str):
        content = await request.body()
        if sha256(content) != oid:
            raise HubError(400, None, "The uploaded bytes have another SHA-256")
        hub.objects[f"{namespace}/{name}/{oid}"] = content

    @app.post("/lfs/{namespace}/{name}/verify")
    async def verify(request: Request, namespace: str, name: str):
        if f"{namespace}/{name}/{(await request.json())['oid']}" not in hub.objects:
            raise HubError(404, None, "not uploaded")

    @app.post("/api/{kind}/{namespace}/{name}/commit/{revision}")
    async def commit(request: Request, kind: str, namespace: str, name: str, revision: str):
        require_write(request, f"{namespace}/{name}")
        repo = readable(request, kind, namespace, name)
        if revision not in repo.branches:
            raise HubError(404, "RevisionNotFound", f"There is no branch {revision}")
        changes: dict[str, bytes | None] = {}
        for line in (await request.body()).splitlines():
            item = json.loads(line)
            key, value = item["key"], item["value"]
            if key == "header" and value.get("parentCommit", repo.branches[revision]) != repo.branches[revision]:
                raise HubError(412, None, "A commit has happened since. Please refresh and try again.")
            if key == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                changes[value["path"]] = hub.objects[f"{repo.id}/{value['oid']}"]
            elif key == "deletedFile":
                changes[value["path"]] = None
        sha = repo.commit(changes, revision)
        return {"success": True, "commitOid": sha, "commitUrl": f"{hub.url}/{PREFIXES[kind]}{repo.id}/commit/{sha}"}

    @app.post("/api/{kind}/{namespace}/{name}/tag/{revision}")
    async def tag(request: Request, kind: str, namespace: str, name: str, revision: str):
        require_write(request, f"{namespace}/{name}")
        repo = readable(request, kind, namespace, name)
        repo.tags[(await request.json())["tag"]] = repo.resolve(revision)

    @app.post("/api/{kind}/{namespace}/{name}/branch/{branch}")
    async def branch(request: Request, kind: str, namespace: str, name: str, branch: str):
        require_write(request, f"{namespace}/{name}")
        repo = readable(request, kind, namespace, name)
        repo.branches[branch] = repo.resolve((await request.json()).get("startingPoint") or "main")

    @app.get("/api/{kind}/{namespace}/{name}")
    @app.get("/api/{kind}/{namespace}/{name}/revision/{revision}")
    async def info(request: Request, kind: str, namespace: str, name: str, revision: str = "main"):
        repo = readable(request, kind, namespace, name)
        files = [entry for entry in repo.entries(revision) if entry["type"] == "file"]
        return {
            "id": repo.id,
            "sha": repo.resolve(revision),
            "author": namespace,
            "private": repo.private,
            "gated": False,
            "tags": [],
            "createdAt": "2026-01-01T00:00:00.000Z",
            "lastModified": "2026-01-01T00:00:00.000Z",
            "siblings": [{"rfilename": entry.pop("path"), **entry} for entry in files],
        }

    @app.get("/api/{kind}/{namespace}/{name}/tree/{revision}")
    @app.get("/api/{kind}/{namespace}/{name}/tree/{revision}/{path:path}")
    async def tree(
        request: Request, kind: str, namespace: str, name: str, revision: str, path: str = "", recursive: bool = False
    ):
        entries = readable(request, kind, namespace, name).entries(revision, path)
        if path and not entries:
            raise HubError(404, "EntryNotFound", f"{path} does not exist")
        depth = path.count("/") + 1 if path else 0
        return [entry for entry in entries if recursive or entry["path"].count("/") == depth]

    @app.post("/api/{kind}/{namespace}/{name}/paths-info/{revision}")
    async def paths_info(request: Request, kind: str, namespace: str, name: str, revision: str):
        if "json" in request.headers.get("content-type", ""):
            asked = (await request.json())["paths"]
        else:
            asked = (await request.form()).getlist("paths")
        entries = readable(request, kind, namespace, name).entries(revision)
        return [entry for entry in entries if entry["path"] in asked]

    async def resolve(request: Request, namespace: str, name: str, revision: str, path: str):
        kind = {"datasets": "datasets", "spaces": "spaces"}.get(request.url.path.split("/")[1], "models")
        repo = readable(request, kind, namespace, name)
        sha = repo.resolve(revision)
        content = repo.commits[sha].get(path)
        if content is None:
            error = HubError(404, "EntryNotFound", f"{path} does not exist in {repo.id} at {revision}")
            error.answer.headers["X-Repo-Commit"] = sha
            raise error
        lfs = is_lfs(path, len(content))
        headers = {
            "X-Repo-Commit": sha,
            "ETag": f'"{sha256(content) if lfs else git_oid(content)}"',
            "Accept-Ranges": "bytes",
            "Content-Length": str(len(content)),
        }
        if lfs:
            headers |= {"X-Linked-Size": str(len(content)), "X-Linked-ETag": headers["ETag"]}
        status = 200
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", "")):
            first, last = int(match[1]), int(match[2] or len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{min(last, len(content) - 1)}/{len(content)}"
            content, status = content[first : last + 1], 206
            headers["Content-Length"] = str(len(content))
        body = b"" if request.method == "HEAD" else content
        return Response(body, status, headers, "application/octet-stream")

    for prefix in PREFIXES.values():
        path = f"/{prefix}{{namespace}}/{{name}}/resolve/{{revision}}/{{path:path}}"
        app.api_route(path, methods=["GET", "HEAD"])(resolve)
    return app


@contextmanager
def running_hub(listener: socket.socket | None = None) -> Iterator[Hub]:
    """The server at the address that `listener` is bound to, or a free port of 127.0.0.1; stopped at the end."""
    listener = listener or socket.create_server(("127.0.0.1", 0))
    hub = Hub(f"http://127.0.0.1:{listener.getsockname()[1]}")
    server = uvicorn.Server(uvicorn.Config(make_app(hub), log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield hub
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()
