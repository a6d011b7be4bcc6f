"""The network and its life on disk.

pytest tests/test_modeling.py
"""

import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from fer_model.configs import CONFIGS
from fer_model.errors import ModelError
from fer_model.labels import EMOTIONS
from fer_model.model.network import FERModel, SqueezeExcite
from fer_model.training.losses import class_weights, weighted_cross_entropy
from helpers import ROOT

PARAMETERS = {
    "v1": ([39_296, 230_400, 1_510_144, 33_670], 1_813_510),
    "v2": ([39_808, 232_448, 1_518_336, 3_706_880, 66_438], 5_563_910),
}


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture
def saved(tmp_path):
    model = FERModel(version="v1", seed=3).eval()
    model.save_pretrained(tmp_path / "v1")
    return model, tmp_path / "v1"


@pytest.mark.parametrize("version", PARAMETERS)
def test_every_part_has_exactly_the_designed_number_of_parameters(version):
    parts, total = PARAMETERS[version]
    model = FERModel(version=version)
    assert [parameters(part) for part in model.children()] == parts
    assert parameters(model) == total


@pytest.mark.parametrize("version", PARAMETERS)
def test_shapes_halve_in_every_block(version, images):
    model = FERModel(version=version).eval()
    x = images
    for index, channels in enumerate(CONFIGS[version].architecture.filters, start=1):
        x = model.get_submodule(f"block{index}")(x)
        assert x.shape == (3, channels, 64 >> index, 64 >> index)
    assert model(images).shape == (3, len(EMOTIONS))


def test_grad_cam_layers_are_the_designed_ones():
    v1, v2 = FERModel(version="v1"), FERModel(version="v2")
    assert v1.grad_cam_layer is v1.block3.body[-2]
    assert v2.grad_cam_layer is v2.block4.body[-2]
    assert isinstance(v2.block4.body[-2], torch.nn.Conv2d)
    assert not isinstance(v2.block4.body[-1], torch.nn.ReLU)


def test_squeeze_excite_scales_whole_channels_by_factors_between_0_and_1():
    layer = SqueezeExcite(32, 16)
    x = torch.rand(2, 32, 5, 5) + 0.1
    factors = layer(x) / x
    assert torch.allclose(factors, factors[:, :, :1, :1].expand_as(factors), atol=1e-6)
    assert factors.min() > 0
    assert factors.max() < 1


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_trained_weights_can_be_trained_further_compiled_and_in_bfloat16():
    """With `amax` in the spatial attention these gradients were no numbers, though not those of random weights."""
    model = FERModel.from_pretrained(ROOT / "results" / "v3" / "models")
    blocks = torch.nn.Sequential(model.block1, model.block2).train().to(memory_format=torch.channels_last)
    blurs = torch.rand(16, 1, 7, 7, generator=torch.Generator().manual_seed(0))
    faces = torch.nn.functional.interpolate(blurs, size=(48, 48), mode="bicubic").clamp(0, 1).expand(-1, 3, -1, -1)
    with torch.autocast("cpu", torch.bfloat16):
        out = torch.compile(blocks, dynamic=False)((faces * 2 - 1).contiguous(memory_format=torch.channels_last))
    out.float().square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in blocks.parameters())


def test_initial_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    first = FERModel(version="v1", seed=5).state_dict()
    torch.manual_seed(2)
    again, other = FERModel(version="v1", seed=5).state_dict(), FERModel(version="v1", seed=6).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["block1.body.0.weight"], other["block1.body.0.weight"])


@pytest.mark.parametrize("version", PARAMETERS)
def test_it_can_learn_one_batch_by_heart(version):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(12, 3, 64, 64, generator=generator) * 2 - 1
    labels = torch.arange(12) % 6
    model = FERModel(version=version).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    torch.manual_seed(0)
    for _ in range(25):
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        for module in model.modules():  # no dropout, but BatchNorm as it was trained
            if isinstance(module, torch.nn.Dropout):
                module.eval()
        assert (model(images).argmax(dim=1) == labels).all()


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


def test_an_unknown_version_names_the_known_ones():
    with pytest.raises(ModelError, match="v1, v2"):
        FERModel(version="v0")


def test_class_weights_are_inverse_frequencies():
    labels = torch.tensor([0] * 6 + [1] * 3 + [2] * 2 + [3] * 2 + [4] + [5] * 4)
    assert class_weights(labels).tolist() == pytest.approx([0.5, 1.0, 1.5, 1.5, 3.0, 0.75])


def test_class_weights_of_seven_classes_are_inverse_frequencies_too():
    weights = class_weights(torch.tensor([0] * 4 + [1, 2, 3, 4, 5] * 2 + [6] * 7), classes=7)
    assert weights.tolist() == pytest.approx([21 / 7 / 4] + [21 / 7 / 2] * 5 + [21 / 7 / 7])


def test_the_weighted_loss_is_the_one_of_torch():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(50, 6, generator=generator), torch.randint(6, (50,), generator=generator)
    weights = torch.rand(6, generator=generator) + 0.1
    ours = weighted_cross_entropy(logits, labels, weights).sum() / weights[labels].sum()
    assert ours.item() == pytest.approx(torch.nn.CrossEntropyLoss(weight=weights)(logits, labels).item(), rel=1e-6)


# Seven classes


def test_a_seventh_class_adds_to_the_last_layer_and_changes_nothing_else(images):
    six, seven = (FERModel(version="v3", seed=1, classes=classes) for classes in (6, 7))
    assert six.class_names == EMOTIONS
    assert seven.class_names == (*EMOTIONS, "neutral")
    assert seven.eval()(images).shape == (3, 7)
    assert seven.parameter_count == six.parameter_count + 128 + 1
    weights = seven.state_dict()
    differs = {name for name, value in six.state_dict().items() if not torch.equal(value, weights[name])}
    assert differs == {"classifier.3.weight", "classifier.3.bias"}


@pytest.mark.parametrize("classes", [0, 5, 8])
def test_there_are_models_of_six_and_of_seven_classes_only(classes):
    with pytest.raises(ValueError, match=f"of 6 and of 7 classes, not of {classes}"):
        FERModel(version="v1", classes=classes)


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
