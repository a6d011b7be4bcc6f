"""Optimizer, schedule, moving average, what counts as best, and what Accelerate is asked for."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import nn

from fer_model.configs import Recipe
from fer_model.errors import FERError
from fer_model.model.network import FERModel
from fer_model.training import fit, optim
from fer_model.training.history import Progress

PLAIN = Recipe(lr=0.1, weight_decay=0.01)


def test_decay_can_spare_biases_and_batch_norm():
    model = FERModel(version="v2")
    groups = optim.make_optimizer(model, replace(PLAIN, optimizer="sgd", decay_weights_only=True)).param_groups
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert len(decays) == len(list(model.parameters()))
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            spared = name == "bias" or isinstance(module, nn.BatchNorm2d)
            assert decays[id(parameter)] == (0.0 if spared else 0.01)
    assert all(group["nesterov"] and group["momentum"] == 0.9 for group in groups)


@pytest.mark.parametrize(("name", "kind"), [("adam", "Adam"), ("adamw", "AdamW"), ("sgd", "SGD")])
def test_optimizers_go_by_their_names(name, kind):
    optimizer = optim.make_optimizer(nn.Linear(2, 2), replace(PLAIN, optimizer=name))
    assert type(optimizer).__name__ == kind
    assert optimizer.param_groups[0]["lr"] == 0.1


def rates(recipe: Recipe, steps_per_epoch: int = 10) -> list[float]:
    optimizer = optim.make_optimizer(nn.Linear(1, 1), recipe)
    schedule = optim.make_schedule(optimizer, recipe, steps_per_epoch)
    found = []
    for _ in range(recipe.epochs * steps_per_epoch):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return [*found, optimizer.param_groups[0]["lr"]]


def test_the_rate_is_constant_unless_asked_otherwise():
    assert set(rates(replace(PLAIN, epochs=3))) == {0.1}


def test_the_rate_rises_to_its_height_and_falls_along_torchs_cosine_to_nothing():
    found = rates(replace(PLAIN, epochs=5, warmup=2, cosine=True))
    assert found[:20] == pytest.approx([0.1 * (step + 1) / 20 for step in range(20)])
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=30)
    for rate in found[20:]:
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        reference.step()
    assert found[-1] == pytest.approx(0, abs=1e-9)


def test_the_average_follows_weights_and_statistics_slowly_and_forgets_the_beginning_soon():
    model = nn.BatchNorm1d(3)
    assert optim.make_average(model, PLAIN) is None
    average = optim.make_average(model, replace(PLAIN, ema=0.9))
    kept = ("weight", "bias", "running_mean", "running_var")
    for value in (*model.parameters(), *model.buffers()):
        value.data.fill_(1000)  # where it begins, and has nothing to do with what comes
    for step in range(1, 121):
        average.update_parameters(model)
        if step == 1:  # a copy
            assert all((getattr(average.module, name) == 1000).all() for name in kept)
        if step == 20:  # a steady decay of 0.9 would still hold 1000 * 0.9 ** 19 = 135
            assert all((getattr(average.module, name) < 20).all() for name in kept)
        for value in (*model.parameters(), *model.buffers()):
            value.data.fill_(step)
    for name in kept:  # in the end it lags 0.9 / (1 - 0.9) steps behind
        torch.testing.assert_close(getattr(average.module, name), torch.full((3,), 119.0 - 9.0), rtol=0, atol=0.05)


def test_a_recipe_for_larger_batches_moves_as_far_for_each_image():
    recipe = replace(PLAIN, optimizer="sgd", batch_size=64, epochs=160, warmup=2, ema=0.999)
    assert optim.for_batch(recipe, 64) == recipe
    larger = optim.for_batch(recipe, 256, processes=2)
    assert larger.batch_size == 256
    assert larger.lr == pytest.approx(8 * recipe.lr)
    assert larger.ema == pytest.approx(recipe.ema**8), "what is left of a network after eight steps, now after one"
    assert larger.warmup == 5
    assert optim.for_batch(replace(recipe, optimizer="adam"), 256).lr == pytest.approx(2 * recipe.lr)
    assert optim.for_batch(replace(recipe, epochs=3), 256).warmup == 2, "it ends before the training does"
    assert optim.for_batch(replace(recipe, ema=0.0), 256).ema == 0.0


def test_epochs_over_smaller_images_neither_count_as_best_nor_end_the_training():
    recipe = replace(PLAIN, epochs=8, patience=2, size=32, size_at_end=64, share_at_end=0.5)
    epochs = [
        {"epoch": epoch, "size": recipe.size_in(epoch), "validation_accuracy": accuracy}
        for epoch, accuracy in enumerate((0.5, 0.3, 0.2, 0.2, 0.4, 0.3, 0.3), start=1)
    ]
    assert Progress(recipe, epochs[:4]).stopped is None, "although the first of four is the best"
    larger = Progress(recipe, epochs[:5])
    assert larger.best_epoch == 5
    assert larger.waited() == 0
    assert Progress(recipe, epochs).stopped == "no better validation accuracy for 2 epochs"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "8", "accumulate gradients over 8 mini-batches; set that to 1"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "many", "cannot start as it is configured"),
        ("ACCELERATE_MIXED_PRECISION", "fp16", "use fp16 on a CPU; choose bf16 or no"),
        ("ACCELERATE_MIXED_PRECISION", "half", "use 'half' precision; choose no, bf16, fp16"),
        ("ACCELERATE_USE_FSDP", "true", "turn DeepSpeed or FSDP off"),
        ("LOCAL_RANK", "0", "LOCAL_RANK"),
    ],
)
def test_what_accelerate_is_asked_for_from_outside_is_refused_where_it_is_not_done(name, value, says, monkeypatch):
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setenv(name, value)
    with pytest.raises(FERError, match=says):
        fit.make_accelerator(Path(), seed=0)
    AcceleratorState._reset_state(reset_partial_state=True)
