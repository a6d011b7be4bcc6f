"""One training step: mixed images, teachers, the bound of its gradients, and that it waits for nothing."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from fer_model.configs import CONFIGS, Augmentation, Recipe
from fer_model.data.augment import Mix
from fer_model.data.dataset import FERData, shuffled
from fer_model.model.network import FERModel
from fer_model.model.preprocess import normalise, resize
from fer_model.training import step
from fer_model.training.distillation import TeacherTargets
from fer_model.training.fit import make_accelerator
from fer_model.training.optim import make_average, make_optimizer, make_schedule

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

    how = Mix(partner, torch.full((1, 1, 48, 48), share), torch.tensor([share, 1 - share]))
    monkeypatch.setattr(step, "draw_mix", lambda images, settings: how)
    with torch.no_grad():
        pictures = resize(faces, 48)
        logits = taken.model(normalise(share * pictures + (1 - share) * pictures[partner]))
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


def test_sharpness_aware_steps_take_the_gradient_uphill_and_leave_the_weights_where_they_were(tmp_path):
    """Foret et al. 2021, equation 3, computed here a second time: at a rate of 1, a step is minus the gradient."""
    taken, batch = step_of(replace(PLAIN, sam=0.05))
    weights = list(taken.model.parameters())
    before = [weight.detach().clone() for weight in weights]

    def gradients() -> list[torch.Tensor]:
        logits = taken.model(normalise(resize(batch[0], 48)))
        loss = F.cross_entropy(logits, batch[1], taken.weights)
        return list(torch.autograd.grad(loss, weights))

    uphill = gradients()
    norm = torch.cat([gradient.flatten() for gradient in uphill]).norm()
    with torch.no_grad():
        for weight, gradient in zip(weights, uphill, strict=True):
            weight += 0.05 * gradient / norm
    expected = gradients()
    with torch.no_grad():
        for weight, first in zip(weights, before, strict=True):
            weight.copy_(first)
    taken(*batch, make_accelerator(tmp_path, seed=0))
    steps = [first - weight for weight, first in zip(weights, before, strict=True)]
    # what augmentation does to images where it changes nothing is rounding
    assert _apart(steps, expected) < 0.02 * _apart(uphill, expected)


def test_sharpness_aware_steps_count_the_statistics_of_a_mini_batch_once(tmp_path):
    """Also where the first gradients overflow, as float16's may, and the weights are NaN in the second pass."""
    accelerator, data, indices = make_accelerator(tmp_path, seed=0), noise(4), torch.arange(4)
    found = []
    for sam, scale in ((0.0, 1.0), (0.05, 1.0), (0.05, math.inf)):
        taken = whole_step(torch.device("cpu"))
        taken.recipe, taken.average = replace(taken.recipe, sam=sam), None
        # float16's scaler takes no step where gradients overflow
        taken.optimizer.step = taken.schedule.step = lambda: None
        taken.model.train()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(accelerator, "backward", lambda loss, scale=scale: (scale * loss).backward())
            torch.manual_seed(0)
            taken(data.images, data.labels, indices, accelerator)
        found.append(dict(taken.model.named_buffers()))
    for name, expected in found[0].items():
        assert torch.equal(found[1][name], expected) and torch.equal(found[2][name], expected), name


def _apart(some: list[torch.Tensor], others: list[torch.Tensor]) -> float:
    return torch.cat([(one - other).flatten() for one, other in zip(some, others, strict=True)]).norm().item()


def whole_step(device: torch.device, captured: bool = False, **mixing: float) -> step.Step:
    """A step with all that a recipe can have, of a small V4, which learns also from votes."""
    augmentation = replace(CONFIGS["v4"].recipe.augmentation, **mixing)
    recipe = replace(CONFIGS["v4"].recipe, batch_size=4, size=16, clip=1.0, focal=1.0, augmentation=augmentation)
    model = FERModel(version="v4", seed=0, classes=7).to(device)
    optimizer = make_optimizer(model, recipe, fused=device.type == "cuda")
    schedule, average = make_schedule(optimizer, recipe, 2), make_average(model, recipe)
    taught = TeacherTargets(torch.full((8, 7), 1 / 7, device=device), 0.5)
    weights = torch.ones(7, device=device)
    form = torch.channels_last
    return step.Step(model, optimizer, schedule, average, weights, recipe, 16, form, taught, captured)


