"""The training loop: epochs over Accelerate, history, checkpoints, resuming, early stopping."""

import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, ProjectConfiguration, TorchDynamoPlugin, broadcast, set_seed
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from fer_model.allocator import keep_freed_memory
from fer_model.configs import Recipe
from fer_model.data.augment import augment, mix, normalise, resize
from fer_model.data.duplicates import fingerprint
from fer_model.data.fer2013 import FERData, batches
from fer_model.errors import TrainingError
from fer_model.evaluation.metrics import FERMetric
from fer_model.evaluation.predict import EVALUATION_BATCH, predict, progress_bar
from fer_model.machine import environment, share_cores, warn_of_slow_precision
from fer_model.model.calibration import calibrate
from fer_model.model_facts import forward_flops
from fer_model.training.checkpoints import (
    holds_weights,
    newest_checkpoint,
    remove_checkpoints,
    remove_old_results,
    require_same_run,
    save_checkpoint,
    save_model,
    write_history,
)
from fer_model.training.distillation import Lessons, Teachers
from fer_model.training.losses import distillation, weighted_cross_entropy
from fer_model.training.optim import make_average, make_optimizer, make_schedule
from fer_model.training.warm_start import Start, check_validation

_HEADER = f"{'epoch':>5} {'train loss':>11} {'train acc':>10} {'val loss':>9} {'val acc':>8} {'val recall':>11} {'seconds':>8} {'images/s':>9}"  # noqa: E501


@dataclass
class Progress:
    """Where a run stands; saved with every checkpoint (`state_dict` is what Accelerate asks for)."""

    recipe: Recipe
    epochs: list[dict] = field(default_factory=list)

    def state_dict(self) -> dict:
        return {"epochs": self.epochs}

    def load_state_dict(self, state: dict) -> None:
        self.epochs = state["epochs"]

    @property
    def best_epoch(self) -> int:
        """The first epoch with the highest validation accuracy, counted from 1; 0 before any.

        Epochs at the size that the recipe ends with come before all others: what was trained on smaller images and
        validated on larger ones has a validation accuracy of no meaning.
        """
        if not self.epochs:
            return 0
        last = self.recipe.last_size
        return max(self.epochs, key=lambda row: (row["size"] == last, row["validation_accuracy"]))["epoch"]

    def waited(self) -> int:
        """Epochs since the best one."""
        return len(self.epochs) - self.best_epoch

    @property
    def stopped(self) -> str | None:
        """Why training is over; None while it is not."""
        at_last_size = bool(self.epochs) and self.epochs[-1]["size"] == self.recipe.last_size
        if at_last_size and self.waited() >= self.recipe.patience:
            return f"no better validation accuracy for {self.recipe.patience} epochs"
        if len(self.epochs) >= self.recipe.epochs:
            return f"{self.recipe.epochs} epochs done"
        return None


def make_accelerator(
    output_dir: Path, seed: int, *, compile: bool = False, tracker: str | None = None, threads: int | None = None
) -> Accelerator:
    """An Accelerator as the launcher configured it, with a shuffle that depends on seed and epoch alone.

    `threads` is the number of CPU threads of each process; None shares the cores out.
    """
    accelerator = Accelerator(
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True, data_seed=seed),
        project_config=ProjectConfiguration(project_dir=str(output_dir), logging_dir=str(output_dir / "runs")),
        # one kernel per shape, so that a resumed run uses the same kernels as an uninterrupted one
        dynamo_plugin=TorchDynamoPlugin(backend="inductor", dynamic=False) if compile else None,
        log_with=tracker,
    )
    if tracker and not accelerator.log_with:  # Accelerate drops a tracker it cannot import without a word
        raise TrainingError(f"--tracker {tracker} needs its package: pip install {tracker}")
    share_cores(accelerator, threads)
    keep_freed_memory()
    warn_of_slow_precision(accelerator)
    return accelerator


