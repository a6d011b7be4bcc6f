"""The whole page: its tabs, and the endpoints behind it."""

from collections.abc import Callable
from pathlib import Path

import gradio as gr

from fer_model.demo import privacy
from fer_model.demo.api import endpoints
from fer_model.demo.gpu import Network
from fer_model.demo.guard import close_doors
from fer_model.demo.jobs import Jobs
from fer_model.demo.privacy import KEEP_SECONDS, PRIVACY
from fer_model.demo.tabs.about import about_tab, picture_folders
from fer_model.demo.tabs.bulk import bulk_tab
from fer_model.demo.tabs.live import live_tab
from fer_model.demo.tabs.photo import photo_tab
from fer_model.demo.versions import Versions
from fer_model.labels import COUNTS, NEUTRAL

AT_REST = "*Neutral* is not among the six, so a face at rest is called something else. "


def build_page(versions: Versions, examples: list[Path], on_gpu: Callable = lambda function: function) -> gr.Blocks:
    """The page and its endpoints. Nothing of one visitor is kept where another could see it.

    Args:
        examples: pictures that a visitor can try.
        on_gpu: see `Network`.
    """
    close_doors()
    gr.set_static_paths(picture_folders(versions))
    network = Network(versions, on_gpu)
    jobs = Jobs(network)
    names = network.class_names()
    # Gradio deletes at shutdown what is left; in between `privacy` does: docs/demo.md#gradios-internals
    with gr.Blocks(title="Facial expressions", delete_cache=(10**9, KEEP_SECONDS)) as page:
        privacy.watch(page)
        gr.Markdown(
            f"# Facial expressions\nWhich of {COUNTS[len(names)]} expressions does a face show, and where does the "
            f"network look? {AT_REST if NEUTRAL not in names else ''}An expression is not an emotion: see *About the "
            "model*."
        )
        gr.Markdown(PRIVACY, elem_id="privacy")
        with gr.Tabs():
            with gr.Tab("Photo"):
                photo_tab(network, examples)
            with gr.Tab("Live"):
                live_tab(network)
            with gr.Tab("Videos and many pictures"):
                bulk_tab(network, jobs)
            with gr.Tab("About the model"):
                about_tab(versions, names)
        endpoints(network, jobs)
    return page
