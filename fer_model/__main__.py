"""Commands of the package.

python -m fer_model predict photo.jpg holiday/ "clips/*.mp4" --csv out.csv --gradcam maps/
python -m fer_model push results/v2 user/name      # upload a trained model with its card
"""

import argparse
import contextlib
import logging
import sys
from pathlib import Path

from fer_model import cli
from fer_model.errors import ImageError
from fer_model.hub.download import default_model
from fer_model.hub.push import push_folder
from fer_model.inference import bulk
from fer_model.inference.pipeline import FERPipeline
from fer_model.model.tta import VIEWS


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m fer_model", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)

    predict = commands.add_parser(
        "predict",
        help="recognise every face in pictures and films, as a CSV table",
        description="Recognise every face in pictures and films. Columns: "
        f"{', '.join(bulk.COLUMNS)}, and neutral where the model knows it.",
    )
    predict.add_argument("paths", nargs="+", metavar="PATH", help="pictures, films, zips, folders or quoted globs")
    predict.add_argument("--csv", type=Path, metavar="FILE", help="where the table goes (default: the terminal)")
    predict.add_argument("--gradcam", type=Path, metavar="DIR", help="also every face with its heat map, as PNG files")
    predict.add_argument(
        "--model", metavar="PATH_OR_ID", help="folder or Hub id (default: the newest under results/, else FER_MODEL)"
    )
    predict.add_argument("--whole-picture", action="store_true", help="take each picture as a face; search none")
    predict.add_argument("--every", type=float, default=0.0, metavar="SECONDS", help="of films (default: every frame)")
    predict.add_argument("--views", choices=list(VIEWS), default="plain", help="average over several views of a face")
    predict.set_defaults(run=_predict)

    push = commands.add_parser("push", help="upload weights, config, card and the package's wheel to the Hub")
    push.add_argument("results", type=Path, metavar="FOLDER", help="a run's folder, such as results/v2")
    push.add_argument("repo_id", metavar="USER/NAME", help="the repository; it is created if need be")
    push.add_argument("--private", action="store_true", help="create it as a private one")
    push.set_defaults(run=lambda args: print(push_folder(args.results, args.repo_id, args.private)))
    return parser.parse_args(argv)


def _predict(args: argparse.Namespace) -> None:
    logging.basicConfig(format="%(message)s")
    files = bulk.find_files(args.paths)
    pipeline = FERPipeline.from_pretrained(args.model or default_model(Path("results")), views=args.views)
    found = bulk.items(files, args.every)
    if args.csv:  # a bar would get between the rows on the terminal
        found = bulk.with_progress(found, files, args.every)
        args.csv.parent.mkdir(parents=True, exist_ok=True)
    table = bulk.rows(pipeline, found, whole_picture=args.whole_picture, maps=args.gradcam)
    with args.csv.open("w", newline="", encoding="utf-8") if args.csv else contextlib.nullcontext(sys.stdout) as file:
        count = bulk.write_table(file, table, pipeline.model.class_names)
    if not count:
        raise ImageError("None of these files could be read.")


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    args.run(args)


if __name__ == "__main__":
    cli.run("fer_model", main)
