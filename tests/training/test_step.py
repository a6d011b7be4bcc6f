"""One training step: mixed images, teachers, and the bound of its gradients."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from fer_model.configs import Augmentation, Recipe
from fer_model.data.augment import Mix
from fer_model.model.network import FERModel
from fer_model.model.preprocess import normalise, resize
from fer_model.training import step
from fer_model.training.distillation import TeacherTargets
from fer_model.training.fit import make_accelerator

PLAIN = Recipe(lr=0.1, weight_decay=0.01)


def step_of(recipe: Recipe, taught: TeacherTargets | None = None):
    """A training step of V1, without dropout or augmentation, and a batch for it."""
    model = FERModel(version="v1", seed=0).eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda count: 1.0)
    weights = torch.tensor([0.5, 1.0, 1.5, 2.0, 2.5, 3.0])
    recipe = replace(recipe, size=48, augmentation=Augmentation(flip=0, rotation=0, translation=0))
    taken = step.Step(model, optimizer, schedule, None, weights, recipe, 48, torch.contiguous_format, taught)
    faces = torch.randint(0, 256, (6, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return taken, (faces, torch.tensor([0, 1, 2, 3, 4, 5]), torch.arange(6))


@pytest.mark.parametrize("taught", [False, True])
def test_a_mixed_image_is_learned_as_both_of_its_labels(monkeypatch, tmp_path, taught):
    """Zhang et al. 2018, section 2: the loss of the mixture is the mixture of the losses, here of weighted ones."""
    said = torch.randn(6, 6, generator=torch.Generator().manual_seed(1)).softmax(dim=1)
    taken, (faces, labels, indices) = step_of(PLAIN, TeacherTargets(said, 0.4) if taught else None)
    partner, share = torch.tensor([3, 4, 5, 0, 1, 2]), 0.3

    def mixed(images, settings):
        return share * images + (1 - share) * images[partner], Mix(partner, share)

    monkeypatch.setattr(step, "mix", mixed)
    with torch.no_grad():
        pictures = mixed(resize(faces, 48), None)[0]
        logits = taken.model(normalise(pictures))
    found, found_weights, _ = taken(faces, labels, indices, make_accelerator(tmp_path, seed=0))
    target = share * F.one_hot(labels) * taken.weights[labels][:, None]
    target = target + (1 - share) * (F.one_hot(labels) * taken.weights[labels][:, None])[partner]
    if taught:
        believed = said * taken.weights[labels][:, None]
        target = 0.6 * target + 0.4 * (share * believed + (1 - share) * believed[partner])
    torch.testing.assert_close(found, -(target * logits.log_softmax(dim=1)).sum(dim=1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found_weights, share * taken.weights[labels] + (1 - share) * taken.weights[partner])


@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_clipping_bounds_the_norm_of_all_gradients_together(tmp_path, clip):
    taken, batch = step_of(replace(PLAIN, clip=clip))
    before = [parameter.detach().clone() for parameter in taken.model.parameters()]
    taken(*batch, make_accelerator(tmp_path, seed=0))
    moved = [(now - then).norm() for now, then in zip(taken.model.parameters(), before, strict=True)]
    length = torch.stack(moved).norm().item()  # at a rate of 1 without momentum: the gradients' own
    assert length == pytest.approx(0.01, rel=1e-3) if clip else length > 0.1
