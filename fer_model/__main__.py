"""Commands of the package. Each has its own help: `python -m fer_model predict --help`.

    python -m fer_model predict photo.jpg holiday/ "clips/*.mp4" --csv out.csv --gradcam maps/
    python -m fer_model push results/v2 user/name
    python -m fer_model report --check

predict, push and export work wherever the package is installed; the others need a clone and requirements.txt.
"""

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fer_model import cli, research
from fer_model.errors import ImageError, ModelError
from fer_model.model.tta import VIEWS
from fer_model.runs import RESULTS, Run, default_model

# predict


def _predict_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="PATH", help="images, videos, zips, folders or quoted globs")
    parser.add_argument("--csv", "--output", type=Path, metavar="FILE", help="where the table goes (default: terminal)")
    parser.add_argument("--gradcam", type=Path, metavar="DIR", help="also every face with its heat map, as PNG files")
    parser.add_argument(
        "--model", metavar="PATH_OR_ID", help="folder or Hub id (default: the newest under results/, else FER_MODEL)"
    )
    parser.add_argument("--whole-picture", action="store_true", help="take each image as a face; search none")
    parser.add_argument(
        "--small-faces",
        action=argparse.BooleanOptionalAction,
        help="search more closely for faces that are small in their photo (default: in large photos that hint at some)",
    )
    parser.add_argument(
        "--every",
        type=cli.seconds,
        default=0.0,
        metavar="SECONDS",
        help="between frames of a video (default: every frame)",
    )
    parser.add_argument("--views", choices=list(VIEWS), default="plain", help="average over several views of a face")


def _predict(args: argparse.Namespace) -> None:
    """Recognise every face in images and videos, one row a face.

        python -m fer_model predict photo.jpg
        python -m fer_model predict holiday/ "clips/*.mp4" photos.zip --every 0.5 --csv out.csv --gradcam maps/

    Columns: file, seconds (videos only), the face's number (largest first; empty where none was found), its box in
    pixels, the detector's score, the answer, whether the model is unsure, and the probability of each class. A file
    that cannot be read is named and left out.

        accelerate launch --num_processes 4 -m fer_model predict photos/ --output table.csv

    This shares the files out over processes, GPUs and machines. A video or an archive stays whole. If it is interrupted
    or a process dies, the same command goes on. Several machines need a disk in common for the table.
    """
    from fer_model.inference import bulk
    from fer_model.inference.pipeline import FERPipeline

    logging.basicConfig(format="%(message)s")
    cli.require_files(*([args.csv] if args.csv else []))
    cli.require_folders(*([args.gradcam] if args.gradcam else []))
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        _predict_shared(args)
        return
    files = bulk.find_files(args.paths)
    pipeline = FERPipeline.from_pretrained(args.model or default_model(RESULTS), views=args.views)
    found = bulk.items(files, args.every)
    if args.csv:  # on the terminal a progress bar would stand between the rows
        found = bulk.with_progress(found, files, args.every)
        args.csv.parent.mkdir(parents=True, exist_ok=True)
    options = {"whole_picture": args.whole_picture, "small_faces": args.small_faces}
    table = bulk.rows(pipeline, found, **options, maps=args.gradcam)
    with args.csv.open("w", newline="", encoding="utf-8") if args.csv else contextlib.nullcontext(sys.stdout) as file:
        count = bulk.write_table(file, table, pipeline.model.class_names)
    if not count:
        raise ImageError("None of these files could be read.")


def _predict_shared(args: argparse.Namespace) -> None:
    """As one of the processes of `accelerate launch`."""
    from fer_model.inference import bulk
    from fer_model.inference.pipeline import FERPipeline
    from fer_model.inference.shared import share_out, this_process

    if not args.csv:
        raise ImageError("Several processes need a file for their table: --output table.csv.")
    state = this_process()
    files = bulk.find_files(args.paths) if state.is_main_process else []
    with state.local_main_process_first():  # one of them downloads it
        pipeline = FERPipeline.from_pretrained(
            args.model or default_model(RESULTS), device=state.device, views=args.views
        )
    settings = {name: getattr(args, name) for name in ("views", "every", "whole_picture", "small_faces")}
    settings |= {"model": pipeline.model.digest(), "gradcam": str(args.gradcam)}

    def rows_of(number: int, file: Path) -> Iterator[dict]:
        maps = args.gradcam / f"{number + 1:05d}" if args.gradcam else None
        found = bulk.items([file], args.every)
        options = {"whole_picture": args.whole_picture, "small_faces": args.small_faces}
        return bulk.rows(pipeline, found, **options, maps=maps)

    share_out(files, args.csv, pipeline.model.class_names, settings, rows_of, state)


# push


def _push_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, metavar="FOLDER", help="a run's folder, such as results/v2")
    parser.add_argument("repo_id", metavar="USER/NAME", help="the repository")
    parser.add_argument("--private", action="store_true", help="create it as private")
    parser.add_argument(
        "--onnx", action="store_true", help="also onnx/model.onnx, which runs without PyTorch; the card shows how"
    )


def _push(args: argparse.Namespace) -> None:
    """Upload weights, config, card and the package's wheel to the Hub, in one commit.

        python -m fer_model push results/v3 user/name      # after `hf auth login`
        python -m fer_model push results/v3 user/name --onnx

    The repository is created if need be. What you have written in the card on the Hub stays.
    """
    from fer_model.hub.push import push_folder, require_files
    from fer_model.model.export import for_use
    from fer_model.model.network import FERModel

    run = Run(args.results)
    require_files(run)
    model = FERModel.from_pretrained(run.models)
    if args.onnx:
        _require_onnx("--onnx")
    onnx = partial(for_use, model, heat_maps=False) if args.onnx else None
    print(push_folder(run, model, args.repo_id, args.private, onnx))


