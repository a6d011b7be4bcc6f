"""How the page looks: one theme, readable in the dark and on a phone."""

from pathlib import Path

import gradio as gr


def theme() -> gr.themes.Base:
    """Soft, with the visitor's own font (nothing to fetch) and contrasts that a weak eye can read (WCAG 2, AA)."""
    return gr.themes.Soft(
        primary_hue="indigo",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        checkbox_border_color="*neutral_500",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        block_label_text_color="*primary_800",
        block_label_text_color_dark="*primary_200",
        block_title_text_color="*primary_800",
        block_title_text_color_dark="*primary_200",
        block_label_background_fill_dark="*primary_900",
        block_title_background_fill_dark="*primary_900",
        checkbox_label_background_fill_selected="*primary_700",
        checkbox_label_background_fill_selected_dark="*primary_700",
        color_accent="*primary_700",
        link_text_color="*primary_700",
        link_text_color_hover="*primary_800",
        link_text_color_visited="*primary_700",
        link_text_color_dark="*primary_300",
        link_text_color_hover_dark="*primary_200",
        link_text_color_visited_dark="*primary_300",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
    )


CSS = Path(__file__).with_name("static").joinpath("page.css").read_text(encoding="utf-8")

JS = Path(__file__).with_name("static").joinpath("page.js").read_text(encoding="utf-8")
