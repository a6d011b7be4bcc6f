"""Commands for those who study the networks and the data; `__main__` offers them."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fer_model import cli
from fer_model.configs import DEFAULT_DATASET
from fer_model.labels import EMOTIONS_WITH_NEUTRAL
from fer_model.runs import RESULTS, Run, read_json, write_json


def ablation_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", nargs="?", help="a study's name; --list shows them")
    parser.add_argument(
        "--dataset", default=DEFAULT_DATASET, metavar="ID_OR_PATH", help="Hub id or path (default: %(default)s)"
    )
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs/ablation"),
        metavar="DIR",
        help="where the trainings go (default: %(default)s)",
    )
    parser.add_argument(
        "--mixed-precision",
        choices=("no", "bf16"),
        default="no",
        help="bf16 is much faster on GPUs and on CPUs that have bfloat16 instructions, and much slower on others",
    )
    parser.add_argument(
        "--jobs", type=cli.positive, default=1, metavar="N", help="rows trained at once; 8 suit a GPU (default: 1)"
    )
    parser.add_argument("--epochs", type=cli.positive, metavar="N", help="of each row; another number needs --output")
    parser.add_argument("--limit", type=cli.positive, metavar="N", help="images, likewise")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where the result goes (default: the study's file)")
    parser.add_argument("--list", action="store_true", help="show the studies and their rows")


def ablation(args: argparse.Namespace) -> None:
    """Train a study: short trainings on equal budgets, one change at a time.

        python -m fer_model ablation --list
        python -m fer_model ablation v1-to-v2 --dataset ../shared/data/fer2013 --mixed-precision bf16

    This writes results/ablation/v1-to-v2.json and .png; v2-to-v3 writes results/v3/ablation.json and .png. Every row is
    one run of train.py, whose command stands in the result. The same command resumes an interrupted study. No test
    image is read. The runs go to runs/ablation and may be deleted.
    """
    from fer_model.ablation.runner import run_study
    from fer_model.ablation.studies import STUDIES, listing, output_file
    from fer_model.errors import TrainingError

    if args.list or not args.study:
        print(listing())
        return
    if args.study not in STUDIES:
        raise TrainingError(f"There is no study {args.study!r}; choose {', '.join(STUDIES)}.")
    planned = STUDIES[args.study]
    study = replace(planned, epochs=args.epochs or planned.epochs, limit=args.limit or planned.limit)
    if study != planned and not args.output:
        raise TrainingError("Another budget gives another result: say with --output where it may go.")
    output = args.output or output_file(args.study)
    cli.require_files(output)
    cli.require_folders(args.runs)
    args.epochs, args.limit = study.epochs, study.limit
    command = cli.repeat(
        ["python", "-m", "fer_model", "ablation", args.study], args, ("dataset", "mixed_precision", "epochs", "limit")
    )
    options = ["--channels-last"]
    result = run_study(
        args.study, study, args.dataset, args.runs, output, options, command, args.mixed_precision, args.jobs
    )
    for row in result["rows"]:
        print(f"{row['name']:<45} {row['validation_accuracy']:>7.2%} {row['validation_macro_recall']:>7.2%}")
    print(f"written: {output} and {output.with_suffix('.png')}")


def duplicates_arguments(parser: argparse.ArgumentParser) -> None:
    # without a default, because the usual copy on the Hub has no column `usage`
    parser.add_argument("--dataset", required=True, metavar="ID_OR_PATH", help="all of FER2013, with a column usage")
    parser.add_argument(
        "--output",
        type=Path,
        default=RESULTS / "data.json",
        metavar="FILE",
        help="where the counts go (default: %(default)s)",
    )


def duplicates(args: argparse.Namespace) -> None:
    """Count the copies of photos within and across FER2013's three parts.

        python -m fer_model duplicates --dataset ../shared/data/fer2013       # writes results/data.json

    Copies are exact ones, and near-duplicates by correlation. Those with different labels are counted too. Blank images
    count as no copies. No image is written. It takes two minutes on two cores.
    """
    import json

    from fer_model.data.duplicates import TEST_SETS, study
    from fer_model.data.fer2013 import load_fer

    cli.require_files(args.output)
    train, test = (load_fer(args.dataset, split, classes=len(EMOTIONS_WITH_NEUTRAL)) for split in ("train", "test"))
    found = study(train, test, progress=True)
    command = cli.repeat(["python", "-m", "fer_model", "duplicates"], args, ("dataset",))
    write_json(args.output, {"command": command, **found})
    print(json.dumps(found | dict.fromkeys(TEST_SETS, "…"), indent=2), f"written: {args.output}", sep="\n")


def faithfulness_arguments(parser: argparse.ArgumentParser) -> None:
    cli.add_version_argument(parser, "the model in results/VERSION")
    parser.add_argument("--dataset", default=DEFAULT_DATASET, metavar="ID_OR_PATH", help="(default: %(default)s)")
    parser.add_argument("--images", type=cli.positive, default=100, metavar="N", help="test images (%(default)s)")
    parser.add_argument(
        "--output", type=Path, default=RESULTS / "faithfulness.json", metavar="FILE", help="(%(default)s)"
    )


def faithfulness(args: argparse.Namespace) -> None:
    """Test whether heat maps show what the network goes by, each method against two baselines.

        python -m fer_model faithfulness --version v3 --dataset ../shared/data/fer2013

    Insertion (higher is better) and deletion (lower is better) are areas under the probability of the class, while
    pixels are uncovered or blurred in a map's order. A method is chosen on half as many validation images. The result
    joins those of other versions in results/faithfulness.json. It takes a quarter of an hour on two cores.
    """
    from fer_model.data.fer2013 import load_fer
    from fer_model.studies.faithfulness import measure_version, summary
    from fer_model.studies.plots import heat_map_tests

    cli.require_files(args.output)
    train, test = (load_fer(args.dataset, split) for split in ("train", "test"))
    found = measure_version(Run(RESULTS / args.version), train, test, args.images)
    _join_versions("faithfulness", args, found, heat_map_tests)
    print(summary(found), f"written: {args.output}, and the plot beside it", sep="\n")


def _join_versions(command: str, args: argparse.Namespace, found: dict, draw: Callable[[dict, Path], None]) -> None:
    """Put a version's figures beside those of the others in --output, and draw all of them anew."""
    repeated = cli.repeat(["python", "-m", "fer_model", command], args, ("version", "dataset", "images"))
    everything = (read_json(args.output) or {}) | {args.version: {"command": repeated, **found}}
    write_json(args.output, everything)
    draw(everything, args.output.with_suffix(".png"))


