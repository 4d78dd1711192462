"""How every page looks: one Gradio theme, one style sheet, one header.

Gradio 6 takes theme, CSS and head when the Blocks are *mounted*, not when they are built, so the door
(`app.py`) asks `page_options()` and hands it on:

    gr.mount_gradio_app(app, annotate.build(), path="/annotate", **theme.page_options())

Colours are CSS variables named `--pod-*` (`widgets/page.css`), light on `:root` and dark on `.dark`, which
Gradio sets from the system's preference. Use them, and the classes beside them, instead of new colours:
each pair was chosen for contrast of at least 4.5:1. Fonts are the system's own: nothing is fetched.
"""

import base64
from pathlib import Path
from typing import Any

import gradio as gr

WIDGETS = Path(__file__).parent / "widgets"

# Three steps, the middle one highest: a podium. Drawn with currentColor so it follows light and dark.
MARK = (
    '<svg viewBox="0 0 32 32" aria-hidden="true" focusable="false">'
    '<rect x="1.5" y="15" width="8.6" height="14" rx="2" fill="var(--pod-silver)"/>'
    '<rect x="11.7" y="5" width="8.6" height="24" rx="2" fill="var(--pod-accent)"/>'
    '<rect x="21.9" y="19.5" width="8.6" height="9.5" rx="2" fill="var(--pod-bronze)"/></svg>'
)
FAVICON = (
    MARK.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ')
    .replace("var(--pod-silver)", "#9fb0b6")
    .replace("var(--pod-accent)", "#0b8a77")
    .replace("var(--pod-bronze)", "#d1925e")
)
PAGES = {"annotate": ("/annotate", "Annotate"), "lab": ("/lab", "Lab")}


def header(active: str) -> str:
    """The top of a page: mark, name and the way to the other page. `active` is a key of PAGES."""
    links = "".join(
        f'<a href="{path}" data-t="page.{key}"{" aria-current=page" if key == active else ""}>{label}</a>'
        for key, (path, label) in PAGES.items()
    )
    return (
        f'<a class="pod-brand" href="/annotate">{MARK}<span class="pod-name">Podium</span></a>'
        f'<nav class="pod-nav" aria-label="Pages" data-label="pages">{links}</nav>'
    )


def css() -> str:
    """The shared style sheet. Goes into the head as it is: Gradio's own `css=` rewrites selectors."""
    return (WIDGETS / "page.css").read_text(encoding="utf-8")


def theme() -> gr.themes.Base:
    """Gradio's own components in the same colours. Not its orange: white on that is unreadable."""
    teal = gr.themes.Color(
        name="podium", c50="#eef8f5", c100="#dbefe9", c200="#b7dfd4", c300="#86dccb", c400="#5fcbb5",
        c500="#0b8a77", c600="#0b6a5c", c700="#085347", c800="#0a4038", c900="#0b332d", c950="#06231c",
    )  # fmt: skip
    neutral = gr.themes.Color(
        name="stone", c50="#f8faf8", c100="#f4f6f3", c200="#ecf0ec", c300="#d7ded9", c400="#a6b4ae",
        c500="#7f8d87", c600="#51605a", c700="#2d3934", c800="#181f1c", c900="#111715", c950="#0f1513",
    )  # fmt: skip
    system = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "DejaVu Sans", "sans-serif"]
    mono = ["ui-monospace", "SF Mono", "Cascadia Mono", "Noto Sans Mono", "DejaVu Sans Mono", "monospace"]
    return gr.themes.Base(
        primary_hue=teal, secondary_hue=teal, neutral_hue=neutral, font=system, font_mono=mono
    ).set(
        body_background_fill="#f4f6f3",
        body_background_fill_dark="#0f1513",
        body_text_color="#14201c",
        body_text_color_dark="#e9efec",
        body_text_color_subdued="#51605a",
        body_text_color_subdued_dark="#a6b4ae",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#181f1c",
        background_fill_secondary="#ecf0ec",
        background_fill_secondary_dark="#111715",
        block_background_fill="#ffffff",
        block_background_fill_dark="#181f1c",
        block_border_color="#d7ded9",
        block_border_color_dark="#2d3934",
        block_radius="12px",
        block_label_text_color="#51605a",
        block_label_text_color_dark="#a6b4ae",
        block_title_text_color="#14201c",
        block_title_text_color_dark="#e9efec",
        border_color_primary="#d7ded9",
        border_color_primary_dark="#2d3934",
        border_color_accent="#0b6a5c",
        border_color_accent_dark="#5fcbb5",
        color_accent="#0b6a5c",
        color_accent_soft="#dbefe9",
        color_accent_soft_dark="#16352e",
        link_text_color="#0b6a5c",
        link_text_color_dark="#5fcbb5",
        input_background_fill="#ffffff",
        input_background_fill_dark="#111715",
        input_border_color="#7f8d87",
        input_border_color_dark="#708079",
        input_border_color_focus="#0b6a5c",
        input_border_color_focus_dark="#5fcbb5",
        input_placeholder_color="#51605a",
        input_placeholder_color_dark="#a6b4ae",
        button_large_radius="10px",
        button_medium_radius="10px",
        button_small_radius="8px",
        button_primary_background_fill="#0b6a5c",
        button_primary_background_fill_dark="#5fcbb5",
        button_primary_background_fill_hover="#085347",
        button_primary_background_fill_hover_dark="#86dccb",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#06231c",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_dark="#181f1c",
        button_secondary_background_fill_hover="#ecf0ec",
        button_secondary_background_fill_hover_dark="#2d3934",
        button_secondary_border_color="#7f8d87",
        button_secondary_border_color_dark="#708079",
        button_secondary_text_color="#14201c",
        button_secondary_text_color_dark="#e9efec",
        button_cancel_background_fill="#a3201a",
        button_cancel_background_fill_dark="#ffa198",
        button_cancel_text_color="#ffffff",
        button_cancel_text_color_dark="#3d1b18",
        button_border_width="1px",
    )


def head() -> str:
    """What goes into <head>: the style sheet, the icon as data (no request) and the colour schemes."""
    icon = base64.b64encode(FAVICON.encode()).decode()
    return (
        '<meta name="color-scheme" content="light dark">'
        f'<link rel="icon" type="image/svg+xml" href="data:image/svg+xml;base64,{icon}">'
        f"<style>{css()}</style>"
    )


def page_options() -> dict[str, Any]:
    """Keyword arguments for `gr.mount_gradio_app`: our look, and nothing that calls out or keeps history.

    `run_history` is on by default and would keep inputs in the browser; `ssr_mode` would start Node.
    """
    return {
        "theme": theme(),
        "head": head(),
        "footer_links": [],
        "run_history": False,
        "show_error": False,
        "ssr_mode": False,
        "enable_monitoring": False,
        "pwa": False,
        "mcp_server": False,
    }