def noise(count: int) -> FERData:
    generator = torch.Generator().manual_seed(0)
    faces = torch.randint(0, 256, (count, 1, 48, 48), dtype=torch.uint8, generator=generator)
    return FERData(faces, torch.arange(count) % 7)


class ReadsNothing(TorchDispatchMode):
    """Fails where the value of a tensor is read: on a GPU, the processor would wait there.

    The average counts its steps on the processor, always. So `counter`, and what comes from it alone, may be read.
    """

    def __init__(self, counter: torch.Tensor):
        super().__init__()
        self.of_the_processor = [counter]

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        tensors = [value for value in arguments if isinstance(value, torch.Tensor)]
        free = bool(tensors) and all(any(value is known for known in self.of_the_processor) for value in tensors)
        if function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            assert free, "a step reads a tensor"
        result = function(*arguments, **(options or {}))
        if free:
            self.of_the_processor.append(result)
        return result


def test_a_step_reads_no_tensor(tmp_path):
    taken, data, accelerator = whole_step(torch.device("cpu")), noise(8), make_accelerator(tmp_path, seed=0)
    taken.model.train()
    batches = list(shuffled(8, 4))
    with ReadsNothing(taken.average.n_averaged):
        for indices in batches:
            seen = taken(data.images[indices], data.labels[indices], indices, accelerator)
        with pytest.raises(AssertionError, match="reads a tensor"):
            seen.sum().item()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_a_step_does_not_wait_for_the_gpu(tmp_path):
    device = torch.device("cuda")
    taken, data = whole_step(device, mixup=0.2, cutmix=1.0), noise(8).to(device)
    accelerator, indices = make_accelerator(tmp_path, seed=0), torch.arange(8, device=device)
    taken(data.images, data.labels, indices, accelerator)  # the first allocates
    torch.cuda.set_sync_debug_mode("error")
    try:
        taken(data.images, data.labels, indices, accelerator)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.slow
def test_the_recorded_pieces_are_whole_and_recorded_once(tmp_path, monkeypatch):
    """No break in them, and no second recording for a later step; what they compute is what the plain step does."""

    def record(function, mode, dynamic):
        assert mode == "reduce-overhead", "CUDA graphs"
        return compiled(function, backend="aot_eager", fullgraph=True, dynamic=dynamic)

    compiled, data, accelerator = torch.compile, noise(8), make_accelerator(tmp_path, seed=0)
    monkeypatch.setattr(step.torch, "compile", record)
    monkeypatch.setattr(torch._dynamo.config, "error_on_recompile", True)
    results = []
    for captured in (False, True):
        torch.manual_seed(0)
        taken = whole_step(torch.device("cpu"), captured, mixup=0.2, cutmix=1.0)
        results.append([step.train_epoch(taken, data, shuffled(8, 4), accelerator, "") for _ in range(2)])
    plain, recorded = results
    assert [row["train_loss"] for row in recorded] == pytest.approx([row["train_loss"] for row in plain], rel=1e-4)
    assert plain[0] != plain[1]


@pytest.mark.parametrize("captured", [False, True])
def test_recorded_steps_all_have_one_shape_and_count_each_image_once(tmp_path, captured):
    shapes, counted = [], []

    def fake(faces, labels, indices, accelerator):
        shapes.append(len(faces))
        counted.extend(indices.tolist())
        return torch.stack([indices.float(), torch.ones(len(indices)), torch.zeros(len(indices))])

    fake.model, fake.recipe, fake.captured = FERModel(version="v1"), replace(PLAIN, batch_size=4), captured
    scores = step.train_epoch(fake, noise(10), shuffled(10, 4), make_accelerator(tmp_path, seed=0), "")
    assert shapes == [4, 4, 4 if captured else 2]
    assert set(counted) == set(range(10))
    assert scores == {"train_loss": pytest.approx(4.5), "train_accuracy": 0.0}