def robustness_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--version", default="v3", help="the model in results/VERSION, also v3-7 (default: %(default)s)"
    )
    parser.add_argument("--dataset", default=DEFAULT_DATASET, metavar="ID_OR_PATH", help="(default: %(default)s)")
    parser.add_argument("--images", type=cli.positive, default=150, metavar="N", help="test images (%(default)s)")
    parser.add_argument(
        "--output", type=Path, default=RESULTS / "robustness.json", metavar="FILE", help="(default: %(default)s)"
    )


def robustness(args: argparse.Namespace) -> None:
    """Measure how answers change when photos get worse: fourteen changes, each at five strengths.

        python -m fer_model robustness --version v3 --dataset ../shared/data/fer2013
        python -m fer_model robustness --version v3-7 --dataset ../shared/data/fer2013      # seven classes

    Accuracy and ECE under darkness, blur, noise, JPEG, fewer pixels, rotation, other crops, covered eyes and more. The
    images are a sample of the test set with every class in proportion. The result joins those of other versions in
    results/robustness.json, and the figure beside it is drawn anew. A version takes about ten minutes on one thread.
    """
    from fer_model.data.fer2013 import load_fer
    from fer_model.machine import keep_freed_memory
    from fer_model.model.network import FERModel
    from fer_model.studies.plots import robustness as draw
    from fer_model.studies.robustness import measure_version, summary

    keep_freed_memory()
    cli.require_files(args.output)
    model = FERModel.from_pretrained(Run(RESULTS / args.version).models)
    found = measure_version(model, load_fer(args.dataset, "test", classes=len(model.class_names)), args.images)
    _join_versions("robustness", args, found, draw)
    print(summary(found), f"written: {args.output}, and the plot beside it", sep="\n")


BENCH_PARTS = ("training", "start", "many", "peers", "answers")


