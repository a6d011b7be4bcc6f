"""Grad-CAM against the reference implementation, the `grad-cam` package.

The unscaled maps are compared, at the resolution of the layer. What the package returns in the end
went through cv2.resize and was scaled twice, with 1e-7 added to the divisor; ours is scaled once.
"""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM, HiResCAM, LayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from fer_model.model.gradcam import (
    GRAD_CAM,
    LAYERS,
    SHOWN,
    Method,
    class_activation_maps,
    explain,
    grad_cam,
    shown_method,
)
from fer_model.model.network import FERModel
from helpers import ROOT


@pytest.fixture(scope="module", params=["v1", "v2", "v3"])
def model(request) -> FERModel:
    """A network whose BatchNorm has seen data, so that nothing in it is trivially zero or one."""
    model = FERModel(version=request.param, seed=2)
    torch.manual_seed(0)
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(8, 3, 48, 48))
    return model.eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(4, 3, 48, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1


def reference(model: FERModel, images: torch.Tensor, targets: list[int], layer=None, kind=GradCAM) -> np.ndarray:
    layer = layer or model.grad_cam_layer
    with kind(model=model, target_layers=[layer]) as cam:
        cam(input_tensor=images, targets=[ClassifierOutputTarget(t) for t in targets])
        activations = cam.activations_and_grads.activations[0].numpy()
        gradients = cam.activations_and_grads.gradients[0].numpy()
        unscaled = cam.get_cam_image(images, layer, targets, activations, gradients, eigen_smooth=False)
    return np.maximum(unscaled, 0)


@pytest.mark.parametrize("targets", [[0, 1, 2, 3], [4, 5, 0, 4], [5, 5, 5, 5]])
def test_maps_equal_the_reference(model, images, targets):
    ours = class_activation_maps(model, images, targets).numpy()
    theirs = reference(model, images, targets)
    assert ours.shape == theirs.shape
    assert theirs.max() > 0
    assert np.abs(ours - theirs).max() < 1e-4
    # and after scaling each to [0, 1], where small maps count as much as large ones
    for ours_one, theirs_one in zip(ours, theirs, strict=True):
        if theirs_one.max() > 0:
            assert np.abs(ours_one / ours_one.max() - theirs_one / theirs_one.max()).max() < 1e-4


@pytest.mark.parametrize("layer", [name for name in LAYERS if name != "convolution"])
@pytest.mark.parametrize(("weighting", "kind"), [("mean", GradCAM), ("product", HiResCAM), ("positive", LayerCAM)])
def test_other_methods_equal_the_reference_too(model, images, layer, weighting, kind):
    """A block's attention is what it hands to its pooling."""
    attention = model.get_submodule(f"block{model.depth - ('last', 'previous', 'earlier').index(layer)}.spatial")
    ours = class_activation_maps(model, images, [0, 1, 2, 3], Method(layer, weighting)).numpy()
    theirs = reference(model, images, [0, 1, 2, 3], attention, kind)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-4 * max(theirs.max(), 1)


def test_v1_and_v2_show_the_specified_grad_cam_and_v3_what_was_tested():
    assert {version: shown_method(FERModel(version=version)) for version in ("v1", "v2")} == {
        "v1": GRAD_CAM,
        "v2": GRAD_CAM,
    }
    found = json.loads((ROOT / "results" / "faithfulness.json").read_text())
    assert found["v3"]["best_on_validation"] == str(SHOWN["v3"])
    for version, method in SHOWN.items():  # V4 has V3's network, and V3's method was chosen for it before it was tested
        assert found[version]["shown"] == str(method)
        assert found[version]["test"]["methods"][str(method)]["beats_baselines"]


def test_the_default_target_is_the_predicted_class(model, images):
    predicted = model(images).argmax(dim=1)
    assert torch.equal(grad_cam(model, images), grad_cam(model, images, predicted))


def test_maps_have_input_size_and_span_0_to_1(model, images):
    for target in range(6):
        maps = grad_cam(model, images, target)
        assert maps.shape == (4, 48, 48)
        for single in maps:
            assert single.min() == 0
            assert single.max() in (0, 1)


def test_an_image_has_the_same_map_alone_as_in_a_batch(model, images):
    alone = class_activation_maps(model, images[1:2], 3)
    assert torch.allclose(alone[0], class_activation_maps(model, images, 3)[1], atol=1e-5)


def test_all_six_maps_at_once_equal_each_by_itself(model, images):
    logits, maps = explain(model, images)
    with torch.no_grad():
        assert torch.allclose(logits, model(images), atol=1e-5)
    assert maps.shape == (4, 6, 48, 48)
    for target in range(6):
        assert torch.allclose(maps[:, target], grad_cam(model, images, target, shown_method(model)), atol=1e-5)
    assert not maps.requires_grad
    assert not logits.requires_grad


def test_threads_that_share_a_network_get_their_own_maps(model, images):
    """Each thread's hook must leave the others' passes alone."""
    alone = [explain(model, image[None])[1] for image in images]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            together = pool.map(lambda image: explain(model, image[None])[1], images)
            for ours, expected in zip(together, alone, strict=True):
                assert torch.allclose(ours, expected, atol=1e-5)


def test_it_leaves_the_model_as_it_was(images):
    model = FERModel(version="v1").train()
    model.classifier.eval()  # a mixed state, which a plain model.train() afterwards would lose
    model.block1.body[0].weight.grad = torch.full_like(model.block1.body[0].weight, 2.0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    gradients = [p.grad.clone() if p.grad is not None else None for p in model.parameters()]
    grad_cam(model, images)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    for old, parameter in zip(gradients, model.parameters(), strict=True):
        assert (old is None and parameter.grad is None) or torch.equal(old, parameter.grad)
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.is_grad_enabled()


def test_hooks_are_gone_after_an_error(model):
    with pytest.raises(RuntimeError):
        grad_cam(model, torch.zeros(1, 5, 64, 64))
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.is_grad_enabled()


def test_nothing_before_the_layer_is_differentiated(model, images):
    grown = images.clone().requires_grad_()
    seen = []
    handle = model.block1.register_forward_hook(lambda module, inputs, output: seen.append(output.requires_grad))
    grad_cam(model, grown, 0)
    handle.remove()
    assert seen == [False]
    assert grown.grad is None


def test_it_works_where_gradients_are_switched_off(model, images):
    expected = grad_cam(model, images, 1)
    with torch.no_grad():
        assert torch.equal(grad_cam(model, images, 1), expected)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        assert torch.equal(grad_cam(model, images * 1, 1), expected)


@pytest.mark.parametrize("target", [6, -1, [0, 1], [0, 1, 2, 6], 1.5, [[0, 1, 2, 3]]])
def test_targets_that_are_not_class_indices_are_refused(model, images, target):
    with pytest.raises(ValueError, match="target"):
        grad_cam(model, images, target)


def test_a_model_of_seven_classes_has_seven_maps(images):
    model = FERModel(version="v1", seed=2, classes=7).eval()
    logits, maps = explain(model, images)
    assert logits.shape == (4, 7)
    assert maps.shape == (4, 7, 48, 48)
    assert maps[:, 6].max() == 1
    assert torch.allclose(maps[:, 6], grad_cam(model, images, 6), atol=1e-5)
    with pytest.raises(ValueError, match="from 0 to 6"):
        grad_cam(model, images, 7)


@pytest.fixture(scope="module", params=["v1", "v3"])
def trained(request) -> FERModel:
    """A network whose last BatchNorm has a scale and shift of its own, as after training, one scale being nothing."""
    model = FERModel(version=request.param, seed=4)
    torch.manual_seed(1)
    convolution, norm = model.get_submodule(f"block{model.depth}").body[-2:]
    with torch.no_grad():
        norm.weight.copy_(torch.rand(len(norm.weight)) + 0.5)
        norm.weight[:3] = torch.tensor([-0.7, 0.0, 0.005])
        norm.bias.normal_(std=0.3)
        convolution.bias.normal_(std=2)
        for _ in range(10):
            model(torch.randn(4, 3, 32, 32))
    return model.eval()


def test_centring_the_layer_changes_no_answer(trained, images):
    centred = trained.for_release()
    assert not torch.allclose(centred.grad_cam_layer.bias, trained.grad_cam_layer.bias, atol=0.1)
    with torch.no_grad():
        assert torch.allclose(centred.eval()(images), trained(images), atol=1e-4)
        for module in (centred, trained):
            module.train()
            module.classifier.eval()  # dropout apart
        assert torch.allclose(centred(images), trained(images), atol=1e-4), "nor how it goes on learning"
    trained.eval()


def test_the_map_of_a_centred_layer_is_that_of_the_batchnorm_behind_it(trained, images):
    centred = trained.for_release().eval()
    norm = centred.get_submodule(f"block{centred.depth}").body[-1]
    closed = norm.weight.abs() < 0.01
    assert int(closed.sum()) == 2
    with torch.no_grad():
        norm.bias[closed] = 0  # channels that stay as they are: the same in both without a shift
        centred.grad_cam_layer.bias[closed] -= norm.running_mean[closed]
        norm.running_mean[closed] = 0
    behind = reference(centred, images, [2] * 4, layer=norm)
    ours = class_activation_maps(centred, images, 2).numpy()
    assert ours.max() > 0
    np.testing.assert_allclose(ours, behind, atol=1e-4 * ours.max())


def test_finishing_a_model_draws_no_random_number(trained):
    state = torch.get_rng_state()
    trained.for_release()
    assert torch.equal(torch.get_rng_state(), state), "training would go on with other ones"


def test_a_layer_is_centred_once(trained):
    centred = trained.for_release()
    again = centred.for_release().state_dict()
    assert all(torch.equal(value, again[name]) for name, value in centred.state_dict().items())
