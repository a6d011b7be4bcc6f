"""Train a facial-expression network on FER2013.

    accelerate launch train.py --version v2
    accelerate launch --mixed_precision bf16 train.py --version v2 --channels-last --compile
    accelerate launch --multi_gpu --num_processes 4 train.py --version v2
    python train.py --version v2 --limit 512 --epochs 1 --output-dir /tmp/try      # a quick try
    accelerate launch train.py --version v3 --init results/v3/models --lr 0.02 --output-dir runs/warm # warm start
    accelerate launch train.py --version v3 --teacher results/v3/models --output-dir runs/student     # distillation
    accelerate launch train.py --version v3 --votes 0.3 --output-dir runs/crowd                       # people's votes
    python train.py --version v3 --fast --output-dir runs/fast       # tries what is fastest here, for half a minute
    accelerate launch --mixed_precision bf16 train.py --channels-last --compile --batch-size auto     # on a GPU

Precision, devices and processes are set with the launcher (`accelerate launch --help`, `accelerate config`).
Results go to results/VERSION: models/ (best weights by validation accuracy, config, card), history.json,
visualizations/, and checkpoints/ for --resume. Those of seven classes, the six and neutral, go to results/VERSION-7.
"""

import argparse
import dataclasses
import os
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

from fer_model import cli
from fer_model.configs import CONFIGS, Recipe, changed
from fer_model.data.splits import seed_of_split, validation_split
from fer_model.errors import TrainingError
from fer_model.evaluation.plots import training_curves
from fer_model.evaluation.predict import as_configured
from fer_model.hub.card import write_card
from fer_model.hub.push import prepare_push, push_folder
from fer_model.labels import COUNTS
from fer_model.model.network import FERModel
from fer_model.records import History
from fer_model.runs import RESULTS, Run, folder_name
from fer_model.studies.trial import Way, as_table, possible_ways, try_ways
from fer_model.training.checkpoints import history_to_resume
from fer_model.training.distillation import load_crowd, load_teachers
from fer_model.training.fit import fit, make_accelerator
from fer_model.training.losses import class_weights
from fer_model.training.optim import AUTO_BATCH, for_batch
from fer_model.training.warm_start import starting_point


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.parser("train.py", __doc__)
    cli.add_version_argument(parser, "the network and its recipe")
    parser.add_argument(
        "--classes", type=int, choices=list(COUNTS), help="7 adds neutral (default: the version's, 7 for V4)"
    )
    cli.add_dataset_arguments(parser)
    parser.add_argument(
        "--limit", type=cli.positive, metavar="N", help="use at most N training images, for a quick try"
    )
    parser.add_argument("--epochs", type=cli.positive, help="at most this many (default: the recipe's)")
    parser.add_argument(
        "--batch-size",
        type=cli.positive_or_auto,
        metavar="N|auto",
        help="images per step and process (default: the recipe's). auto is 512 on a GPU, with rate, warm-up and "
        "average that fit (docs/training.md), and elsewhere the recipe's",
    )
    parser.add_argument("--lr", type=cli.positive_float, help="learning rate (default: the recipe's)")
    parser.add_argument(
        "--seed",
        type=cli.seed,
        default=0,
        help="of weights, shuffle, augmentation, and of the split unless --set split_seed=N (default: 0)",
    )
    parser.add_argument(
        "--output-dir",
        type=Path,
        metavar="DIR",
        help="where results go, replacing what is there, but no run that has checkpoints; several machines must share "
        "it (default: as above)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other option of the recipe, such as focal=2 or augmentation.mixup=0.2; see fer_model/configs.py",
    )
    parser.add_argument(
        "--init",
        action="append",
        default=[],
        metavar="MODEL",
        help="warm start: begin at the weights of a folder or Hub id, to fine-tune, or as the next cycle of warm "
        "restarts (arXiv 1608.03983); the history keeps the earlier runs. Give it more than once to begin at the "
        "mean of several models' weights, all fine-tuned from one network (arXiv 2203.05482)",
    )
    parser.add_argument(
        "--teacher",
        action="append",
        default=[],
        metavar="MODEL",
        help="distillation: learn also from the probabilities of this network, a folder or Hub id (arXiv 1503.02531); "
        "give it more than once for the mean of several",
    )
    parser.add_argument(
        "--teacher-share",
        type=cli.share,
        default=0.5,
        help="share of every target (default: %(default)s)",
    )
    parser.add_argument(
        "--votes",
        type=cli.share_or_none,
        metavar="SHARE",
        help="learn also from what ten people said of each image of FER2013 (FER+, arXiv 1608.01041), in any copy of "
        "it: their share of every target; the label keeps what this and the teachers leave. With 0 they only judge the "
        "validation (default: the version's, 0.5 for V4)",
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the output folder")
    again.add_argument("--overwrite", action="store_true", help="begin anew although the output folder holds a run")
    parser.add_argument("--channels-last", action="store_true", help="NHWC memory layout, which may suit the processor")
    parser.add_argument("--compile", action="store_true", help="torch.compile: takes a minute or two, and may pay off")
    parser.add_argument(
        "--fast",
        action="store_true",
        help="try precisions, memory layouts and numbers of threads for some seconds each, and take the fastest; the "
        "history records it as plain options. What the launcher or an option says is obeyed",
    )
    parser.add_argument(
        "--threads", type=cli.threads, help="CPU threads of each process (default: the cores, shared out)"
    )
    parser.add_argument(
        "--tracker", choices=("tensorboard", "trackio", "wandb"), help="also log to this tracker (pip install it first)"
    )
    cli.add_push_arguments(parser, "the best model to the Hub at the end")
    args = parser.parse_args(argv)
    own = CONFIGS[args.version]
    args.classes = own.classes if args.classes is None else args.classes
    args.votes = own.votes if args.votes is None else args.votes
    return args


def main(args: argparse.Namespace) -> History:
    recipe_of(args)  # first, so that a mistake in it is found at once
    if args.teacher and args.votes and args.teacher_share + args.votes > 1 + 1e-9:
        raise TrainingError(f"--teacher-share {args.teacher_share:g} and --votes {args.votes:g} are more than all, 1.")
    output_dir = args.output_dir or RESULTS / folder_name(args.version, args.classes)
    run = Run(output_dir)
    if any(Path(teacher).resolve() == run.models.resolve() for teacher in args.teacher):
        raise TrainingError(f"--teacher {run.models} would be replaced; choose another --output-dir.")
    # two checkpoints, and a third while it is written: weights, their average, the best ones and Adam's two moments
    needed = 3 * 5 * 4 * FERModel(version=args.version, classes=args.classes).parameter_count
    cli.require_folders(output_dir, run.models, run.checkpoints, run.visualizations, needed=needed)
    cli.require_files(run.history_file)
    precision = settle(args, run)
    recipe = recipe_of(args)
    output_dir.mkdir(parents=True, exist_ok=True)
    accelerator = make_accelerator(
        output_dir,
        args.seed,
        compile=args.compile,
        tracker=args.tracker,
        threads=args.threads,
        mixed_precision=precision,
    )
    if args.push_to_hub and accelerator.is_main_process:
        prepare_push(args.push_to_hub, args.private)  # now, and not after hours of training
    everything = cli.load_split(args, "train", accelerator, args.classes)
    train, validation = validation_split(
        everything,
        args.limit,
        recipe.validation_fraction,
        seed_of_split(dataclasses.asdict(recipe), args.seed),
        recipe.together,
        accelerator.is_main_process,
    )
    start = starting_point(args.version, args.classes, args.seed, args.init, run if args.resume else None)
    model = start.model
    if recipe.last_size != model.input_size:
        accelerator.print(
            f"Warning: training ends at {recipe.last_size} pixels, but {args.version} is validated and used at "
            f"{model.input_size}; change that with --set size={model.input_size}, or size_at_end and share_at_end."
        )
    teachers = load_teachers(args.teacher, args.teacher_share, model.class_names)
    crowd = load_crowd(args.votes, train, validation, args.classes, accelerator.is_main_process)
    labels = torch.cat([train.labels, validation.labels])
    weights = class_weights(labels, recipe.weight_power, args.classes)
    accelerator.print(
        f"{len(train):,} training and {len(validation):,} validation images; class weights "
        + ", ".join(f"{name} {weight:.3f}" for name, weight in zip(model.class_names, weights.tolist(), strict=True))
    )
    if args.tracker:
        accelerator.init_trackers("fer", config={"version": args.version, "lr": recipe.lr, "seed": args.seed})
    history = fit(
        start,
        train,
        validation,
        weights,
        recipe,
        accelerator,
        output_dir,
        seed=args.seed,
        teachers=teachers,
        crowd=crowd,
        channels_last=args.channels_last,
        resume=args.resume,
        overwrite=args.overwrite,
        about={
            "command": _command(args, accelerator),
            "dataset": args.dataset,
            "dataset_revision": args.dataset_revision,
            "limit": args.limit,
        },
    )
    accelerator.end_training()
    if accelerator.is_main_process:
        best = history["epochs"][history["best_epoch"] - 1]
        model = FERModel.from_pretrained(run.models)
        write_card(run, model)
        training_curves(history, run.visualizations / "training_curves.png")
        print(
            f"stopped: {history['stopped']}. Best epoch {best['epoch']}: validation accuracy "
            f"{best['validation_accuracy']:.2%}, macro recall {best['validation_macro_recall']:.2%}. "
            f"Model in {run.models}"
        )
        if args.push_to_hub:
            print(push_folder(run, model, args.push_to_hub, args.private))
    return history


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The version's recipe, with what the command line changes."""
    given = {"epochs": args.epochs, "batch_size": args.batch_size, "lr": args.lr}
    if args.batch_size == "auto":  # not settled yet
        given["batch_size"] = None
    recipe = CONFIGS[args.version].recipe
    recipe = dataclasses.replace(recipe, **{key: value for key, value in given.items() if value is not None})
    return changed(recipe, args.set)


def settle(args: argparse.Namespace, run: Run) -> str | None:
    """Replace --batch-size auto and --fast by the plain options that they stand for on this machine.

    Returns the precision that --fast found; None for the launcher's.
    """
    if args.batch_size != "auto" and not args.fast:
        return None
    with as_configured():
        state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
    if args.batch_size == "auto":
        args.batch_size = None
        if state.device.type != "cpu":
            recipe = recipe_of(args)
            size = max(recipe.batch_size, AUTO_BATCH // state.num_processes)
            recipe = for_batch(recipe, size, state.num_processes)
            args.batch_size, args.lr = recipe.batch_size, recipe.lr
            args.set = [*args.set, f"ema={recipe.ema}", f"warmup={recipe.warmup}"]
    if not args.fast:
        return None
    if state.num_processes > 1:
        raise TrainingError("--fast tries one process; find the options with it first, then launch several with them.")
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION")
    before = history_to_resume(run) if args.resume else None
    if before:  # as it was begun
        begun = before["run"]
        way = Way(begun["mixed_precision"], begun["channels_last"], begun["environment"]["threads"])
    else:
        ways = possible_ways(state.device, asked, args.channels_last, args.threads)
        speeds = try_ways(ways, args.version, args.classes, recipe_of(args), state.device)
        way = max(speeds, key=lambda way: speeds[way])
        print(as_table(speeds))
    args.channels_last, args.threads = way.channels_last, way.threads
    return asked or way.precision


def _command(args: argparse.Namespace, accelerator) -> str:
    """The command line that repeats this run from its start."""
    launch = ["accelerate", "launch", "--num_processes", str(accelerator.num_processes)]
    launch += ["--mixed_precision", accelerator.mixed_precision]
    options = ["version", "dataset", "classes", "dataset_revision", "limit", "init", "epochs", "batch_size", "lr"]
    options += ["seed", "threads", "output_dir", "teacher", *(["teacher_share"] if args.teacher else []), "votes"]
    options += ["set", "skip_corrupt", "skip_unknown_classes", "channels_last", "compile"]
    return cli.repeat([*launch, "train.py"], args, options)


if __name__ == "__main__":
    cli.run(
        "train.py",
        lambda: main(parse_args()),
        if_interrupted="interrupted; the same command with --resume goes on from the last epoch",
    )
