"""The annotator's page: a Gradio Blocks around one static widget.

The widget is plain HTML, CSS and JavaScript in `widgets/` (no build step). Its script asks and answers the
JSON API with `fetch`, as any client does, and not with Gradio events: ten times less work per ranking, and it
sees a 401 or a 500, so the page can say "Not saved" instead of staying silent. Nothing a model wrote passes a
Gradio template, whose output would be run as JavaScript: the template below never changes.
"""

import json

import gradio as gr

from labeling import theme
from labeling.texts import LANGUAGES, texts

# Put one after another: each file uses only what stands before it.
SCRIPTS = (
    "worker.js",
    "texts.js",
    "words.js",
    "client.js",
    "clock.js",
    "drag.js",
    "keys.js",
    "rank.js",
    "card.js",
    "order.js",
    "remarks.js",
    "save.js",
    "recent.js",
    "guidelines.js",
    "facts.js",
    "start.js",
)


def _widget_file(name: str) -> str:
    return (theme.WIDGETS / name).read_text(encoding="utf-8")


def script() -> str:
    """What runs on the page: the English texts and the names of the other languages, then the files."""
    constants = {"ENGLISH": texts("en"), "LANGUAGES": LANGUAGES}
    lines = [f"const {name} = {json.dumps(value, ensure_ascii=False)};" for name, value in constants.items()]
    return "\n".join([*lines, *(_widget_file(name) for name in SCRIPTS)])


def build() -> gr.Blocks:
    """The page. It holds no state and no data: one build serves everybody."""
    with gr.Blocks(title="Podium", analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(
            html_template=_widget_file("rank.html").replace("<!--header-->", theme.header("annotate")),
            css_template=_widget_file("rank.css"),
            js_on_load=script(),
            apply_default_css=False,
            elem_id="podium-annotate",
        )
    return blocks
