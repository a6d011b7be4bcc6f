"""Measure a trained network on FER2013's test set, which nothing was chosen on.

    python evaluate.py --version v2 --dataset ../shared/data/fer2013
    python evaluate.py --model user/name                       # a model on the Hub
    python evaluate.py --model user/name --push-results        # and write its figures into its card there
    python evaluate.py --model results/v2/models               # a folder; of seven classes results/v2-7/models
    accelerate launch --multi_gpu --num_processes 4 evaluate.py --version v2

Prints the scores and writes metrics.json and visualizations/ beside a folder called models, whose model
card it fills (for a Hub model: results/user--name, and no card; for another folder: FOLDER-evaluation).
Runs in float32; on a CPU the same machine gives the same digits.
"""

# This script has the name of the Hugging Face library `evaluate`; see fer_model/evaluation/hf_evaluate.py.

import argparse
import json
import shlex
import time
from pathlib import Path

from accelerate import Accelerator

from fer_model import cli
from fer_model.allocator import keep_freed_memory
from fer_model.configs import CONFIGS
from fer_model.data import duplicates, fer2013
from fer_model.errors import FERError
from fer_model.evaluation import measure
from fer_model.evaluation.expectations import check_expectations
from fer_model.hub import push
from fer_model.machine import environment, share_cores
from fer_model.model.network import FERModel
from fer_model.model.tta import VIEWS
from fer_model.model_facts import weights_digest


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="evaluate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", choices=list(CONFIGS), default="v2", help="evaluate results/VERSION (default: v2)")
    which.add_argument("--model", metavar="ID_OR_PATH", help="a Hub id or a folder with the model's files instead")
    parser.add_argument("--revision", metavar="REV", help="branch, tag or commit of a Hub model")
    cli.add_dataset_arguments(parser)
    parser.add_argument(
        "--tta",
        nargs="?",
        const="ten-crop",
        choices=[kind for kind in VIEWS if kind != "plain"],
        help="also measure the average over several views of each face (default kind: ten-crop), reported apart",
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


def main(args: argparse.Namespace) -> dict:
    accelerator = Accelerator(mixed_precision="no")
    share_cores(accelerator)
    keep_freed_memory()
    source = args.model or str(Path("results") / args.version / "models")
    output_dir = args.output_dir or _output_dir(source)
    if args.limit is not None and args.output_dir is None:
        raise FERError("--limit gives a try-out, not a result: say with --output-dir where it may go.")
    _check_push(args, source, output_dir, accelerator)
    revision = push.commit_of(source, args.revision) if args.push_results else args.revision
    model = FERModel.from_pretrained(source, revision=revision)
    test = cli.load_split(args, "test", accelerator, len(model.class_names))
    test = fer2013.limited(test, args.limit, seed=0)
    history = _history_beside(source)
    twins = duplicates.rows_with_twin_in_train(Path("results") / "data.json", test)
    started = time.perf_counter()
    logits, labels = measure.predict_all(model, test, accelerator)
    plain_seconds = time.perf_counter() - started
    tta = None
    if args.tta:
        started = time.perf_counter()
        over_views, _ = measure.predict_all(model, test, accelerator, args.tta)
        cost = (time.perf_counter() - started) / plain_seconds
        scores = measure.measure(model.probabilities(over_views), labels, test.usage, twins)
        tta = {"views": args.tta, "passes": VIEWS[args.tta], "times_the_seconds_of_plain": cost, **scores}
    if not accelerator.is_main_process:
        return {}
    heat_maps = measure.mean_heat_maps(model.to(accelerator.device), test, logits)
    scores = measure.measure(model.probabilities(logits), labels, test.usage, twins)
    metrics = {
        **scores,
        "expectations": check_expectations(scores, history),
        "calibration": measure.calibration(model, logits, labels),
        "heat_maps": {"recognised": heat_maps.images, "empty": heat_maps.empty},
        "tta": tta,
        "model": source,
        "version": model.version,
        "model_sha256": weights_digest(model),
        "dataset": args.dataset,
        "command": _command(args, accelerator.num_processes),
        "environment": environment(accelerator.device),
    }
    measure.draw(model, test, logits, metrics, heat_maps, history, output_dir / "visualizations")
    output_dir.mkdir(parents=True, exist_ok=True)
    (output_dir / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    if (output_dir / "models").is_dir():
        push.write_card(output_dir)
    _print(metrics)
    print(f"written: {output_dir / 'metrics.json'}, {output_dir / 'visualizations'}")
    if args.push_to_hub:
        print(push.push_folder(output_dir, args.push_to_hub, args.private))
    if args.push_results:
        print(push.push_results(source, args.revision, revision, model, metrics))
    return metrics


def _check_push(args: argparse.Namespace, source: str, output_dir: Path, accelerator: Accelerator) -> None:
    """Find out before the measuring, which takes minutes, what would keep its results from being pushed."""
    if args.push_to_hub and not (output_dir / "models").is_dir():
        raise FERError(f"--push-to-hub uploads {output_dir / 'models'}, which is not there.")
    if args.push_results and (not args.model or Path(source).exists()):
        raise FERError("--push-results needs --model user/name, a model on the Hub; for a folder use --push-to-hub.")
    if args.push_results and args.limit is not None:
        raise FERError("--limit gives a try-out, not a result: leave out --push-results.")
    if accelerator.is_main_process and args.push_to_hub:
        push.prepare_push(args.push_to_hub, args.private)
    if accelerator.is_main_process and args.push_results:
        push.prepare_push(source)
        push.require_branch(source, args.revision)


def _output_dir(source: str) -> Path:
    folder = Path(source)
    if folder.is_dir():
        name = folder.resolve().name
        return folder.parent if name == "models" else folder.resolve().with_name(name + "-evaluation")
    return Path("results") / source.replace("/", "--")


def _history_beside(source: str) -> dict | None:
    """The history of the run that made a folder `models`; a folder of another name has none."""
    folder, path = Path(source).resolve(), Path(source).resolve().parent / "history.json"
    return json.loads(path.read_text()) if folder.is_dir() and folder.name == "models" and path.is_file() else None


def _command(args: argparse.Namespace, processes: int) -> str:
    launcher = ["python"] if processes == 1 else ["accelerate", "launch", "--num_processes", str(processes)]
    command = [*launcher, "evaluate.py"]
    command += ["--model", args.model] if args.model else ["--version", args.version]
    for flag in ("revision", "dataset", "dataset_revision", "tta", "limit", "output_dir"):
        if getattr(args, flag) is not None:
            command += ["--" + flag.replace("_", "-"), str(getattr(args, flag))]
    return shlex.join(command + (["--skip-corrupt"] if args.skip_corrupt else []))


def _print(metrics: dict) -> None:
    parts = ("test set", metrics), ("PrivateTest alone", metrics["private_test"])
    tta = (f"test set, {metrics['tta']['views']} views", metrics["tta"]) if metrics["tta"] else ("", None)
    for name, part in (*parts, ("without photos that are in train", metrics["without_twins"]), tta):
        if part:
            low, high = part["accuracy_ci"]
            print(
                f"{name}: {part['n']:,} images, accuracy {part['accuracy']:.2%} (95 % {low:.2%} to {high:.2%}), "
                f"macro recall {part['macro_recall']:.2%}, macro F1 {part['macro_f1']:.2%}, ECE {part['ece']:.3f}"
            )
    columns = " ".join(emotion[:4] for emotion in metrics["per_class"])
    print(f"\n{'':<10} {'precision':>9} {'recall':>9} {'F1':>9} {'support':>9}   predicted: {columns}")
    for index, (emotion, scores) in enumerate(metrics["per_class"].items()):
        row = " ".join(f"{count:>4}" for count in metrics["confusion_matrix"][index])
        print(
            f"{emotion:<10} {scores['precision']:>9.2%} {scores['recall']:>9.2%} {scores['f1']:>9.2%} "
            f"{scores['support']:>9,}              {row}"
        )
    if metrics["expectations"] is None:
        print("\nthe five expectations of V2's design are about six classes and do not apply to seven")
        return
    print("\nthe five expectations of V2's design:")
    for expectation in metrics["expectations"].values():
        value = expectation["value"]
        figure = "no history" if value is None else f"{value:.4g}"
        print(f"  {'met    ' if expectation['met'] else 'NOT met'}  {expectation['expected']}: {figure}")


if __name__ == "__main__":
    cli.run("evaluate.py", lambda: main(parse_args()))
