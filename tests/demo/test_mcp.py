"""The five endpoints as tools of MCP, and how they are documented there, over HTTP and in gradio_client."""

import base64
import io
import json
import re
from pathlib import Path

import gradio as gr
import httpx
import numpy as np
import pytest
from gradio_client import handle_file
from PIL import Image

from fer_model.demo import api
from fer_model.demo.guard import NO_ADDRESS
from fer_model.demo.jobs import Jobs
from fer_model.errors import ImageError
from fer_model.labels import EMOTIONS
from helpers import EXAMPLES
from helpers.visitors import ENDPOINTS, Visitor, call_tool, list_tools

PHOTO = EXAMPLES / "two_faces.jpg"


@pytest.fixture(scope="module")
def docstrings(network) -> dict[str, tuple[str, dict[str, str], list[str]]]:
    """Of each endpoint, from its docstring: what it does, what its parameters are, and what it returns."""
    with gr.Blocks() as page:
        api.endpoints(network, Jobs(network))
    found = {}
    for event in page.fns.values():
        parts = re.split(r"\n\s*(?:Args|Returns):\n", event.fn.__doc__)
        assert (len(parts) == 3) == bool(ENDPOINTS[event.fn.__name__])
        lines = parts[1].splitlines() if len(parts) == 3 else []
        # every line is one parameter: Gradio reads no more than one for each
        parameters = dict(line.strip().split(": ", 1) for line in lines if line.strip())
        returns = [line.strip() for line in parts[-1].splitlines() if line.strip()]
        found[event.fn.__name__] = " ".join(parts[0].split()), parameters, returns
    return found


def address_of(content: bytes, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def test_the_five_endpoints_and_no_others_are_listed_with_types_and_descriptions(client, docstrings):
    described = client.view_api(return_format="dict", print_info=False)
    assert set(described["named_endpoints"]) == {f"/{name}" for name in ENDPOINTS}
    assert not described["unnamed_endpoints"]
    for name, parameters in ENDPOINTS.items():
        information = described["named_endpoints"][f"/{name}"]
        does, means, returns = docstrings[name]
        assert information["description"].startswith(does)
        assert all(part in information["description"] for part in returns)
        assert [part["parameter_name"] for part in information["parameters"]] == parameters
        for part in information["parameters"]:
            assert part["python_type"]["description"] == means[part["parameter_name"]]
            assert part["python_type"]["type"] not in ("", "Any")
            assert part["parameter_has_default"] == (part["parameter_name"] not in ("image", "video"))
        assert [part["python_type"]["description"] for part in information["returns"]] == returns


def test_openapi_describes_the_five_endpoints(server, docstrings):
    paths = Visitor(server.url).http.get("/openapi.json").json()["paths"]
    called = {path.removeprefix("/gradio_api/call/v2/") for path in paths if path.startswith("/gradio_api/call/v2/")}
    assert called == set(ENDPOINTS)
    for name, parameters in ENDPOINTS.items():
        operation = paths[f"/gradio_api/call/v2/{name}"]["post"]
        assert operation["description"].startswith(docstrings[name][0])
        properties = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
        assert list(properties) == parameters
        for parameter in set(parameters) - {"image", "video"}:  # of files it says how to upload them
            assert properties[parameter]["description"] == docstrings[name][1][parameter]


def test_the_tools_of_mcp_are_the_five_endpoints_described_by_their_docstrings(server, docstrings):
    tools = list_tools(server.url)
    assert set(tools) == set(ENDPOINTS)
    for name, parameters in ENDPOINTS.items():
        does, means, returns = docstrings[name]
        assert tools[name].description.startswith(does)
        assert all(part in tools[name].description for part in returns)
        properties = tools[name].inputSchema["properties"]
        assert {key: part["description"] for key, part in properties.items()} == means
        assert list(properties) == parameters
        assert tools[name].inputSchema.get("required", []) == [key for key in parameters if key in ("image", "video")]


def test_programs_are_told_what_the_network_cannot_do(docstrings, client):
    assert "Neutral is not among them" in docstrings["predict"][0]
    assert "not an emotion" in docstrings["predict"][0]
    assert "Not for employment" in client.predict(api_name="/about")["limits"]


@pytest.mark.parametrize("progress", [False, True], ids=["silent", "with progress"])
def test_a_tool_answers_with_six_probabilities_and_pictures(server, client, progress):
    result = call_tool(server.url, "predict", {"image": address_of(PHOTO.read_bytes())}, progress)
    assert not result.isError
    texts = [part.text for part in result.content if part.type == "text"]
    expected = client.predict(handle_file(PHOTO), api_name="/predict")[0]
    assert json.loads(texts[0]) == expected
    assert list(expected["faces"][0]["probabilities"]) == list(EMOTIONS)
    pictures = [Image.open(io.BytesIO(base64.b64decode(part.data))) for part in result.content if part.type == "image"]
    assert [picture.size for picture in pictures] == [(920, 560), (320, 320)]


def test_a_tool_takes_what_has_been_uploaded_by_its_address(server, client):
    upload = Visitor(server.url).upload(PHOTO.read_bytes())  # as `gradio upload-mcp` does, on behalf of MCP clients
    address = f"{server.url}/gradio_api/file={upload['path']}"
    answer = json.loads(call_tool(server.url, "predict", {"image": address}).content[0].text)
    assert answer == client.predict(handle_file(PHOTO), api_name="/predict")[0]


@pytest.mark.parametrize("path", [str(PHOTO), "{cache}/../../../../../../../../../../.." + str(PHOTO), "nowhere.jpg"])
def test_no_other_file_of_the_server_has_an_address_and_that_none_is_fetched_is_said(server, path):
    upload = Visitor(server.url).upload(b"here")
    path = path.format(cache=Path(upload["path"]).parent)
    result = call_tool(server.url, "predict", {"image": f"http://127.0.0.1/gradio_api/file={path}"})
    assert result.isError
    assert result.content[0].text == NO_ADDRESS


def test_a_tool_shows_the_evidence_for_a_class_in_a_face(server):
    def picture(**more) -> np.ndarray:
        result = call_tool(server.url, "heat_map", {"image": address_of(PHOTO.read_bytes()), **more})
        (part,) = [part for part in result.content if part.type == "image"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(part.data))).convert("RGB")).astype(int)

    assert picture().shape == (320, 320, 3)
    assert np.abs(picture(emotion="fear") - picture(emotion="fear", face=2)).mean() > 3
    assert np.abs(picture(emotion="fear") - picture(emotion="anger")).mean() > 3


