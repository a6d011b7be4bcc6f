"""The training loop: epochs over Accelerate, history, checkpoints, resuming, early stopping."""

import copy
import math
import time
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, ProjectConfiguration, TorchDynamoPlugin, broadcast, set_seed
from torch import Tensor

from fer_model.configs import Recipe
from fer_model.data.dataset import FERData, batches, shuffled
from fer_model.errors import TrainingError
from fer_model.evaluation.predict import EVALUATION_BATCH, predict, start_accelerator
from fer_model.evaluation.scores import class_scores, confusion_matrix
from fer_model.machine import keep_freed_memory, share_cores, warn_of_slow_precision
from fer_model.records import About, Ancestry, Epoch, History, Settings, ValidationScores
from fer_model.runs import Run
from fer_model.training.checkpoints import (
    all_checkpoints,
    epoch_of,
    holds_weights,
    newest_whole,
    remove_checkpoints,
    remove_old_results,
    require_same_run,
    save_checkpoint,
    save_model,
)
from fer_model.training.distillation import Crowd, Teachers
from fer_model.training.history import HEADER, Best, Progress, history_of, row_of, settings_of, write_history
from fer_model.training.leakage import check_validation
from fer_model.training.losses import weighted_cross_entropy
from fer_model.training.optim import make_average, make_optimizer, make_schedule
from fer_model.training.step import Step, forward_flops, train_epoch
from fer_model.training.warm_start import Start

SECONDS_BETWEEN_SAVES = 30
"""On a GPU, where an epoch may take less than one. On a CPU every epoch is saved."""


