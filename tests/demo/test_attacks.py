"""People who mean harm get a sentence: nothing leaks, nothing runs, nothing stays on the disk."""

import contextlib
import itertools
import json
from pathlib import Path

import httpx
import pytest
from PIL import Image

from helpers import EXAMPLES, ROOT
from helpers.app import running_app
from helpers.browser import write_video
from helpers.videos import write_frames
from helpers.visitors import Visitor


@pytest.fixture(scope="module")
def attacked(models, tmp_path_factory):
    """A visitor of a demo of its own. At the end it stops when it is told to, and nothing of a visitor stays."""
    folder = tmp_path_factory.mktemp("attacked")
    with running_app(folder, model=models["V1"]) as running:
        visitor = Visitor(running.url)
        visitor.cache = folder / "cache"
        visitor.http.headers["Connection"] = "close"  # a busy server closes idle connections as they are used again
        yield visitor
        visitor.upload(b"left behind")
        assert running.stop() < 10, "seconds"
    assert not [path for path in visitor.cache.rglob("*") if path.is_file()]


def sentence(answer: httpx.Response, given: str = "") -> str:
    """What a refusal says; it tells nothing of the server's inside but what was given."""
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text)
    assert not any(
        word in answer.text.replace(given, "") for word in ("Traceback", str(ROOT), "site-packages", "Error:")
    )
    return answer.text


INSIDE = ["/etc/passwd", str(ROOT / "app.py"), "app.py", "/proc/self/environ", "/dev/zero", "file:///etc/passwd", "%00"]


@pytest.mark.parametrize("path", [*INSIDE, "..%2f..%2f..%2fetc/passwd", "{upload}" + "%2f.." * 12 + "%2fetc/passwd"])
def test_no_file_but_an_upload_has_an_address(attacked, path):
    path = path.format(upload=attacked.upload(b"here")["path"].replace("/", "%2f"))
    assert "not allowed" in sentence(attacked.http.get(f"/file={path}"), path)


@pytest.mark.parametrize("path", [*INSIDE, "\0", "a" * 5000, ["app.py"], 7, {"path": "app.py"}])
def test_no_file_but_an_upload_can_be_asked_about(attacked, path):
    for answer in (
        attacked.call("/predict", image={"path": path, "meta": {"_type": "gradio.FileData"}}),
        attacked.call("/film", video={"path": path, "meta": {"_type": "gradio.FileData"}}),
    ):
        assert answer.outputs is None
        assert str(ROOT) not in answer.complaint
        assert answer.complaint.endswith(".")


@pytest.mark.parametrize(
    "name", ["../../evil.png", "/etc/evil.png", "a/../../../evil.png", "C:\\evil.png", "<evil>.png"]
)
def test_an_upload_s_name_leads_nowhere(attacked, name):
    path = Path(attacked.upload(b"here", name)["path"])
    assert path.is_relative_to(attacked.cache)
    assert path.name == "evil.png"


@pytest.mark.parametrize("name", ["evil.html", "evil.svg", "evil.xml", "evil.js", "evil.pdf"])
def test_what_is_uploaded_never_runs_in_a_browser(attacked, name):
    upload = attacked.upload(b"<script xmlns='http://www.w3.org/1999/xhtml'>alert(1)</script>", name)
    headers = attacked.http.get(f"/file={upload['path']}").headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"].startswith("attachment")
    assert headers["x-content-type-options"] == "nosniff"


def test_a_video_that_is_html_too_is_a_video(attacked, tmp_path):
    content = b"<!DOCTYPE html><script>alert(1)</script>" + write_frames(tmp_path / "a.ts", [0, 0.1]).read_bytes()
    for name in ("a.mp4", "a.html"):
        upload = attacked.upload(content, name)
        headers = attacked.http.get(f"/file={upload['path']}").headers
        assert headers["content-type"] in ("video/mp4", "application/octet-stream")
        assert headers["x-content-type-options"] == "nosniff"
        annotated, _ = attacked.call("/film", video=upload).outputs
        assert attacked.http.get(annotated["url"]).content[4:8] == b"ftyp"


