"""The whole page: its tabs, and the endpoints behind it."""

from collections.abc import Callable
from pathlib import Path

import gradio as gr

from fer_model.demo.api import endpoints
from fer_model.demo.gpu import Network
from fer_model.demo.privacy import KEEP_SECONDS, PRIVACY
from fer_model.demo.tabs.about import about_tab, picture_folders
from fer_model.demo.tabs.bulk import Clips, clips_tab
from fer_model.demo.tabs.live import live_tab
from fer_model.demo.tabs.photo import photo_tab
from fer_model.demo.versions import Versions


def build_page(versions: Versions, examples: list[Path], on_gpu: Callable = lambda function: function) -> gr.Blocks:
    """The page and its endpoints. Nothing of one visitor is kept where another could see it.

    Args:
        examples: pictures that a visitor can try.
        on_gpu: see `Network`.
    """
    gr.set_static_paths(picture_folders(versions))
    network = Network(versions, on_gpu)
    clips = Clips(network)
    # Gradio deletes at shutdown what is left; in between `visitors` does, see there
    with gr.Blocks(title="Facial expressions", delete_cache=(10**9, KEEP_SECONDS)) as page:
        gr.Markdown(
            "# Facial expressions\nWhich of six expressions does a face show, and where does the network look? "
            "*Neutral* is not among the six, so a face at rest is called something else, and an expression is not an "
            "emotion: see *About the model*."
        )
        gr.Markdown(PRIVACY, elem_id="privacy")
        with gr.Tabs():
            with gr.Tab("Photo"):
                photo_tab(network, examples)
            with gr.Tab("Live"):
                live_tab(network)
            with gr.Tab("Films and many pictures"):
                clips_tab(network, clips)
            with gr.Tab("About the model"):
                about_tab(versions)
        endpoints(network, clips)
    return page