def fit(
    start: Start,
    train: FERData,
    validation: FERData,
    weights: Tensor,
    recipe: Recipe,
    accelerator: Accelerator,
    output_dir: Path,
    *,
    seed: int,
    about: dict,
    teachers: Teachers | None = None,
    channels_last: bool = False,
    resume: bool = False,
    overwrite: bool = False,
) -> dict:
    """Train until `recipe` says stop; the best weights by validation accuracy end up in `output_dir`/models.

    Every epoch writes `history.json`, a checkpoint, and the model if it is the best so far, in this order. A run
    killed at any moment and resumed ends with a model and a history that belong together; on a CPU they are, but
    for the seconds, those of a run that was not killed.

    Args:
        start: the network to train, from `starting_point`.
        weights: class weights, one for each of the model's classes, from `losses.class_weights`.
        about: where the images come from, for the history's "run" entry: {"command", "dataset",
            "dataset_revision", "limit"}, as train.py's arguments of these names.
        teachers: networks whose answers are part of the targets.
        resume: go on from the last checkpoint in `output_dir`, if there is one.
        overwrite: begin anew although `output_dir` holds an unfinished run.

    Returns:
        The history: {"run": {...}, "epochs": [{epoch, train_loss, train_accuracy, validation_loss,
        validation_accuracy, validation_macro_recall, seconds, images_per_second, learning_rate, size,
        training_flops}], "best_epoch", "stopped", "earlier": histories of the runs that led to the weights
        that this one began with, oldest first; "taught_by": for each teacher the histories that led to it}. The
        training loss is the recipe's, with label smoothing, focal factor, mixed images and teachers if it has them;
        the validation loss is the weighted cross-entropy alone. The training accuracy is over images as they were
        shown, and of mixed ones counts the first label; the learning rate is the one at the epoch's end.

    Raises:
        TrainingError: an unfinished run is in the way, the resumed run was started with other
            settings, or the loss is not a finite number.
    """
    checkpoints = output_dir / "checkpoints"
    # how many epochs there may be is no part of a run's settings, unless the schedule stretches over them
    stretches = recipe.cosine or recipe.share_at_end
    model = start.model
    taught_by = [teacher.earlier for teacher in teachers.trained] if teachers else []
    origin = {"earlier": start.earlier, "taught_by": taught_by}
    run = {
        **about,
        "init": start.init,
        "teachers": teachers.describe() if teachers else None,
        "version": model.version,
        "classes": len(model.class_names),
        "seed": seed,
        "recipe": {key: value for key, value in asdict(recipe).items() if key != "epochs" or stretches},
        "images": {"train": len(train), "validation": len(validation)},
        "validation_sha256": fingerprint(validation.images),
        "class_weights": weights.tolist(),
        "num_processes": accelerator.num_processes,
        "mixed_precision": accelerator.mixed_precision,
        "compile": accelerator.state.dynamo_plugin.backend.value != "NO",
        "channels_last": channels_last,
        "environment": environment(accelerator.device),
    }
    for known in (start, *(teachers.trained if teachers else ())):
        warning = check_validation(known, run)
        if warning:
            accelerator.print(f"Warning: {warning}")
    newest = newest_checkpoint(checkpoints)
    if newest and not resume and not overwrite:
        raise TrainingError(
            f"{checkpoints} holds a run that reached {newest.name}; "
            "add --resume to go on with it, --overwrite to begin anew, or choose another --output-dir."
        )
    if newest and resume:
        require_same_run(output_dir / "history.json", run)
    accelerator.wait_for_everyone()  # every process has looked before the main one changes anything
    if accelerator.is_main_process and not (newest and resume):
        remove_checkpoints(checkpoints)

    # different random numbers in each process, or all would augment and drop out alike
    set_seed(seed, device_specific=True)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(memory_format=memory_format)
    flops = {size: forward_flops(model, size) for size in {recipe.size, recipe.size_at_end}}
    optimizer = make_optimizer(model, recipe)
    model, optimizer, train_loader, validation_loader = accelerator.prepare(
        model,
        optimizer,
        batches(train, recipe.batch_size, shuffle=True),
        batches(validation, EVALUATION_BATCH),
    )
    weights = weights.to(accelerator.device)
    bare = accelerator.unwrap_model(model, keep_torch_compile=False)
    schedule = make_schedule(optimizer, recipe, len(train_loader))
    average = make_average(bare, recipe)
    kept, best = (average.module, average.module) if average else (model, bare)
    lessons = teachers.ask(train, accelerator, memory_format) if teachers else None
    progress = Progress(recipe)

    def keep(logits: Tensor, labels: Tensor) -> None:
        """Make the network, as it is now, the run's result."""
        remove_old_results(output_dir, accelerator)
        result = best.finished()
        calibrate(result, logits, labels)
        save_model(result, output_dir / "models", accelerator)

    accelerator.register_for_checkpointing(progress, schedule, *([average] if average else []))
    if newest and resume:
        accelerator.load_state(str(newest))
        accelerator.print(f"resumed {newest}: {len(progress.epochs)} epochs done")
        write_history(output_dir, _history(run, progress, origin), accelerator)
        with torch.random.fork_rng(devices=()):  # what follows draws numbers that an uninterrupted run does not
            # killed between the checkpoint of a best epoch and its model
            if progress.waited() == 0 and not holds_weights(output_dir / "models", best.finished()):
                keep(*predict(kept, validation_loader, accelerator, "validating", memory_format))
    elif resume:
        accelerator.print(f"no checkpoint in {checkpoints}: starting at epoch 1")

    accelerator.print(_HEADER)
    for row in progress.epochs:
        accelerator.print(_row(row))
    while progress.stopped is None:
        epoch = len(progress.epochs) + 1
        started = time.perf_counter()
        train_loader.set_epoch(epoch)  # the shuffle; without it a resumed run would repeat epoch 1's
        size = recipe.size_in(epoch)
        step = Step(model, optimizer, schedule, average, weights, recipe, size, memory_format, lessons)
        trained = _train_epoch(step, train_loader, accelerator, f"epoch {epoch}")
        train_seconds = time.perf_counter() - started
        if average:  # each process averaged the statistics of its own batches; the first one's are kept
            broadcast(list(average.module.buffers()))
        logits, labels = predict(kept, validation_loader, accelerator, "validating", memory_format)
        row = {
            "epoch": epoch,
            **trained,
            **_validation_scores(logits, labels, weights),
            "seconds": time.perf_counter() - started,
            "images_per_second": len(train) / train_seconds,
            "learning_rate": schedule.get_last_lr()[0],  # of the next step
            "size": size,
            # a backward pass costs two forward ones
            "training_flops": 3 * flops[size] * len(train),
        }
        if not (math.isfinite(row["train_loss"]) and math.isfinite(row["validation_loss"])):
            raise TrainingError(
                f"The loss is not a finite number in epoch {epoch}; "
                "begin anew with --overwrite and a smaller --lr, or with --mixed_precision no."
            )
        progress.epochs.append(row)
        # first, for it replaces the only record of the weights that this run may have begun with in the same folder
        write_history(output_dir, _history(run, progress, origin), accelerator)
        save_checkpoint(checkpoints, epoch, accelerator)
        if progress.waited() == 0:
            keep(logits, labels)
        accelerator.log({k: v for k, v in row.items() if k != "epoch"}, step=epoch)
        accelerator.print(_row(row))
    return _history(run, progress, origin)


