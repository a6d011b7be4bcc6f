"""The models that a demo offers: each loaded once, by a name of its own, of six classes or of seven."""

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest

from fer_model import FERModel, FERPipeline
from fer_model.demo import api
from fer_model.demo.gpu import Network
from fer_model.demo.jobs import Jobs
from fer_model.demo.page import build_page
from fer_model.demo.tabs.bulk import Bulk
from fer_model.demo.tabs.live import Live
from fer_model.demo.tabs.photo import Photo
from fer_model.demo.versions import Versions
from fer_model.errors import ModelError
from fer_model.labels import EMOTIONS_WITH_NEUTRAL
from helpers import EXAMPLES, ROOT
from helpers.visitors import rows_of

SEVEN = "V1, seven classes"


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


@pytest.fixture(scope="module")
def mixed(models, tmp_path_factory) -> Network:
    """A version of seven classes, the default, and one of six."""
    folder = tmp_path_factory.mktemp("seven") / "v1-7" / "models"
    FERModel(version="v1", classes=7, seed=0).save_pretrained(folder)
    return Network(Versions([str(folder), models["V1"]]))


@pytest.fixture
def upload(tmp_path, monkeypatch) -> dict:
    """A photo as the page sends it."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    (tmp_path / "photo.jpg").write_bytes((EXAMPLES / "astronaut.jpg").read_bytes())
    return {"path": str(tmp_path / "photo.jpg")}


def test_a_photo_shows_seven_classes_beside_a_version_of_six(mixed, upload):
    _, _, _, _, face, maps, compared, _ = Photo(mixed).recognise_upload(upload, SEVEN, False, True, True)
    assert [name for name in EMOTIONS_WITH_NEUTRAL if f'class="fer-name">{name}<' in face] == list(
        EMOTIONS_WITH_NEUTRAL
    )
    assert maps.count("Heat map for") == 7
    neutral = compared[compared.index("neutral") : compared.index("answer")]
    assert neutral.count("%") == 1
    assert "<td>–</td>" in neutral, "the version of six does not know it"


def test_the_camera_shows_seven_classes(mixed):
    frame = base64.b64encode((EXAMPLES / "astronaut.jpg").read_bytes()).decode()
    event = SimpleNamespace(
        _data={"frame": f"data:image/jpeg;base64,{frame}", "maps": True, "first": True, "number": 1}
    )
    _, chart, session = Live(mixed).answer(None, SEVEN, event)
    assert all(f'class="fer-name">{name}<' in chart for name in EMOTIONS_WITH_NEUTRAL)
    _, chart, _ = Live(mixed).answer(session, "V1", event)
    assert "neutral" not in chart


def test_a_video_and_many_pictures_have_columns_for_seven_classes(mixed, upload, clip):
    tab = Bulk(mixed, Jobs(mixed))
    *_, (_, shown, file) = tab.pictures([upload], SEVEN, True)
    assert list(shown["value"])[-7:] == list(EMOTIONS_WITH_NEUTRAL)
    answers = tab.video({"path": str(clip)}, 0.5, SEVEN)
    for _, _, file, chart, keys in answers:
        if isinstance(file, dict) and file["value"]:
            assert set(rows_of(Path(file["value"]))[0]) >= set(EMOTIONS_WITH_NEUTRAL)
            assert set(chart["value"]["expression"]) == set(EMOTIONS_WITH_NEUTRAL)
            assert "neutral" in keys["value"]
            break
    else:
        pytest.fail("no table came")


def test_programs_and_the_page_name_seven_classes(mixed):
    with gr.Blocks() as page:
        api.endpoints(mixed, Jobs(mixed))
    functions = {event.fn.__name__: event.fn for event in page.fns.values()}
    about = functions["about"]()
    assert about["classes"] == list(EMOTIONS_WITH_NEUTRAL)
    assert "Neutral" not in about["limits"]
    assert "fear or neutral" in functions["predict"].__doc__
    assert "not among them" not in functions["predict"].__doc__
    assert "fear, neutral" in functions["heat_map"].__doc__
    whole = build_page(mixed.versions, [])
    text = " ".join(str(block.value) for block in whole.blocks.values() if isinstance(block, gr.Markdown))
    assert "Which of seven expressions" in text
    assert "not among them" not in text


def test_the_demo_starts_with_a_version_that_knows_a_face_at_rest():
    versions = Versions.among(ROOT / "results")
    assert versions.default == "V4, seven classes"
    assert {"V1", "V2", "V3"} < set(versions.names)
    (face,) = versions[None](EXAMPLES / "drawn_neutral.png").faces
    assert face.label == "neutral"
    assert not face.unsure


def test_versions_have_one_name_in_any_order(tmp_path):
    folders = []
    for name, classes in (("v1", 6), ("v1-7", 7)):
        FERModel(version="v1", classes=classes).save_pretrained(tmp_path / name / "models")
        folders.append(str(tmp_path / name / "models"))
    names = Versions(folders).names
    assert names == ["V1", "V1, seven classes"]
    assert Versions(folders[::-1]).names == names[::-1]
    assert Network(Versions(folders)).all_classes() == list(EMOTIONS_WITH_NEUTRAL)