def test_the_other_tools_answer_too(server, client, video):
    about = json.loads(call_tool(server.url, "about", {}).content[0].text)
    assert about == client.predict(api_name="/about")
    compared = json.loads(call_tool(server.url, "compare", {"image": address_of(PHOTO.read_bytes())}).content[0].text)
    assert list(compared["versions"]) == ["V1", "V2"]
    result = call_tool(server.url, "film", {"video": address_of(video.read_bytes(), "video/mp4"), "every": 0.5})
    annotated, table = (httpx.get(part.text, trust_env=False).content for part in result.content)
    assert annotated[4:8] == b"ftyp"
    assert table.decode().startswith("file,seconds,face")


def test_the_version_of_a_tool_may_be_null_and_one_that_is_not_there_is_answered_with_those_that_are(server):
    image = {"image": address_of((EXAMPLES / "drawn_anger.png").read_bytes(), "image/png")}
    null, second = (call_tool(server.url, "predict", {**image, "version": version}) for version in (None, "V2"))
    assert [json.loads(result.content[0].text)["version"] for result in (null, second)] == ["V1", "V2"]
    wrong = call_tool(server.url, "predict", {**image, "version": "V9"})
    assert wrong.isError
    assert wrong.content[0].text == "There is no version 'V9' here; choose V1, V2."


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"image": address_of(b"hello")}, "not an image in a format"),
        ({"image": address_of(b"")}, "not an image in a format"),
        ({"image": "data:image/jpeg;base64,abc"}, "no base64"),
        ({"image": address_of(PHOTO.read_bytes()), "face": 9}, "numbered from 1 to 2"),
        ({"image": None}, "None is not"),
    ],
    ids=["text", "empty", "damaged", "no such face", "null"],
)
def test_an_error_of_a_tool_is_one_sentence(server, arguments, part):
    result = call_tool(server.url, "heat_map", arguments)
    assert result.isError
    assert part in result.content[0].text
    assert "\n" not in result.content[0].text
    assert "Traceback" not in result.content[0].text


def test_a_tool_takes_no_larger_file_than_an_upload_may_be(network, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with gr.Blocks() as page:
        api.endpoints(network, Jobs(network))
    tools = gr.mcp.GradioMCPServer(page)
    page.max_file_size = 2 * 2**20
    file = tools.convert_strings_to_filedata({"image": address_of(bytes(2 * 2**20))}, [["image"]])["image"]
    assert file["path"].startswith("http://localhost/gradio_api/file=")
    with pytest.raises(ImageError, match="at most 2 MB"):
        tools.convert_strings_to_filedata({"image": address_of(bytes(2 * 2**20 + 1000))}, [["image"]])
