"""What programs call: five endpoints, over HTTP and gradio_client and as tools of MCP, and how they are documented."""

import base64
import csv
import io
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import gradio as gr
import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from fer_model import FERModel, FERPipeline
from fer_model.demo import api
from fer_model.demo.gpu import Network
from fer_model.demo.jobs import Clips
from fer_model.demo.versions import Versions
from fer_model.errors import ImageError, ModelError
from fer_model.inference import bulk
from fer_model.labels import EMOTIONS
from helpers import EXAMPLES, ROOT
from helpers.app import running_app
from helpers.visitors import Visitor, call_tool, list_tools

ENDPOINTS = {
    "predict": ["image", "whole_picture", "version", "level_eyes"],
    "heat_map": ["image", "emotion", "face", "whole_picture", "version", "level_eyes"],
    "compare": ["image", "whole_picture", "level_eyes"],
    "film": ["video", "every", "version"],
    "about": [],
}
"""The parameters of each, in order. Programs rely on them: add some at the end, and change none."""

PHOTO = EXAMPLES / "two_faces.jpg"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, str]:
    """The folders of two untrained versions, in the order in which they are offered."""
    folder = tmp_path_factory.mktemp("models")
    for version in ("v1", "v2"):
        FERModel(version=version, seed=0).save_pretrained(folder / version / "models")
    return {version.upper(): str(folder / version / "models") for version in ("v1", "v2")}


@pytest.fixture(scope="module")
def server(models, tmp_path_factory):
    with running_app(tmp_path_factory.mktemp("programs"), model=tuple(models.values())) as running:
        yield running
        assert "Traceback" not in running.output, running.output