def bench_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", default=DEFAULT_DATASET, metavar="ID_OR_PATH", help="(default: %(default)s)")
    parser.add_argument("--images", type=cli.positive, metavar="N", help="test images for accuracies (default: all)")
    parser.add_argument("--rounds", type=cli.positive, default=40, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--threads", type=cli.threads, default=1, metavar="N", help="(default: %(default)s)")
    parser.add_argument(
        "--only", choices=BENCH_PARTS, action="append", help="one part, may be repeated; the others' figures stay"
    )
    parser.add_argument("--peers", type=Path, metavar="VENV", help="where the package fer is; measured only if given")
    parser.add_argument("--compile", action="store_true", help="torch.compile in our training: takes minutes")
    parser.add_argument(
        "--output", type=Path, default=RESULTS / "benchmarks.json", metavar="FILE", help="(%(default)s)"
    )


def bench(args: argparse.Namespace) -> None:
    """Measure how fast training and answers are on the CPU, beside what they are compared to.

        python -m fer_model bench --dataset ../shared/data/fer2013

    Both sides of a comparison are asked in turn, and what counts is their ratio. It takes half an hour on two quiet
    cores, and fills docs/speed.md by results/benchmarks.json. It needs requirements-dev.txt. The package fer from PyPI
    is measured too, where it has a venv of its own:

        python3.11 -m venv VENV && VENV/bin/pip install fer "setuptools<81"
        python -m fer_model bench --dataset ../shared/data/fer2013 --only peers --only answers --peers VENV
    """
    import os

    import torch

    from fer_model.configs import VERSIONS
    from fer_model.data.fer2013 import load_fer
    from fer_model.data.splits import limited
    from fer_model.errors import ModelError
    from fer_model.machine import environment
    from fer_model.model.engine import has_onnx_runtime
    from fer_model.studies import bench, bench_training, crowds, peers, start
    from fer_model.studies.plots import accuracy_over_time

    if not has_onnx_runtime():
        raise ModelError("There is nothing to compare without ONNX Runtime: pip install onnx onnxruntime")
    cli.require_files(args.output)
    torch.set_num_threads(args.threads)
    train, test = (load_fer(args.dataset, split) for split in ("train", "test"))
    test = limited(test, args.images, seed=0)
    runs = [run for run in (Run(RESULTS / version) for version in VERSIONS) if run.metrics_file.is_file()]
    newest, few = runs[-1], max(2, args.rounds // 8)  # few rounds of what takes long
    parts = args.only or [part for part in BENCH_PARTS if part != "peers" or args.peers]
    if "peers" in parts and not args.peers:
        raise ModelError("--only peers needs --peers VENV; bench --help says how to make one.")

    def about(*part: str) -> dict:
        options = ("dataset", "images", "rounds", "threads", "compile")
        command = cli.repeat(["python", "-m", "fer_model", "bench", *part], args, options)
        machine = {"environment": environment(torch.device("cpu")), "cores": os.cpu_count()}
        return {"command": command, **machine, "load_before": round(os.getloadavg()[0], 1)}

    if "training" in parts:
        trained = bench_training.measure(train, args.rounds, args.threads, args.compile)
        trained["training"]["command"] = about("--only", "training")["command"]
        write_json(args.output, (read_json(args.output) or {}) | trained)
        print(bench_training.summary(trained))
    others: dict[str, tuple[Callable[[], dict], Callable[[dict], str]]] = {
        "start": (lambda: start.measure(newest.models, few), start.summary),
        "many": (lambda: crowds.measure(newest.models, few), crowds.summary),
        "peers": (lambda: peers.measure(args.peers, newest, test, args.rounds), peers.summary),
    }
    for part in [part for part in others if part in parts]:
        measure, summary = others[part]
        measured = about("--only", part, *(["--peers", "VENV"] if part == "peers" else [])) | measure()
        write_json(args.output, (read_json(args.output) or {}) | {part: measured})
        print(summary(measured))
    if "answers" in parts:
        found = about() | bench.measure(runs, train, test, args.rounds)
        write_json(args.output, (read_json(args.output) or {}) | found)
        print(bench.summary(found))
    if "exports" in (everything := read_json(args.output) or {}):
        measures = ((run.folder.name, read_json(run.metrics_file)) for run in runs)
        accuracies = {name: found.get("six_classes", found)["accuracy"] for name, found in measures}
        accuracy_over_time(everything, accuracies, args.output.with_suffix(".png"))
    print(f"written: {args.output}, and the plot beside it")


def votes_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", default=DEFAULT_DATASET, metavar="ID_OR_PATH", help="(default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS / "votes.json", metavar="FILE", help="(%(default)s)")


def votes(args: argparse.Namespace) -> None:
    """Say how far ten people agree with FER2013's labels, and how many images of a copy have their votes.

        python -m fer_model votes --dataset ../shared/data/fer2013       # writes results/votes.json and votes.png

    The votes are FER+'s (Barsoum et al. 2016) and come with the package. They are found by a hash of each image, in any
    copy of FER2013 with its own pixels and its own division into training and test images.
    """
    from fer_model.data.fer2013 import load_fer
    from fer_model.data.votes import find_votes, votes_digest
    from fer_model.evaluation.votes import study, study_summary
    from fer_model.studies.plots import vote_shares

    cli.require_files(args.output)
    found = {}
    for split in ("train", "test"):
        faces = load_fer(args.dataset, split, classes=len(EMOTIONS_WITH_NEUTRAL))
        found[split] = study(faces, find_votes(faces.images, split, progress=True))
    command = cli.repeat(["python", "-m", "fer_model", "votes"], args, ("dataset",))
    write_json(args.output, {"command": command, "votes_sha256": votes_digest(), **found})
    vote_shares(found["test"]["vote_shares"], args.output.with_suffix(".png"))
    for split, part in found.items():
        print(study_summary(split, part))
    print(f"written: {args.output} and {args.output.with_suffix('.png')}")
