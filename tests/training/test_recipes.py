"""The options of a recipe do what their papers say, whatever the version."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from accelerate.state import AcceleratorState
from fer_model.model_facts import weights_digest
from torch import nn

from fer_model.configs import CONFIGS, Augmentation, Recipe, changed
from fer_model.data import augment
from fer_model.data.dataset import FERData
from fer_model.data.duplicates import near_pairs, photo_groups
from fer_model.data.splits import stratified_split
from fer_model.errors import TrainingError
from fer_model.model.network import FERModel, SpatialAttention
from fer_model.training import checkpoints, fit, losses, optim
from fer_model.training.distillation import TeacherTargets
from fer_model.training.warm_start import Start

PLAIN = Recipe(lr=0.1, weight_decay=0.01)


def logits_and_labels() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(20, 6, generator=generator), torch.arange(20) % 6, torch.rand(6, generator=generator) + 0.5


# Loss


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_torchs_weighted_and_smoothed_cross_entropy(smoothing):
    logits, labels, weights = logits_and_labels()
    found = losses.weighted_cross_entropy(logits, labels, weights, smoothing).sum() / weights[labels].sum()
    torch.testing.assert_close(found, nn.CrossEntropyLoss(weight=weights, label_smoothing=smoothing)(logits, labels))


def test_the_focal_loss_is_its_papers_formula_and_favours_what_is_wrong():
    logits, labels, weights = logits_and_labels()
    found = losses.weighted_cross_entropy(logits, labels, weights, focal=2.0)
    p = torch.exp(-F.cross_entropy(logits, labels, reduction="none"))
    torch.testing.assert_close(found, -weights[labels] * (1 - p) ** 2 * p.log())
    plain = losses.weighted_cross_entropy(logits, labels, weights)
    assert (found / plain)[p.argmax()] < (found / plain)[p.argmin()]


def test_class_weights_soften_with_their_power():
    labels = torch.tensor([0] * 8 + [1, 2, 3, 4, 5])
    full, half, none = (losses.class_weights(labels, power) for power in (1.0, 0.5, 0.0))
    torch.testing.assert_close(half, full.sqrt())
    assert none.tolist() == [1.0] * 6


# Optimizer, schedule, average


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


def test_a_focal_gamma_below_one_has_gradients_everywhere():
    logits = torch.tensor([[40.0, 0, 0, 0, 0, 0]], requires_grad=True)
    losses.weighted_cross_entropy(logits, torch.tensor([0]), torch.ones(6), focal=0.5).sum().backward()
    assert logits.grad.isfinite().all()


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


# Augmentation


def test_zoom_scales_about_the_middle():
    images = torch.ones(4, 1, 40, 40)
    still = Augmentation(flip=0, rotation=0, translation=0)
    smaller = augment.augment(images, replace(still, shrink=0.5, enlarge=0.5))
    assert smaller[:, :, 12:28, 12:28].min() == 1
    assert smaller.mean().item() == pytest.approx(0.25, abs=0.03)
    torch.testing.assert_close(augment.augment(images, replace(still, shrink=2.0, enlarge=2.0)), images)


def test_contrast_and_brightness_stay_in_bounds_and_differ_between_images():
    images = torch.rand(64, 1, 8, 8) * 0.2 + 0.4
    still = Augmentation(flip=0, rotation=0, translation=0)
    brighter = augment.augment(images, replace(still, brightness=0.3))
    shift = (brighter - images).mean(dim=(1, 2, 3))
    assert shift.abs().max() <= 0.3 + 1e-5
    assert shift.std() > 0.1
    stretched = augment.augment(images, replace(still, contrast=0.5))
    factor = stretched.std(dim=(1, 2, 3)) / images.std(dim=(1, 2, 3))
    assert factor.min() >= 0.5 - 1e-3
    assert factor.max() <= 1.5 + 1e-3
    assert factor.std() > 0.1
    extreme = augment.augment(torch.rand(64, 1, 8, 8), replace(still, brightness=1.0, contrast=1.0))
    assert extreme.min() >= 0
    assert extreme.max() <= 1


def test_erasing_blackens_one_rectangle_of_the_chosen_images():
    images = torch.ones(2000, 1, 48, 48)
    erased = augment.erase(images, 0.4)
    shares = (erased == 0).float().mean(dim=(1, 2, 3))
    assert (shares > 0).float().mean().item() == pytest.approx(0.4, abs=0.05)
    hit = shares[shares > 0]
    assert hit.max() <= 0.36
    assert hit.mean().item() == pytest.approx((0.02 + 0.33) / 2, abs=0.02)
    for image in erased[shares > 0][:100, 0]:
        rows, columns = (image == 0).any(dim=1).nonzero(), (image == 0).any(dim=0).nonzero()
        inside = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert inside.max() == 0, "what is black is a whole rectangle"


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixing_takes_as_much_of_the_label_as_of_the_picture(kind):
    torch.manual_seed(0)
    images = torch.arange(8.0)[:, None, None, None].expand(8, 1, 32, 32).clone()
    for _ in range(20):
        mixed, how = augment.mix(images, Augmentation(**{kind: 1.0}))
        expected = how.share * images + (1 - how.share) * images[how.partner]
        torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), expected.mean(dim=(1, 2, 3)), atol=1e-4, rtol=1e-4)
        assert sorted(how.partner.tolist()) == list(range(8))
    same, nothing = augment.mix(images, Augmentation())
    assert same is images
    assert nothing is None


def test_options_that_are_off_leave_the_random_numbers_of_older_recipes_as_they_were():
    """Otherwise V1's and V2's histories could not be repeated."""
    torch.manual_seed(0)
    augment.augment(torch.rand(4, 1, 8, 8), Augmentation())
    after = torch.rand(1)
    torch.manual_seed(0)
    torch.rand(4, 1, 8, 8)
    for _ in range(4):  # mirror, angle, two shifts
        torch.rand(4)
    assert torch.equal(after, torch.rand(1))


# Network


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


# Splitting


def test_no_photo_is_on_both_sides_of_the_split():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (60, 1, 48, 48), dtype=torch.uint8, generator=generator)
    images = torch.cat([images, images[:12].flip(-1), images[:6]])
    labels = torch.arange(len(images)) % 6
    groups = photo_groups(len(images), near_pairs(images, 0.95))
    larger, smaller = stratified_split(labels, 0.2, seed=0, groups=groups)
    assert not set(groups[larger].tolist()) & set(groups[smaller].tolist())
    assert sorted([*larger.tolist(), *smaller.tolist()]) == list(range(len(images)))
    _, plain = stratified_split(labels, 0.2, seed=0)
    assert set(smaller.tolist()) < set(plain.tolist()), "of the split without groups, what occurs once"
    assert {index for index in plain.tolist() if (groups == groups[index]).sum() == 1} == set(smaller.tolist())


# Setting options


def test_any_option_can_be_set_by_name():
    found = changed(PLAIN, ["focal=2", "cosine=true", "epochs=7", "optimizer=sgd", "augmentation.mixup=0.2"])
    expected = replace(PLAIN, focal=2.0, cosine=True, epochs=7, optimizer="sgd", augmentation=Augmentation(mixup=0.2))
    assert found == expected
    assert changed(PLAIN, []) is PLAIN


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("fokal=2", "label_smoothing"),
        ("optimizer=smg", "adamw"),
        ("ema=2", "ema is 2"),
        ("epochs=0", "at least 1"),
        ("size=8", "from 16"),
        ("lr=nan", "lr is nan"),
        ("augmentation.shrink=2", "enlarge"),
        ("epochs=many", "int"),
        ("cosine=maybe", "bool"),
        ("x.y=1", "options"),
        ("", "options"),
    ],
)
def test_an_option_that_is_none_is_refused_with_the_list(assignment, says):
    with pytest.raises(TrainingError, match=says):
        changed(PLAIN, [assignment])


# Steps


def step(recipe: Recipe, optimizer_of=lambda model: torch.optim.SGD(model.parameters(), lr=1.0), lessons=None):
    """A training step of V1, without dropout or augmentation, and a batch for it."""
    model = FERModel(version="v1", seed=0).eval()
    optimizer = optimizer_of(model)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    weights = torch.tensor([0.5, 1.0, 1.5, 2.0, 2.5, 3.0])
    recipe = replace(recipe, size=48, augmentation=Augmentation(flip=0, rotation=0, translation=0))
    taken = fit.Step(model, optimizer, schedule, None, weights, recipe, 48, torch.contiguous_format, lessons)
    faces = torch.randint(0, 256, (6, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return taken, (faces, torch.tensor([0, 1, 2, 3, 4, 5]), torch.arange(6))


@pytest.mark.parametrize("taught", [False, True])
def test_a_mixed_image_is_learned_as_both_of_its_labels(monkeypatch, tmp_path, taught):
    """Zhang et al. 2018, section 2: the loss of the mixture is the mixture of the losses, here of weighted ones."""
    said = torch.randn(6, 6, generator=torch.Generator().manual_seed(1)).softmax(dim=1)
    taken, (faces, labels, indices) = step(PLAIN, lessons=TeacherTargets(said, 0.4) if taught else None)
    partner, share = torch.tensor([3, 4, 5, 0, 1, 2]), 0.3

    def mixed(images, settings):
        return share * images + (1 - share) * images[partner], augment.Mix(partner, share)

    monkeypatch.setattr(fit, "mix", mixed)
    with torch.no_grad():
        pictures = mixed(augment.resize(faces, 48), None)[0]
        logits = taken.model(augment.normalise(pictures))
    found, found_weights, _ = taken(faces, labels, indices, fit.make_accelerator(tmp_path, seed=0))
    target = share * F.one_hot(labels) * taken.weights[labels][:, None]
    target = target + (1 - share) * (F.one_hot(labels) * taken.weights[labels][:, None])[partner]
    if taught:
        believed = said * taken.weights[labels][:, None]
        target = 0.6 * target + 0.4 * (share * believed + (1 - share) * believed[partner])
    torch.testing.assert_close(found, -(target * logits.log_softmax(dim=1)).sum(dim=1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found_weights, share * taken.weights[labels] + (1 - share) * taken.weights[partner])


@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_clipping_bounds_the_norm_of_all_gradients_together(tmp_path, clip):
    taken, batch = step(replace(PLAIN, clip=clip))
    before = [parameter.detach().clone() for parameter in taken.model.parameters()]
    taken(*batch, fit.make_accelerator(tmp_path, seed=0))
    moved = [(now - then).norm() for now, then in zip(taken.model.parameters(), before, strict=True)]
    length = torch.stack(moved).norm().item()  # at a rate of 1 without momentum: the gradients' own
    assert length == pytest.approx(0.01, rel=1e-3) if clip else length > 0.1


# Together


def test_epochs_over_smaller_images_neither_count_as_best_nor_end_the_training():
    recipe = replace(PLAIN, epochs=8, patience=2, size=32, size_at_end=64, share_at_end=0.5)
    epochs = [
        {"epoch": epoch, "size": recipe.size_in(epoch), "validation_accuracy": accuracy}
        for epoch, accuracy in enumerate((0.5, 0.3, 0.2, 0.2, 0.4, 0.3, 0.3), start=1)
    ]
    assert fit.Progress(recipe, epochs[:4]).stopped is None, "although the first of four is the best"
    larger = fit.Progress(recipe, epochs[:5])
    assert larger.best_epoch == 5
    assert larger.waited() == 0
    assert fit.Progress(recipe, epochs).stopped == "no better validation accuracy for 2 epochs"


FACES = FERData(
    torch.randint(0, 256, (48, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
    torch.arange(48) % 6,
)


def run(folder: Path, recipe: Recipe, **options) -> dict:
    """V1 on `FACES`, which are noise, and validated on them, too."""
    accelerator = fit.make_accelerator(folder, seed=0)
    start, weights = Start(FERModel(version="v1", seed=0)), losses.class_weights(FACES.labels)
    about = {"command": "", "dataset": "noise", "dataset_revision": None, "limit": None}
    return fit.fit(start, FACES, FACES, weights, recipe, accelerator, folder, seed=0, about=about, **options)


def killed(*arguments):
    raise KeyboardInterrupt


def test_a_resumed_run_with_schedule_and_average_goes_on_as_if_it_had_not_stopped(tmp_path, monkeypatch):
    recipe = replace(
        CONFIGS["v3"].recipe, batch_size=16, epochs=3, warmup=1, size=24, size_at_end=32, share_at_end=0.34, clip=1.0
    )
    recipe = replace(recipe, augmentation=replace(recipe.augmentation, mixup=0.4, cutmix=1.0))
    whole = run(tmp_path / "whole", recipe)
    with monkeypatch.context() as patch:
        patch.setattr(fit, "save_model", killed)  # after the first checkpoint
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "parts", recipe)
    parts = run(tmp_path / "parts", recipe, resume=True)
    drop = ("seconds", "images_per_second")
    strip = [[{k: v for k, v in row.items() if k not in drop} for row in h["epochs"]] for h in (whole, parts)]
    assert strip[0] == strip[1]
    assert [row["size"] for row in parts["epochs"]] == [24, 24, 32]
    saved = [FERModel.from_pretrained(tmp_path / name / "models") for name in ("whole", "parts")]
    assert weights_digest(saved[0]) == weights_digest(saved[1])


def test_a_run_killed_before_its_best_model_was_written_writes_it_when_resumed(tmp_path, monkeypatch):
    """Although a finished run trains no more; and resumed once again it changes nothing."""
    recipe = replace(CONFIGS["v1"].recipe, epochs=1, size=16)
    with monkeypatch.context() as patch:
        patch.setattr(fit, "save_model", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, recipe)
    (row,) = run(tmp_path, recipe, resume=True)["epochs"]
    model = FERModel.from_pretrained(tmp_path / "models")
    with torch.no_grad():
        correct = model(augment.preprocess(FACES.images, 64)).argmax(dim=1) == FACES.labels
    assert float(correct.double().mean()) == pytest.approx(row["validation_accuracy"])
    (tmp_path / "metrics.json").write_text("{}")
    run(tmp_path, recipe, resume=True)
    assert (tmp_path / "metrics.json").is_file(), "what was measured of the model stays"
    assert json.loads((tmp_path / "history.json").read_text())["stopped"] == "1 epochs done"


def test_a_model_killed_between_its_files_is_written_anew(tmp_path, monkeypatch):
    """Before its weights, and so before it is taken for finished: its temperature would be another epoch's."""
    recipe = replace(CONFIGS["v1"].recipe, epochs=1, size=16)
    run(tmp_path, recipe)
    expected = FERModel.from_pretrained(tmp_path / "models")
    FERModel(version="v1", seed=7).save_pretrained(tmp_path / "models")  # as an earlier epoch may have left it
    replaced = []

    def replace_one(source, target):
        if Path(target).parent.name == "models" and len(replaced) == 2:
            raise KeyboardInterrupt
        replaced.append(Path(target).name)
        rename(source, target)

    with monkeypatch.context() as patch:
        rename = checkpoints.os.replace
        patch.setattr(checkpoints.os, "replace", replace_one)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save_model(expected, tmp_path / "models", fit.make_accelerator(tmp_path, seed=0))
    run(tmp_path, recipe, resume=True)
    found = FERModel.from_pretrained(tmp_path / "models")
    assert weights_digest(found) == weights_digest(expected)
    assert found.temperature == expected.temperature


