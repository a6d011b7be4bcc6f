"""A network's files: what is written comes back, and whatever is not this model's is refused."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from fer_model.errors import ModelError
from fer_model.labels import EMOTIONS
from fer_model.model.network import FERModel
from survival.models import Trial, cases, fuzz_configs, fuzz_weights


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture
def saved(tmp_path):
    model = FERModel(version="v1", seed=3).eval()
    model.save_pretrained(tmp_path / "v1")
    return model, tmp_path / "v1"


def test_saving_writes_three_files_and_loading_gives_equal_logits(saved, images):
    model, folder = saved
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    loaded = FERModel.from_pretrained(folder)
    assert not loaded.training
    assert torch.equal(loaded(images), model(images))


def test_the_config_tells_all_that_a_user_of_the_weights_needs(saved):
    config = json.loads((saved[1] / "config.json").read_text())
    assert config["version"] == "v1"
    assert config["id2label"] == {
        "0": "happiness",
        "1": "surprise",
        "2": "sadness",
        "3": "anger",
        "4": "disgust",
        "5": "fear",
    }
    assert {index: name for name, index in config["label2id"].items()} == dict(enumerate(EMOTIONS))
    assert (config["input_size"], config["pixel_mean"], config["pixel_std"]) == (64, 0.5, 0.5)


def test_saving_again_drops_figures_of_other_weights_and_keeps_what_a_person_wrote(saved):
    model, folder = saved
    readme = folder / "README.md"
    results = "<!-- generated: results -->\n## Results\n"
    assert readme.read_text().count(results) == 1
    readme.write_text(readme.read_text().replace(results, f"My own sentence.\n\n{results}99.9 % accuracy\n"))
    model.save_pretrained(folder)
    assert "99.9" not in readme.read_text()
    assert readme.read_text().count("My own sentence.") == 1


def test_weights_of_another_version_are_refused_by_name(saved, tmp_path):
    folder = tmp_path / "mixed"
    FERModel(version="v2").save_pretrained(folder)
    (folder / "model.safetensors").write_bytes((saved[1] / "model.safetensors").read_bytes())
    with pytest.raises(ModelError, match=r"not those of version v2.*missing.*block1\.attention"):
        FERModel.from_pretrained(folder)


@pytest.mark.parametrize("change", ["missing", "unexpected", "reshaped", "nan"])
def test_foreign_weights_are_refused(saved, change):
    file = saved[1] / "model.safetensors"
    weights = load_file(file)
    if change == "missing":
        del weights["block1.body.0.weight"]
    elif change == "unexpected":
        weights["head.weight"] = torch.zeros(2)
    elif change == "reshaped":
        weights["block1.body.0.weight"] = torch.zeros(64, 1, 3, 3)
    else:
        weights["block1.body.0.weight"][0, 0, 0, 0] = float("nan")
    save_file(weights, file)
    with pytest.raises(ModelError, match="head.weight" if change == "unexpected" else "block1.body.0.weight"):
        FERModel.from_pretrained(saved[1])


def test_a_pickle_is_refused(saved):
    _, folder = saved
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(ModelError, match="[Pp]ickled weights .* refused"):
        FERModel.from_pretrained(folder)


def test_a_truncated_weight_file_is_refused(saved):
    file = saved[1] / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        FERModel.from_pretrained(saved[1])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", "v99"),
        ("version", 2),
        ("version", None),
        ("input_size", 1_000_000),
        ("input_size", "64"),
        ("input_size", True),
        ("pixel_mean", [0.5]),
        ("id2label", {"0": "joy"}),
        ("id2label", "happiness"),
        ("label2id", None),
    ],
)
def test_a_config_that_this_code_cannot_honour_is_refused(saved, key, value):
    file = saved[1] / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    with pytest.raises(ModelError, match=key):
        FERModel.from_pretrained(saved[1])


@pytest.mark.parametrize("text", ["", "[1]", "{", "null"])
def test_a_config_that_is_not_a_json_object_is_refused(saved, text):
    (saved[1] / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"config\.json"):
        FERModel.from_pretrained(saved[1])


@pytest.mark.parametrize("source", ["./nowhere", "/nowhere/models", "nowhere"])
def test_a_folder_that_is_not_there_is_said_so(source):
    with pytest.raises(ModelError, match="no folder"):
        FERModel.from_pretrained(source)


def test_a_folder_without_a_config_is_said_so(tmp_path):
    with pytest.raises(ModelError, match=r"has no config\.json"):
        FERModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_the_prefix_of_a_wrapper_is_taken_off(saved, images, prefix):
    file = saved[1] / "model.safetensors"
    save_file({prefix + key: weight for key, weight in load_file(file).items()}, file)
    assert torch.equal(FERModel.from_pretrained(saved[1])(images), saved[0](images))


def test_models_that_are_none_come_out_as_the_table_says(tmp_path):
    """Every fifth of them; `python scripts/survive.py models` tries them all, and hypothesis's."""
    trial = Trial(tmp_path)
    wrong = [name for name, expected, change in list(cases())[::5] if trial.outcome(change) != expected]
    assert not wrong
    assert not trial.faults


def test_what_hypothesis_makes_of_a_config_and_of_weights_is_a_model_or_a_sentence(tmp_path):
    trial = Trial(tmp_path)
    fuzz_configs(trial, 10)
    fuzz_weights(trial, 10)
    assert not trial.faults


@pytest.fixture
def saved_seven(tmp_path):
    model = FERModel(version="v1", seed=3, classes=7).eval()
    model.save_pretrained(tmp_path / "v1-7")
    return model, tmp_path / "v1-7"


def test_a_model_of_seven_classes_comes_back_as_one(saved_seven, images):
    model, folder = saved_seven
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"]["6"] == "neutral"
    assert config["label2id"]["neutral"] == 6
    loaded = FERModel.from_pretrained(folder)
    assert loaded.class_names == model.class_names
    assert torch.equal(loaded(images), model(images))


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("id2label", {"0": "neutral", "6": "happiness"}),
        ("id2label", {"6": "calm"}),
        ("id2label", {"7": "contempt"}),
        ("label2id", {"happiness": 6, "neutral": 0}),
        ("label2id", {"contempt": 7}),
    ],
)
def test_seven_classes_of_other_names_or_in_another_order_are_refused(saved_seven, key, change):
    file = saved_seven[1] / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {key: config[key] | change}))
    with pytest.raises(ModelError, match=rf"config\.json has {key} = .*can only use"):
        FERModel.from_pretrained(saved_seven[1])


@pytest.mark.parametrize("key", ["id2label", "label2id"])
def test_a_config_that_names_seven_classes_here_and_six_there_is_refused(saved, saved_seven, key):
    file = saved_seven[1] / "config.json"
    six = json.loads((saved[1] / "config.json").read_text())
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: six[key]}))
    with pytest.raises(ModelError, match="label2id"):
        FERModel.from_pretrained(saved_seven[1])


def test_weights_of_six_classes_under_a_config_of_seven_are_refused(saved, saved_seven):
    (saved_seven[1] / "model.safetensors").write_bytes((saved[1] / "model.safetensors").read_bytes())
    with pytest.raises(ModelError, match=r"classifier\.3\.weight is \(6, 128\) and should be \(7, 128\)"):
        FERModel.from_pretrained(saved_seven[1])