# export


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, metavar="FOLDER", help="a run's folder, such as results/v2")
    parser.add_argument("--format", choices=("onnx",), default="onnx", help="(default: %(default)s)")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--half", action="store_true", help="store the weights in float16: half the size")
    kind.add_argument("--int8", action="store_true", help="int8 convolutions: a quarter of the size; needs --dataset")
    parser.add_argument("--heat-maps", action="store_true", help="a second output: the heat map of every class")
    parser.add_argument("--dataset", metavar="ID_OR_PATH", help="with --int8: its training images set the ranges")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="(default: onnx/model.onnx beside the weights, by kind)"
    )


def _export(args: argparse.Namespace) -> None:
    """Write a model as one ONNX file, which needs neither PyTorch nor this package.

        python -m fer_model export results/v3                # results/v3/models/onnx/model.onnx
        python -m fer_model export results/v3 --half         # …/model_fp16.onnx
        python -m fer_model export results/v3 --int8 --dataset ../shared/data/fer2013    # …/model_quantized.onnx

    Opset 18. Input: images, float32 (batch, 3, S, S) in [-1, 1], grey in three channels, S as in the file's metadata,
    for any batch. Output: probabilities (batch, classes), calibrated, their sum 1. With --heat-maps also maps, (batch,
    classes, S, S) in [0, 1]. docs/speed.md has sizes, times and accuracies.
    """
    from fer_model.model import export
    from fer_model.model.network import FERModel

    _require_onnx("export")
    if args.int8 and not args.dataset:
        raise ModelError("--int8 needs --dataset: training images set the range of each layer.")
    run = Run(args.results)
    name = "model_fp16" if args.half else "model_quantized" if args.int8 else "model"
    output = args.output or run.models / "onnx" / f"{name}.onnx"
    cli.require_files(output)
    model = FERModel.from_pretrained(run.models)
    content = export.for_use(model, args.heat_maps)
    if args.half:
        content = export.half(content)
    if args.int8:
        from fer_model.data.fer2013 import load_fer

        content = export.int8(content, export.for_ranges(load_fer(args.dataset, "train").images, model.input_size))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(content)
    print(f"written: {output}, {len(content) / 1e6:.1f} MB")


def _require_onnx(what: str) -> None:
    from fer_model.model.engine import has_onnx_runtime

    if not has_onnx_runtime():
        raise ModelError(f"{what} needs two more packages: pip install onnx onnxruntime")


# recalibrate


def _recalibrate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, metavar="FOLDER", help="a run's folder, such as results/v2")
    parser.add_argument("--dataset", metavar="ID_OR_PATH", help="the run's dataset (default: as in its history)")
    parser.add_argument("--half", action="store_true", help="round the weights to float16, and store them so")
    parser.add_argument("--skip-corrupt", action="store_true", help="leave unreadable images out, as the run did")


def _recalibrate(args: argparse.Namespace) -> None:
    """Fit the temperature and the threshold of a trained model anew, on its own run's validation images.

        python -m fer_model recalibrate results/v2
        python -m fer_model recalibrate results/v3 --half      # and keep the weights in float16: half the download

    Training fits both by itself, and centres the layer that heat maps are made of. This command does it for older runs,
    and for rounded weights. It needs the run's dataset.
    """
    from fer_model.evaluation.plots import training_curves
    from fer_model.hub.card import write_card
    from fer_model.training.recalibrate import recalibrate

    run = Run(args.results)
    cli.require_folders(run.models, run.visualizations)
    model = recalibrate(run, args.dataset, half=args.half, skip_corrupt=args.skip_corrupt)
    if history := run.history():
        training_curves(history, run.visualizations / "training_curves.png")
    write_card(run, model)
    print(f"temperature {model.temperature:.3f}, unsure below {model.unsure_below:.3f}; now measure anew: evaluate.py")


# report


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if something is out of date")


def _report(args: argparse.Namespace) -> None:
    """Fill the sections between markers in README.md, docs/ and the model cards, from the files in results/.

        python -m fer_model report
        python -m fer_model report --check

    With --check nothing is changed, and the exit status is 1 if something is out of date, or if a page has a figure
    outside these sections that no file holds.
    """
    from fer_model.report.readme import refresh, unheld_figures

    changed = refresh(check=args.check)
    if changed and args.check:
        print(f"not as in results/: {', '.join(changed)}; run python -m fer_model report", file=sys.stderr)
    unheld = unheld_figures()
    for page, figures in unheld.items():
        print(
            f"{page}: no file holds {', '.join(figures)}; name the file in results/ under the same heading, or link "
            "to where it is from",
            file=sys.stderr,
        )
    if args.check and (changed or unheld):
        sys.exit(1)
    print(f"rewritten: {', '.join(changed)}" if changed else "all is as in results/")


COMMANDS = (
    (_predict, _predict_arguments),
    (_push, _push_arguments),
    (_export, _export_arguments),
    (research.ablation, research.ablation_arguments),
    (research.duplicates, research.duplicates_arguments),
    (research.faithfulness, research.faithfulness_arguments),
    (research.robustness, research.robustness_arguments),
    (research.bench, research.bench_arguments),
    (research.votes, research.votes_arguments),
    (_recalibrate, _recalibrate_arguments),
    (_report, _report_arguments),
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.parser("python -m fer_model", __doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for run, add_arguments in COMMANDS:
        cli.add_command(commands, run, add_arguments)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    args.run(args)


if __name__ == "__main__":
    goes_on = "ablation" in sys.argv[1:2] or int(os.environ.get("WORLD_SIZE", 1)) > 1
    cli.run("fer_model", main, "interrupted; the same command goes on" if goes_on else "interrupted")