def test_resuming_a_finished_run_leaves_weights_that_were_rounded_to_float16(tmp_path):
    recipe = replace(CONFIGS["v1"].recipe, epochs=1, size=16)
    run(tmp_path, recipe)
    FERModel.from_pretrained(tmp_path / "models").half().save_pretrained(tmp_path / "models")
    size = (tmp_path / "models" / "model.safetensors").stat().st_size
    run(tmp_path, recipe, resume=True)
    assert (tmp_path / "models" / "model.safetensors").stat().st_size == size


@pytest.fixture
def bfloat16(monkeypatch) -> Iterator[None]:
    """As under `accelerate launch --mixed_precision bf16`."""
    AcceleratorState._reset_state()  # it is one for all Accelerators of a process
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    yield
    AcceleratorState._reset_state()


@pytest.mark.usefixtures("bfloat16")
def test_training_in_bfloat16_keeps_weights_and_history_in_more_digits(tmp_path):
    history = run(tmp_path, replace(CONFIGS["v3"].recipe, batch_size=16, epochs=1, size=16), channels_last=True)
    assert history["run"]["mixed_precision"] == "bf16"
    assert math.isfinite(history["epochs"][0]["validation_loss"])
    weights = FERModel.from_pretrained(tmp_path / "models").state_dict().values()
    assert all(weight.dtype == torch.float32 for weight in weights if weight.is_floating_point())
    assert any((weight != weight.bfloat16().float()).any() for weight in weights if weight.is_floating_point())
