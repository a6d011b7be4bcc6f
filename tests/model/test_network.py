"""The networks: their parts, shapes and initial weights, and that they can learn."""

import shutil

import pytest
import torch
import torch.nn.functional as F

from fer_model.configs import CONFIGS
from fer_model.errors import ModelError
from fer_model.labels import EMOTIONS
from fer_model.model.network import FERModel, SpatialAttention, SqueezeExcite
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


@pytest.mark.slow
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


@pytest.mark.parametrize("version", ["v1", *(pytest.param(name, marks=pytest.mark.slow) for name in ("v2", "v3"))])
def test_it_can_learn_one_batch_by_heart(version):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(6, 3, 32, 32, generator=generator) * 2 - 1
    labels = torch.arange(6)
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


def test_spatial_attention_is_cbams():
    torch.manual_seed(0)
    layer = SpatialAttention()
    x = torch.randn(2, 5, 9, 9)
    summary = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True).values], dim=1)
    torch.testing.assert_close(layer(x), x * F.conv2d(summary, layer.conv.weight, padding=3).sigmoid())
    assert layer.conv.weight.shape == (1, 2, 7, 7)


def test_v3_is_v2_with_spatial_attention_and_no_larger_than_allowed():
    v2, v3 = FERModel(version="v2"), FERModel(version="v3")
    new = {name for name in v3.state_dict() if name not in v2.state_dict()}
    assert new == {f"block{n}.spatial.conv.weight" for n in (1, 2, 3, 4)}
    assert v3.parameter_count == v2.parameter_count + 4 * 2 * 49 <= 5_600_000
    assert v3.grad_cam_layer is v3.block4.body[-2]
    assert not any(v3.get_parameter(name).any() for name in new), "it begins without a preference for a position"


def test_an_unknown_version_names_the_known_ones():
    with pytest.raises(ModelError, match="v1, v2"):
        FERModel(version="v0")


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
