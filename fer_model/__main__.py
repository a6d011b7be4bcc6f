"""Commands of the package.

python -m fer_model push results/v2 user/name      # upload a trained model with its card
"""

import argparse
from pathlib import Path

from fer_model import cli
from fer_model.hub import push_folder


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m fer_model", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    push = commands.add_parser("push", help="upload weights, config, card and the package's wheel to the Hub")
    push.add_argument("results", type=Path, metavar="FOLDER", help="a run's folder, such as results/v2")
    push.add_argument("repo_id", metavar="USER/NAME", help="the repository; it is created if need be")
    push.add_argument("--private", action="store_true", help="create it as a private one")
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    print(push_folder(args.results, args.repo_id, args.private))


if __name__ == "__main__":
    cli.run("fer_model", lambda: main(parse_args()))