def make_accelerator(
    output_dir: Path,
    seed: int,
    *,
    compile: bool = False,
    tracker: str | None = None,
    threads: int | None = None,
    mixed_precision: str | None = None,
) -> Accelerator:
    """An Accelerator as the launcher configured it, with a shuffle that depends on seed and epoch alone.

    `threads` is the number of CPU threads of each process; None shares the cores out. `mixed_precision` is the
    launcher's unless it is given.
    """
    accelerator = start_accelerator(
        mixed_precision=mixed_precision,
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
    about: About,
    teachers: Teachers | None = None,
    crowd: Crowd | None = None,
    channels_last: bool = False,
    resume: bool = False,
    overwrite: bool = False,
) -> History:
    """Train until `recipe` says stop; the best weights by validation accuracy end up in `output_dir`/models.

    Every epoch writes `history.json`, a checkpoint, and the model if it is the best so far, in this order. On a GPU
    they are written every 30 seconds, and at the end. A run killed at any moment and resumed ends with a model and a
    history that belong together; on a CPU they are, but for the seconds, those of a run that was not killed.

    The images live on the device. With torch.compile on one CUDA device the step is recorded as CUDA graphs (`Step`).

    Args:
        start: the network to train, from `starting_point`.
        weights: class weights, one for each of the model's classes, from `losses.class_weights`.
        about: where the images come from, for the history's "run" entry.
        teachers: networks whose answers are part of the targets.
        crowd: people whose votes are part of them. Each epoch then also tells how well it agrees with these people
            (`VoteScores`).
        resume: go on from the last checkpoint in `output_dir`, if there is one.
        overwrite: begin anew although `output_dir` holds a run with checkpoints.

    Returns:
        The history. Its training loss is the recipe's, with label smoothing, focal factor, mixed
        images, teachers and votes if it has them. Its validation loss is the weighted cross-entropy alone. The training
        accuracy is over images as they were shown; of mixed ones it counts the first label. The learning rate is the
        one at the epoch's end.

    Raises:
        TrainingError: a run with checkpoints is in the way, the resumed run was started with other
            settings, or the loss is not a finite number.
    """
    run = Run(output_dir)
    model = start.model
    settings = settings_of(
        start,
        train,
        validation,
        weights.tolist(),
        recipe,
        accelerator,
        seed=seed,
        about=about,
        teachers=teachers,
        crowd=crowd,
        channels_last=channels_last,
    )
    taught_by = [teacher.earlier for teacher in teachers.trained] if teachers else []
    origin: Ancestry = {"earlier": start.earlier, "taught_by": taught_by}
    if start.averaged_with:
        origin["averaged_with"] = start.averaged_with
    for known in (start, *(teachers.trained if teachers else ())):
        if warning := check_validation(known, settings):
            accelerator.print(f"Warning: {warning}")
    checkpoint = _claim(run, settings, accelerator, resume, overwrite)

    # different random numbers in each process, or all would augment and drop out alike
    set_seed(seed, device_specific=True)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(memory_format=memory_format)
    flops = {size: forward_flops(model, size) for size in {recipe.size, recipe.size_at_end}}
    device = accelerator.device
    optimizer = make_optimizer(model, recipe, fused=device.type == "cuda")
    model, optimizer, train_loader, validation_loader = accelerator.prepare(
        model,
        optimizer,
        shuffled(len(train), recipe.batch_size),
        batches(validation.to(device), EVALUATION_BATCH if device.type == "cpu" else 8 * EVALUATION_BATCH),
        device_placement=[True, True, False, True],  # the indices of an epoch go to the device together
    )
    images, weights = train.to(device), weights.to(device)
    bare = accelerator.unwrap_model(model, keep_torch_compile=False)
    schedule = make_schedule(optimizer, recipe, len(train_loader))
    average = make_average(bare, recipe)
    kept, best = (average.module, average.module) if average else (model, bare)
    taught = teachers.ask(train, accelerator, memory_format) if teachers else None
    if crowd and crowd.share:
        taught = crowd.targets(train, device).beside(taught)
    captured = settings["compile"] and device.type == "cuda" and accelerator.num_processes == 1 and not recipe.sam
    step = Step(
        bare if captured else model,
        optimizer,
        schedule,
        average,
        weights,
        recipe,
        recipe.size,
        memory_format,
        taught,
        captured,
    )
    result = Best(copy.deepcopy(best))
    progress = Progress(recipe, best=result)

    def write_result() -> None:
        if not result.written:
            remove_old_results(run, accelerator)
            save_model(result.released(crowd), run.models, accelerator)
            result.written = True

    accelerator.register_for_checkpointing(progress, schedule, *([average] if average else []))
    if checkpoint:
        try:
            accelerator.load_state(str(checkpoint))
        except Exception as error:  # whatever torch and safetensors raise for a damaged one of an earlier release
            raise TrainingError(f"{checkpoint} cannot be read ({error}); begin anew with --overwrite.") from error
        accelerator.print(f"resumed {checkpoint}: {len(progress.epochs)} epochs done")
        write_history(run, history_of(settings, progress, origin), accelerator)
        with torch.random.fork_rng(devices=()):  # loading a network draws numbers that an uninterrupted run does not
            # unless it was killed between the checkpoint and the model
            result.written = result.logits is None or holds_weights(run.models, result.model.for_release())
            write_result()
    elif resume:
        accelerator.print(f"no whole checkpoint in {run.checkpoints}: starting at epoch 1")

    accelerator.print(HEADER)
    for done in progress.epochs:
        accelerator.print(row_of(done))
    saved = time.monotonic()
    while progress.stopped is None:
        epoch = len(progress.epochs) + 1
        started = time.perf_counter()
        train_loader.set_epoch(epoch)  # the shuffle; without it a resumed run would repeat epoch 1's
        step.size = recipe.size_in(epoch)
        try:
            trained = train_epoch(step, images, train_loader, accelerator, f"epoch {epoch}")
        except FloatingPointError as error:
            raise _not_finite(run, f"epoch {epoch}, {error}") from error
        train_seconds = time.perf_counter() - started
        if average:  # each process averaged the statistics of its own batches; the first one's are kept
            broadcast(list(average.module.buffers()))
        logits, labels = predict(kept, validation_loader, accelerator, "validating", memory_format)
        row: Epoch = {
            "epoch": epoch,
            **trained,
            **_validation_scores(logits, labels, weights),
            "seconds": time.perf_counter() - started,
            "images_per_second": len(train) / train_seconds,
            "learning_rate": float(schedule.get_last_lr()[0]),  # of the next step
            "size": step.size,
            # a backward pass costs two forward ones, and a sharpness-aware step two plain ones
            "training_flops": (6 if recipe.sam else 3) * flops[step.size] * len(train),
        }
        if crowd:
            row["validation_votes"] = crowd.judge(logits)
        if not math.isfinite(row["validation_loss"]):
            raise _not_finite(run, f"epoch {epoch}, on the validation images")
        progress.epochs.append(row)
        if progress.waited() == 0:
            result.take(best, logits, labels)
        if progress.stopped or _is_due(saved, accelerator):
            # first, for it replaces the only record of the weights that this run may have begun with in the same folder
            write_history(run, history_of(settings, progress, origin), accelerator)
            save_checkpoint(run, epoch, accelerator)
            write_result()
            saved = time.monotonic()
        accelerator.log({k: v for k, v in row.items() if k != "epoch"}, step=epoch)
        accelerator.print(row_of(row))
    return history_of(settings, progress, origin)