@dataclass
class Step:
    """What one training step works on and with."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    average: AveragedModel | None
    weights: Tensor
    recipe: Recipe
    size: int
    memory_format: torch.memory_format
    lessons: Lessons | None = None

    def __call__(
        self, faces: Tensor, labels: Tensor, indices: Tensor, accelerator: Accelerator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take it; returns each image's loss, class weight, and whether it was recognised, all (B,).

        `indices` are the images' places among the training images.
        """
        settings = self.recipe.augmentation
        images, mixed = mix(augment(resize(faces, self.size), settings), settings)
        logits = self.model(normalise(images).contiguous(memory_format=self.memory_format)).float()
        losses, class_weights = self._losses(logits, labels, indices)
        if mixed:  # as often in the batch's labels as in its pixels
            other_losses, other_weights = self._losses(logits, labels[mixed.partner], indices[mixed.partner])
            losses = mixed.share * losses + (1 - mixed.share) * other_losses
            class_weights = mixed.share * class_weights + (1 - mixed.share) * other_weights
        accelerator.backward(losses.sum() / class_weights.sum())
        if self.recipe.clip:
            accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        if self.average:
            self.average.update_parameters(accelerator.unwrap_model(self.model, keep_torch_compile=False))
        return losses.detach(), class_weights, logits.detach().argmax(dim=1) == labels

    def _losses(self, logits: Tensor, labels: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        smoothing, focal = self.recipe.label_smoothing, self.recipe.focal
        losses = weighted_cross_entropy(logits, labels, self.weights, smoothing, focal)
        if self.lessons:
            share = self.lessons.share
            losses = (1 - share) * losses + share * distillation(
                logits, labels, self.weights, self.lessons.probabilities[indices]
            )
        return losses, self.weights[labels]


def _train_epoch(step: Step, loader, accelerator: Accelerator, description: str) -> dict:
    step.model.train()
    seen = []  # loss, weight, correct: (3, images of a batch), left on the device so that nothing waits
    for faces, labels, indices in progress_bar(loader, description, accelerator):
        losses, class_weights, correct = step(faces, labels, indices, accelerator)
        seen.append(torch.stack(accelerator.gather_for_metrics((losses, class_weights, correct.float()))))
    images_seen = torch.cat(seen, dim=1).cpu().double()  # on the CPU, since not every device knows float64
    if images_seen.shape[1] != len(loader.dataset):
        raise RuntimeError(f"{images_seen.shape[1]} images were counted in an epoch of {len(loader.dataset)}")
    loss_sum, weight_sum, correct_sum = images_seen.sum(dim=1).tolist()
    return {"train_loss": loss_sum / weight_sum, "train_accuracy": correct_sum / len(loader.dataset)}


def _validation_scores(logits: Tensor, labels: Tensor, weights: Tensor) -> dict:
    weights = weights.cpu()
    loss = weighted_cross_entropy(logits, labels, weights).sum() / weights[labels].sum()
    scores = FERMetric().compute(predictions=logits.softmax(dim=1), references=labels)
    return {
        "validation_loss": float(loss),
        "validation_accuracy": scores["accuracy"],
        "validation_macro_recall": scores["macro_recall"],
    }


def _row(row: dict) -> str:
    return (
        f"{row['epoch']:>5} {row['train_loss']:>11.4f} {row['train_accuracy']:>10.2%} {row['validation_loss']:>9.4f} "
        f"{row['validation_accuracy']:>8.2%} {row['validation_macro_recall']:>11.2%} "
        f"{row['seconds']:>8.1f} {row['images_per_second']:>9.1f}"
    )


def _history(run: dict, progress: Progress, origin: dict) -> dict:
    return {
        "run": run,
        "epochs": progress.epochs,
        "best_epoch": progress.best_epoch,
        "stopped": progress.stopped,
        **origin,
    }