@pytest.fixture(scope="module")
def client(server) -> Client:
    return Client(server.url, verbose=False)


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """One second at 10 frames a second: the astronaut, moving to the right."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    photo = Image.open(EXAMPLES / "astronaut.jpg").convert("RGB").resize((320, 320))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 320
        stream.pix_fmt = "yuv420p"
        for index in range(10):
            moved = photo.transform(photo.size, Image.Transform.AFFINE, (1, 0, -4 * index, 0, 1, 0))
            container.mux(stream.encode(av.VideoFrame.from_image(moved)))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def docstrings() -> dict[str, tuple[str, dict[str, str], list[str]]]:
    """Of each endpoint, from its docstring: what it does, what its parameters are, and what it returns."""
    with gr.Blocks() as page:
        api.endpoints(Network(versions=None), Clips(network=None))
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


# --- the documentation


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


# --- the versions


def test_versions_are_loaded_when_first_asked_for_and_once(models, monkeypatch):
    loaded = []
    load = FERPipeline.from_pretrained
    monkeypatch.setattr(FERPipeline, "from_pretrained", lambda source: loaded.append(source) or load(source))
    versions = Versions(list(models.values()))
    assert loaded == [models["V1"]]
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(versions.__getitem__, ["V2"] * 4))) == 1
    assert versions[None] is versions["V1"]
    assert loaded == [models["V1"], models["V2"]]


def test_a_version_that_cannot_be_loaded_is_an_error_that_says_so_and_the_others_answer(models, tmp_path):
    (tmp_path / "v3" / "models").mkdir(parents=True)
    versions = Versions([models["V1"], str(tmp_path / "v3" / "models")])
    with pytest.raises(ModelError, match=r"has no config\.json"):
        _ = versions["V3"]
    assert versions["V1"]
    with pytest.raises(ModelError, match=r"has no config\.json"):
        Versions([str(tmp_path / "v3" / "models")])


def test_two_trainings_of_one_version_have_two_names(models, tmp_path):
    FERModel(version="v1", seed=1).save_pretrained(tmp_path / "v1" / "models")
    other = str(tmp_path / "v1" / "models")
    assert Versions([models["V1"], other]).names == ["V1", f"V1, {other}"]


# --- over HTTP and gradio_client


def test_about_lists_the_versions_the_first_of_them_the_default(client, models):
    answer = client.predict(api_name="/about")
    assert answer["default"] == "V1"
    assert answer["versions"] == dict.fromkeys(models)  # nothing was measured
    assert answer["classes"] == list(EMOTIONS)
    assert "Neutral" in answer["limits"]


def test_what_is_not_given_has_its_default_and_null_is_the_default_version(server, client):
    visitor = Visitor(server.url)
    upload = visitor.upload(PHOTO.read_bytes())
    least = visitor.call("/predict", image=upload).outputs[0]
    assert least["version"] == "V1"
    assert abs(least["faces"][0]["tilt"]) > 1, "the eyes are levelled"
    given = {"whole_picture": False, "version": None, "level_eyes": True}
    assert visitor.call("/predict", image=upload, **given).outputs[0] == least
    assert client.predict(handle_file(PHOTO), api_name="/predict")[0] == least
    assert client.predict(handle_file(PHOTO), version=None, api_name="/predict")[0] == least
    assert client.predict(handle_file(PHOTO), version="", api_name="/predict")[0] == least


def test_each_version_answers_by_its_own_weights_and_comparing_agrees_with_asking_each(client, models):
    compared = client.predict(handle_file(PHOTO), api_name="/compare")
    assert list(compared["versions"]) == list(models)
    for version, source in models.items():
        answer = client.predict(handle_file(PHOTO), version=version, api_name="/predict")[0]
        face = answer["faces"][0]
        assert answer["version"] == version
        expected = FERPipeline.from_pretrained(source, device="cpu")(PHOTO).faces[0]
        assert face["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
        said = compared["versions"][version]
        assert said["probabilities"] == pytest.approx(face["probabilities"], abs=1e-5)
        assert (said["label"], said["unsure"]) == (face["label"], face["unsure"])
    one, other = (said["probabilities"]["fear"] for said in compared["versions"].values())
    assert abs(one - other) > 1e-4, "the two say the same of everything: this test shows nothing"


def test_comparing_where_there_is_no_face_is_an_answer(client, tmp_path):
    Image.new("RGB", (300, 200), "white").save(tmp_path / "blank.png")
    answer = client.predict(handle_file(tmp_path / "blank.png"), api_name="/compare")
    assert answer["versions"] == {}
    assert "No face was found" in answer["message"]
    whole = client.predict(handle_file(tmp_path / "blank.png"), whole_picture=True, api_name="/compare")
    assert len(whole["versions"]) == 2


def test_levelling_the_eyes_can_be_left_out(client, tmp_path):
    Image.open(EXAMPLES / "astronaut.jpg").convert("RGB").rotate(-25, expand=True).save(tmp_path / "tilted.png")
    photo = handle_file(tmp_path / "tilted.png")
    level = client.predict(photo, api_name="/predict")[0]["faces"][0]
    as_it_is = client.predict(photo, level_eyes=False, api_name="/predict")[0]["faces"][0]
    assert level["tilt"] == pytest.approx(29, abs=9)
    assert as_it_is["tilt"] == 0
    assert level["box"] == as_it_is["box"]
    assert level["probabilities"] != pytest.approx(as_it_is["probabilities"], abs=1e-5)
    compared = [client.predict(photo, level_eyes=eyes, api_name="/compare")["versions"]["V1"] for eyes in (True, False)]
    for said, face in zip(compared, (level, as_it_is), strict=True):
        assert said["probabilities"] == pytest.approx(face["probabilities"], abs=1e-5)


def test_a_film_comes_back_as_a_film_that_plays_and_a_table(client, film):
    annotated, table = client.predict(handle_file(film), api_name="/film")
    with av.open(annotated) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 10)
    with av.open(str(film)) as container:
        original = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [frame.shape for frame in frames] == [(320, 320, 3)] * 10
    changed = [np.abs(one.astype(int) - other).max() for one, other in zip(frames, original, strict=True)]
    assert min(changed) > 60, "a frame has no box"
    with Path(table).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(bulk.COLUMNS)
    assert {row["face"] for row in rows} == {"1"}
    assert [float(row["seconds"]) for row in rows] == pytest.approx([index / 10 for index in range(10)])
    assert int(rows[-1]["left"]) > int(rows[0]["left"]) + 20, "she moves by 36 pixels"
    for row in rows:
        assert sum(float(row[name]) for name in EMOTIONS) == pytest.approx(1, abs=1e-3)


def test_a_film_is_searched_as_often_as_asked_and_by_the_version_asked(client, film):
    def table(**more) -> list[dict]:
        with Path(client.predict(handle_file(film), **more, api_name="/film")[1]).open() as file:
            return list(csv.DictReader(file))

    seldom = table(every=0.5)
    assert [row["seconds"] for row in seldom] == ["0.000", "0.500"]
    assert table(every=0.5, version="V2")[0]["fear"] != seldom[0]["fear"]


@pytest.mark.parametrize("endpoint", ["/predict", "/heat_map", "/film"])
@pytest.mark.parametrize("version", ["V9", "results/v1/models", 7, ["V1"]])
def test_a_version_that_is_not_there_is_answered_with_those_that_are(server, film, endpoint, version):
    visitor = Visitor(server.url)
    path = film if endpoint == "/film" else PHOTO
    upload = visitor.upload(path.read_bytes(), path.name)
    complaint = visitor.call(endpoint, **{ENDPOINTS[endpoint[1:]][0]: upload}, version=version).complaint
    assert complaint == f"There is no version {version!r} here; choose V1, V2."


@pytest.mark.parametrize("every", ["often", None, [1]])
def test_a_time_that_is_no_number_is_answered_with_a_sentence(server, film, every):
    visitor = Visitor(server.url)
    upload = visitor.upload(film.read_bytes(), film.name)
    assert "number of seconds" in visitor.call("/film", video=upload, every=every).complaint


def test_what_is_no_film_is_answered_with_a_sentence(client, tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"no film")
    with pytest.raises(Exception, match="not a film") as caught:  # of which class is the client's affair
        client.predict(handle_file(tmp_path / "film.mp4"), api_name="/film")
    assert "Traceback" not in str(caught.value)
    assert str(tmp_path.parent) not in str(caught.value), "it tells where the server keeps its files"


# --- as tools


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
def test_no_other_file_of_the_server_has_an_address_and_what_cannot_be_fetched_is_said(server, path):
    upload = Visitor(server.url).upload(b"here")
    path = path.format(cache=Path(upload["path"]).parent)
    result = call_tool(server.url, "predict", {"image": f"http://127.0.0.1/gradio_api/file={path}"})
    assert result.isError
    assert result.content[0].text.startswith("The file could not be fetched from its address (")


def test_a_tool_shows_the_evidence_for_a_class_in_a_face(server):
    def picture(**more) -> np.ndarray:
        result = call_tool(server.url, "heat_map", {"image": address_of(PHOTO.read_bytes()), **more})
        (part,) = [part for part in result.content if part.type == "image"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(part.data))).convert("RGB")).astype(int)

    assert picture().shape == (320, 320, 3)
    assert np.abs(picture(emotion="fear") - picture(emotion="fear", face=2)).mean() > 3
    assert np.abs(picture(emotion="fear") - picture(emotion="anger")).mean() > 3


def test_the_other_tools_answer_too(server, client, film):
    about = json.loads(call_tool(server.url, "about", {}).content[0].text)
    assert about == client.predict(api_name="/about")
    compared = json.loads(call_tool(server.url, "compare", {"image": address_of(PHOTO.read_bytes())}).content[0].text)
    assert list(compared["versions"]) == ["V1", "V2"]
    result = call_tool(server.url, "film", {"video": address_of(film.read_bytes(), "video/mp4"), "every": 0.5})
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
        ({"image": address_of(b"hello")}, "not a picture in a format"),
        ({"image": address_of(b"")}, "not a picture in a format"),
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


def test_a_tool_takes_no_larger_file_than_an_upload_may_be(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with gr.Blocks() as page:
        api.endpoints(Network(versions=None), Clips(network=None))
    tools = gr.mcp.GradioMCPServer(page)
    page.max_file_size = 2 * 2**20
    file = tools.convert_strings_to_filedata({"image": address_of(bytes(2 * 2**20))}, [["image"]])["image"]
    assert file["path"].startswith("http://localhost/gradio_api/file=")
    with pytest.raises(ImageError, match="at most 2 MB"):
        tools.convert_strings_to_filedata({"image": address_of(bytes(2 * 2**20 + 1000))}, [["image"]])


# --- in the README


def test_the_readme_s_program_runs_word_for_word(server, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    found = [block for block in blocks if "gradio_client" in block]
    if not found:
        pytest.skip("README.md has no ```python block with gradio_client yet")
    for block in found:
        assert "http://127.0.0.1:7860" in block, "the address at which app.py listens"
        for name in re.findall(r"handle_file\(\s*[\"']([^\"']+\.(?:jpe?g|png))[\"']", block):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(PHOTO.read_bytes())
        code = block.replace("http://127.0.0.1:7860", server.url)  # the only word that cannot be the same
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stderr
        assert any(emotion in done.stdout for emotion in EMOTIONS), "it prints no answer"