def _claim(run: Run, settings: Settings, accelerator: Accelerator, resume: bool, overwrite: bool) -> Path | None:
    """Make sure that no other run is in the way; returns the checkpoint to go on from, None to begin anew."""
    found = all_checkpoints(run)
    if found and not resume and not overwrite:
        raise TrainingError(
            f"{run.checkpoints} holds a run that reached {found[0].name}; "
            "add --resume to go on with it, --overwrite to begin anew, or choose another --output-dir."
        )
    checkpoint = newest_whole(run, accelerator.print) if resume else None
    if checkpoint:
        require_same_run(run, settings)
    elif resume and found and (epoch_of(found[0]) > 1 or settings["init"]):  # --init may name this run's first model
        raise TrainingError(f"No checkpoint in {run.checkpoints} is whole; begin anew with --overwrite.")
    accelerator.wait_for_everyone()  # every process has looked before the main one changes anything
    if accelerator.is_main_process and not checkpoint:
        remove_checkpoints(run.checkpoints)
    return checkpoint


def _not_finite(run: Run, where: str) -> TrainingError:
    finite = next(iter(all_checkpoints(run)), None)
    kept = (
        f"The last finite state is in {finite}, the best model in {run.models}" if finite else "No epoch was finished"
    )
    return TrainingError(
        f"The loss is not a finite number in {where}. {kept}. "
        "Begin anew with --overwrite and a smaller --lr, or with --mixed_precision no."
    )


def _is_due(saved: float, accelerator: Accelerator) -> bool:
    """Whether the last save, at this time, was long enough ago; the first process decides for all."""
    if accelerator.device.type == "cpu":
        return True
    waited = torch.tensor(time.monotonic() - saved, device=accelerator.device)
    return float(broadcast(waited)) >= SECONDS_BETWEEN_SAVES


def _validation_scores(logits: Tensor, labels: Tensor, weights: Tensor) -> ValidationScores:
    weights = weights.cpu()
    loss = weighted_cross_entropy(logits, labels, weights).sum() / weights[labels].sum()
    answers = logits.softmax(dim=1).numpy().argmax(axis=1)
    confusion = confusion_matrix(labels.numpy(), answers, logits.shape[1])
    recalls = [scores["recall"] for scores in class_scores(confusion).values() if scores["support"]]
    return {
        "validation_loss": float(loss),
        "validation_accuracy": float(confusion.trace() / len(labels)),
        "validation_macro_recall": float(np.mean(recalls)),
    }
