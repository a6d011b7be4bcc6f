"""Measure a trained network on FER2013's test set, which nothing was chosen on.

    python evaluate.py --version v2 --dataset ../shared/data/fer2013
    python evaluate.py --model user/name                       # a model on the Hub
    python evaluate.py --model user/name --push-results        # and write its figures into its card there
    python evaluate.py --version v3 --dataset my_photos/ --output-dir runs/mine --skip-unknown-classes
    python evaluate.py --model results/v2/models               # a folder; of seven classes results/v2-7/models
    accelerate launch --multi_gpu --num_processes 4 evaluate.py --version v2

my_photos/ holds a folder for each class, such as my_photos/happy; without splits, all of it is tested on.
It prints the scores, and writes metrics.json and visualizations/ beside a folder called models, whose card it fills.
For a Hub model they go to results/user--name, for another folder to FOLDER-evaluation, and no card is filled.
On FER2013 the network is also compared with ten people's votes. It runs in float32; on a CPU the same machine gives the
same digits.
"""

# the Hugging Face library `evaluate` has the same name; see fer_model/evaluation/hf_evaluate.py

import argparse
import time
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from fer_model import cli
from fer_model.data.dataset import FERData
from fer_model.data.duplicates import leaked_rows
from fer_model.data.splits import limited
from fer_model.data.votes import find_votes
from fer_model.errors import FERError
from fer_model.evaluation import measure, plots, votes
from fer_model.evaluation.expectations import check_expectations
from fer_model.evaluation.predict import start_accelerator
from fer_model.hub import push
from fer_model.hub.card import write_card
from fer_model.labels import EMOTIONS, EMOTIONS_WITH_NEUTRAL
from fer_model.machine import environment, keep_freed_memory, share_cores
from fer_model.model.network import FERModel
from fer_model.model.tta import VIEWS
from fer_model.records import Metrics
from fer_model.runs import RESULTS, Run, write_json


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.parser("evaluate.py", __doc__)
    which = parser.add_mutually_exclusive_group()
    cli.add_version_argument(which, "evaluate results/VERSION")
    which.add_argument("--model", metavar="ID_OR_PATH", help="a Hub id or a folder with the model's files instead")
    parser.add_argument("--revision", metavar="REV", help="branch, tag or commit of a Hub model")
    cli.add_dataset_arguments(parser)
    parser.add_argument(
        "--tta",
        nargs="?",
        const="ten-crop",
        choices=[kind for kind in VIEWS if kind != "plain"],
        help="also measure the average over several views of each face (without a kind: ten-crop)",
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="only N test images: a quick try, not a result (see --output-dir)"
    )
    parser.add_argument("--output-dir", type=Path, metavar="DIR", help="where the results go (default: with the model)")
    cli.add_push_arguments(parser, "the model with its measured card (for a folder called models)")
    parser.add_argument(
        "--push-results",
        action="store_true",
        help="with --model user/name: write the figures into its card on the Hub, and change nothing else there",
    )
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> Metrics | None:
    accelerator = start_accelerator(mixed_precision="no")
    share_cores(accelerator)
    keep_freed_memory()
    source = args.model or str(Run(RESULTS / args.version).models)
    run = Run(args.output_dir) if args.output_dir else Run.measuring(source)
    _check(args, source, run, accelerator)
    revision = push.commit_of(source, args.revision) if args.push_results else args.revision
    model = FERModel.from_pretrained(source, revision=revision)
    test = limited(cli.load_split(args, "test", accelerator, len(model.class_names)), args.limit, seed=0)
    trained = Run.beside(source)
    history = trained.history() if trained else None
    leaked = leaked_rows(RESULTS / "data.json", test)
    started = time.perf_counter()
    logits, labels = measure.predict_all(model, test, accelerator)
    seconds = time.perf_counter() - started
    tta = measure.over_views(model, test, accelerator, args.tta, seconds, leaked) if args.tta else None
    seen, answers = _of_all_labels(args, test, logits, model, accelerator)
    if not accelerator.is_main_process:
        return None
    heat_maps = measure.mean_heat_maps(model.to(accelerator.device), test, logits)
    scores = measure.measure(model.probabilities(logits), labels, test.usage, leaked)
    metrics: Metrics = {
        **scores,
        **measure.coverage(scores, test),
        "expectations": check_expectations(scores, history),
        "calibration": measure.calibration(model, logits, labels),
        "heat_maps": {"recognised": heat_maps.images, "empty": heat_maps.empty},
        "tta": tta,
        "model": source,
        "version": model.version,
        "model_sha256": model.digest(),
        "dataset": args.dataset,
        "command": _command(args, accelerator.num_processes),
        "environment": environment(accelerator.device),
    }
    if len(model.class_names) > len(EMOTIONS):
        metrics["six_classes"] = {**measure.best_of_six(model, logits, test)}
    if seen:
        votes.add_votes(metrics, model, answers, seen)
        plots.certainty(metrics["votes"], run.visualizations / "votes.png")
    measure.draw(model, test, logits, metrics, heat_maps, history, run.visualizations)
    write_json(run.metrics_file, metrics)
    published = FERModel.from_pretrained(run.models) if run.models.is_dir() else None
    if published:
        write_card(run, published)
    print(measure.summary(metrics))
    if seen:
        print(votes.summary(metrics))
    print(f"written: {run.metrics_file}, {run.visualizations}")
    if args.push_to_hub and published:
        print(push.push_folder(run, published, args.push_to_hub, args.private))
    if args.push_results:
        print(push.push_results(source, args.revision, revision, model, metrics))
    return metrics


