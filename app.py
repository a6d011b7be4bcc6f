"""The demo: faces in photos, videos and the webcam, their probabilities, and where the evidence lies.

    python app.py                                   # all weights under results/, http://127.0.0.1:7860
    python app.py --model results/v1/models         # a folder with config.json and model.safetensors
    python app.py --model user/name                 # a model of the Hugging Face Hub
    python app.py --host 0.0.0.0 --port 8000        # reachable from other machines

This file is also the Hugging Face Space: a Space runs `python app.py` and sets the address itself.
Without weights under results/, the Hub id in the environment variable FER_MODEL is taken.

Programs call /predict, /heat_map, /compare, /film and /about (http://127.0.0.1:7860/?view=api lists them):

    from gradio_client import Client, handle_file
    answer, boxed, overlay = Client("http://127.0.0.1:7860").predict(handle_file("photo.jpg"), api_name="/predict")

The same five are tools for MCP clients, at http://127.0.0.1:7860/gradio_api/mcp/.
"""

import argparse
import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

# read when gradio is imported; stops its calls to the outside: docs/demo.md#gradios-internals
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

try:
    import spaces  # on a ZeroGPU Space; it must come before torch
except ImportError:
    spaces = None

import torch

from fer_model import cli
from fer_model.errors import ModelError
from fer_model.machine import share_arenas, usable_cores

if TYPE_CHECKING:
    import gradio as gr

HERE = Path(__file__).resolve().parent

EXAMPLES = (
    "astronaut.jpg",
    "two_faces.jpg",
    "drawn_neutral.png",
    "drawn_happiness.png",
    "drawn_surprise.png",
    "drawn_anger.png",
)

MAX_FILE_MB = 50
MAX_FILE_SIZE = f"{MAX_FILE_MB}mb"

CORES = usable_cores()


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.parser("app.py", __doc__)
    parser.add_argument(
        "--model",
        metavar="PATH_OR_ID",
        nargs="+",
        help="folders or Hub ids, the default version first (default: all under results/, those that know neutral "
        "first, else FER_MODEL's)",
    )
    # None leaves the choice to gradio, which reads what a Space sets
    parser.add_argument("--host", help="address to listen on (default: GRADIO_SERVER_NAME, else 127.0.0.1)")
    parser.add_argument(
        "--port", type=int, help="port to listen on (default: GRADIO_SERVER_PORT, else the first free one from 7860)"
    )
    parser.add_argument(
        "--workers",
        type=cli.positive,
        default=CORES,
        help="pictures recognised at a time (default: one a core, %(default)s here)",
    )
    parser.add_argument(
        "--threads", type=cli.threads, default=1, help="threads of the network for each of them (default: %(default)s)"
    )
    return parser.parse_args(argv)


def check_surroundings(args: argparse.Namespace) -> None:
    """Refuse what Gradio would stumble over while it is imported or starts.

    Raises:
        ModelError: a port, a proxy or the temporary folder cannot be used.
    """
    import httpx

    for what, port in (("--port", args.port), ("GRADIO_SERVER_PORT", os.environ.get("GRADIO_SERVER_PORT"))):
        if port is not None and not (str(port).isdecimal() and 0 < int(port) < 65536):
            raise ModelError(
                f"{what} is {port!r}, and a port is a number from 1 to 65535; choose another --host or --port."
            )
    # Gradio asks its own address whether it is there, and a proxy would not know
    own = ("127.0.0.1", "localhost", "::1", *([args.host] if args.host else []))
    os.environ["NO_PROXY"] = ",".join(filter(None, (os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), *own)))
    os.environ["no_proxy"] = os.environ["NO_PROXY"]
    try:
        httpx.Client().close()
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise ModelError(
            f"The proxy in the environment cannot be used ({error}); correct or unset HTTP_PROXY, "
            "HTTPS_PROXY and ALL_PROXY."
        ) from error
    try:
        folder = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ModelError(
            f"No uploads can be kept for a moment ({error}); set GRADIO_TEMP_DIR or TMPDIR to a "
            "folder that can be written."
        ) from error


def main(args: argparse.Namespace) -> None:
    check_surroundings(args)  # before Gradio is imported, which reads the environment
    from fer_model.demo.privacy import own_folder

    with own_folder():
        serve(args)


def stop_on_sigterm(page: "gr.Blocks") -> None:
    """As Ctrl+C does, so that files are deleted: the usual answer to SIGTERM is to end at once."""

    def stop(*_) -> NoReturn:
        if getattr(page, "server", None):  # else it waits five seconds for those who are still answered
            page.server.config.timeout_graceful_shutdown = 2  # docs/demo.md#gradios-internals
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


def serve(args: argparse.Namespace) -> None:
    from starlette.middleware import Middleware

    from fer_model.demo.guard import MAX_WAITING, Door, keep_room_for_photos
    from fer_model.demo.page import build_page
    from fer_model.demo.theme import CSS, JS, theme
    from fer_model.demo.versions import Versions

    share_arenas()
    # One thread a picture, and as many pictures as cores: see results/demo.json for what else was measured. Threads
    # that wait for each other also suffer most where a core is shared with other programs.
    torch.set_num_threads(args.threads)
    versions = Versions.among(HERE / "results", args.model)
    examples = [HERE / "examples" / name for name in EXAMPLES]
    page = build_page(versions, examples, spaces.GPU if spaces else lambda function: function)
    stop_on_sigterm(page)
    for name in versions.names:
        print(f"Model: {name}, {versions.source(name)}", flush=True)
    # Who comes when so many wait is told so at once. With 8 photos a second that is after half a minute; videos
    # take longer, but one at a time of them is worked on beside the photos. Nobody passes by the queue (api_open).
    page.queue(default_concurrency_limit=args.workers, max_size=MAX_WAITING, api_open=False)
    keep_room_for_photos(page)
    local_only = (args.host or os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1") in ("127.0.0.1", "localhost", "::1")
    try:
        page.launch(
            server_name=args.host,
            server_port=args.port,
            theme=theme(),
            css=CSS,
            js=JS,
            max_file_size=MAX_FILE_SIZE,
            run_history=False,  # would keep visitors' photos in their browser
            show_error=True,
            footer_links=["api"],
            state_session_capacity=100,  # each holds a photo of at most 8 MB, and 0.2 MB for each face
            ssr_mode=False,  # one way of drawing the page, here and on a Space
            mcp_server=True,
            enable_monitoring=False,
            app_kwargs={"middleware": [Middleware(Door, local_only=local_only, max_file_bytes=MAX_FILE_MB * 2**20)]},
        )
    except (OSError, OverflowError) as error:
        raise ModelError(f"The demo cannot listen there ({error}); choose another --host or --port.") from error


if __name__ == "__main__":
    cli.run("app.py", lambda: main(parse_args()))