@pytest.mark.parametrize(
    "body",
    [
        '{"fn_index": 9999, "data": [], "session_hash": "s"}',
        '{"fn_index": -1, "data": [], "session_hash": "s"}',
        '{"fn_index": "x", "data": [], "session_hash": "s"}',
        '{"fn_index": NaN, "data": [], "session_hash": "s"}',
        '{"fn_index": 1e400, "data": [NaN], "session_hash": "s"}',
        '{"fn_index": 0, "data": [NaN], "session_hash": NaN}',
        '{"fn_index": 0, "data": []}',
        '{"fn_index": 0, "data": {}, "session_hash": "s"}',
        '{"data": [], "session_hash": "s"}',
        '{"fn_index": 0, "data": ["' + "x" * 5_000_000 + '"], "session_hash": "s"}',
        "[" * 100_000,
        "{",
        "null",
        "",
    ],
    ids=lambda body: body[:30],
)
def test_a_malformed_message_is_refused(attacked, body):
    sentence(attacked.http.post("/queue/join", content=body, headers={"Content-Type": "application/json"}))


@pytest.mark.parametrize("data", [[], [1], [7] * 4, ["x"] * 4, [[], {}, [], {}], [{"path": ""}, 0, 0, 0], [None] * 50])
def test_inputs_of_another_kind_are_answered_with_a_sentence(attacked, data):
    events = attacked.config()["dependencies"]
    number = next(
        event["id"] for event in events if (event["api_name"], event["api_visibility"]) == ("predict", "public")
    )
    complaint = attacked.press(number, data).complaint
    assert complaint.endswith(".")
    assert "\n" not in complaint


def test_a_body_without_end_is_cut_off_and_nothing_of_it_stays(attacked):
    sent = itertools.count()

    def endless(first: bytes):
        yield first
        for _ in range(3000):
            next(sent)
            yield b"x" * 100_000

    def post(path: str, kind: str, first: bytes = b"") -> None:
        with contextlib.suppress(httpx.WriteError):  # the server has closed the connection
            sentence(attacked.http.post(path, content=endless(first), headers={"Content-Type": kind}))

    for path in ("/queue/join", "/call/predict", "/call/v2/predict", "/cancel", "/mcp/"):
        post(path, "application/json")
    part = b'--q\r\nContent-Disposition: form-data; name="%s"\r\n\r\n'
    before = set(attacked.cache.rglob("*"))
    for head in (b'files"; filename="a.png', b'other"; filename="a.png', b"files"):
        post("/upload", "multipart/form-data; boundary=q", part % head)
    assert next(sent) < 6000, "chunks of 100 kB, of 24,000 in all"
    assert set(attacked.cache.rglob("*")) == before


@pytest.mark.parametrize("cut", [0, 1, 30, 71, 73, 75, 79])
def test_an_upload_that_ends_too_early_leaves_nothing(attacked, cut):
    form = b'--q\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nhere\r\n--q--\r\n'
    before = set(attacked.cache.rglob("*"))
    headers = {"Content-Type": "multipart/form-data; boundary=q"}
    answer = attacked.http.post("/upload", content=form[:cut], headers=headers)
    assert answer.text == "[]" or sentence(answer)
    assert set(attacked.cache.rglob("*")) == before
    assert len(attacked.http.post("/upload", content=form, headers=headers).json()) == 1


@pytest.mark.parametrize(
    "path",
    ["process_recording", "component_server", "run/predict", "api/predict", "proxy=http://127.0.0.1", "file=http://x"],
)
def test_what_gradio_offers_and_the_page_does_not_use_is_closed(attacked, path):
    for method in ("GET", "POST"):
        sentence(attacked.http.request(method, f"/{path}", json={"data": [None, False, None, True]}))


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.org"}, {"Host": "127.0.0.1.evil.org"}, {"Origin": "https://evil.org"}, {"Origin": "null"}],
    ids=json.dumps,
)
def test_pages_of_other_sites_get_nothing_from_a_demo_of_this_machine(attacked, headers):
    assert "only its own machine" in sentence(attacked.http.get("/info", headers=headers))
    assert "only its own machine" in sentence(attacked.http.post("/upload", files={"files": b"x"}, headers=headers))
    for name in ("localhost:7860", "LocalHost:7860", "[::1]:7860", "127.0.0.1"):
        own = {"Host": name, "Origin": f"http://{name}"}
        assert attacked.http.get("/info", headers=own).is_success, name


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.mpd"])
@pytest.mark.parametrize("form", ["{path}", "file:{path}"])
def test_a_video_that_names_other_files_is_refused(attacked, tmp_path, name, form):
    write_video(
        tmp_path / "private.mp4", [Image.open(EXAMPLES / "two_faces.jpg").convert("RGB").resize((320, 240))] * 2
    )
    lines = ("#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:1,", form.format(path=tmp_path / "private.mp4"))
    upload = attacked.upload("\n".join((*lines, "#EXT-X-ENDLIST\n")).encode(), name)
    assert attacked.call("/film", video=upload).complaint == f"{name} is not a video that can be read."