def _of_all_labels(
    args: argparse.Namespace, test: FERData, logits: Tensor, model: FERModel, accelerator: Accelerator
) -> tuple[FERData | None, Tensor]:
    """The test images whose votes are compared with a network, and its answers to them; None for too few votes.

    People see one of six expressions in images with the label neutral, too. So these come last for six classes, if the
    dataset has them.
    """
    if not votes.enough(find_votes(test.images, "test")):
        return None, logits
    if len(model.class_names) == len(EMOTIONS) and args.limit is None:
        everything = cli.load_split(args, "test", accelerator, len(EMOTIONS_WITH_NEUTRAL))
        neutral = everything.subset((everything.labels == len(EMOTIONS)).nonzero().flatten())
        if len(neutral):
            more, _ = measure.predict_all(model, neutral, accelerator)
            return test.joined(neutral), torch.cat([logits, more])
        accelerator.print("The dataset holds no neutral images, so votes are compared without them.")
    return test, logits


def _check(args: argparse.Namespace, source: str, run: Run, accelerator: Accelerator) -> None:
    """Find mistakes before the measuring, which takes minutes."""
    cli.require_folders(run.visualizations)
    cli.require_files(run.metrics_file, *([run.card] if run.card.is_file() else []))
    if args.limit is not None and args.output_dir is None:
        raise FERError("--limit gives a try-out, not a result: say with --output-dir where it may go.")
    if args.push_to_hub and not run.models.is_dir():
        raise FERError(f"--push-to-hub uploads {run.models}, which is not there.")
    if args.push_results and (not args.model or Path(source).exists()):
        raise FERError("--push-results needs --model user/name, a model on the Hub; for a folder use --push-to-hub.")
    if args.push_results and args.limit is not None:
        raise FERError("--limit gives a try-out, not a result: leave out --push-results.")
    if accelerator.is_main_process and args.push_to_hub:
        push.prepare_push(args.push_to_hub, args.private)
    if accelerator.is_main_process and args.push_results:
        push.prepare_push(source)
        push.require_branch(source, args.revision)


def _command(args: argparse.Namespace, processes: int) -> str:
    launcher = ["python"] if processes == 1 else ["accelerate", "launch", "--num_processes", str(processes)]
    which = "model" if args.model else "version"
    options = (which, "revision", "dataset", "dataset_revision", "tta", "limit", "output_dir", "skip_corrupt")
    return cli.repeat([*launcher, "evaluate.py"], args, (*options, "skip_unknown_classes"))


if __name__ == "__main__":
    cli.run("evaluate.py", lambda: main(parse_args()))
