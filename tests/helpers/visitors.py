"""Visitors of a demo: one who speaks plain HTTP and may send anything, an MCP client, and what they give and get."""

import asyncio
import csv
import io
import json
import uuid
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, Tool
from PIL import Image

ENDPOINTS = {
    "predict": ["image", "whole_picture", "version", "level_eyes"],
    "heat_map": ["image", "emotion", "face", "whole_picture", "version", "level_eyes"],
    "compare": ["image", "whole_picture", "level_eyes"],
    "film": ["video", "every", "version"],
    "about": [],
}
"""The parameters of each, in order. Programs rely on them: add some at the end, and change none."""


@dataclass(frozen=True)
class Answer:
    """What came back: the outputs, or the sentence that a visitor reads instead."""

    outputs: list | None
    complaint: str | None


class Visitor:
    """One who uploads files, calls endpoints, and presses what is on the page, all with whatever data."""

    def __init__(self, url: str):
        # no TLS: to read this machine's certificates takes longer than a request
        self.http = httpx.Client(base_url=f"{url}/gradio_api", timeout=180, trust_env=False, verify=False)
        self._config = f"{url}/config"

    def upload(self, content: bytes, name: str = "photo.jpg") -> dict:
        """As Gradio's own clients do; gives what they then send for the file."""
        (path,) = self.http.post("/upload", files={"files": (name, content)}).raise_for_status().json()
        return {"path": path, "meta": {"_type": "gradio.FileData"}}

    def call(self, endpoint: str, **given) -> Answer:
        """Call an endpoint by the names of its parameters."""
        return self.result(endpoint, self.ask(endpoint, **given))

    def ask(self, endpoint: str, **given) -> httpx.Response:
        """Join the queue, and do not wait."""
        return self.http.post(f"/call/v2{endpoint}", json=given)

    def result(self, endpoint: str, joined: httpx.Response) -> Answer:
        """The answer to what `ask` began."""
        if not joined.is_success:
            return Answer(None, joined.json()["detail"])
        text = self.http.get(f"/call{endpoint}/{joined.json()['event_id']}").text
        kind, data = text.strip().split("\n\n")[-1].removeprefix("event: ").split("\ndata: ", 1)
        data = json.loads(data)
        return Answer(data, None) if kind == "complete" else Answer(None, data["error"])

    def config(self) -> dict:
        return self.http.get(self._config).raise_for_status().json()

    def press(self, event: int, data: list, event_data: dict | None = None, session: str | None = None) -> Answer:
        """Let one of the page's events happen, by its number in `config`; of a generator's outputs the last."""
        session = session or uuid.uuid4().hex
        asked = {"fn_index": event, "data": data, "event_data": event_data, "session_hash": session}
        self.http.post("/queue/join", json=asked).raise_for_status()
        outputs = None
        with self.http.stream("GET", "/queue/data", params={"session_hash": session}) as stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line else {"msg": ""}
                if message["msg"] in ("process_generating", "process_completed") and not message["success"]:
                    return Answer(None, message["output"]["error"])
                if message["msg"] == "process_completed":
                    return Answer(message["output"].get("data") or outputs, None)
        raise AssertionError("the stream ended without an answer")


def list_tools(url: str) -> dict[str, Tool]:
    """The tools that an MCP client sees, by name."""

    async def ask(session: ClientSession) -> dict[str, Tool]:
        return {tool.name: tool for tool in (await session.list_tools()).tools}

    return _with_session(url, ask)


def call_tool(url: str, name: str, arguments: dict, progress: bool = False) -> CallToolResult:
    """What an MCP client gets from a tool. Some clients ask to be told of the progress, and most do not."""

    async def told(*_) -> None:
        pass

    async def ask(session: ClientSession) -> CallToolResult:
        return await session.call_tool(name, arguments, progress_callback=told if progress else None)

    return _with_session(url, ask)


def _with_session(url: str, ask):
    async def run():
        async with (
            streamable_http_client(f"{url}/gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return await ask(session)

    with ThreadPoolExecutor(1) as pool:  # the browser's tests keep a loop of events in this thread
        return pool.submit(asyncio.run, run()).result()


def as_png(picture: Image.Image | None = None) -> bytes:
    """The picture as a file; by default a white one."""
    file = io.BytesIO()
    (picture or Image.new("RGB", (200, 200), "white")).save(file, "PNG")
    return file.getvalue()


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def rows_of(table: Path) -> list[dict]:
    """Of a CSV file, without its head."""
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
