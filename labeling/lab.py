"""The lab page: what a researcher needs at two in the morning, when a run has collapsed.

On top what is published, what the worker does and the buttons that ask it for something; below, one tab each
for the live curves, the rounds with their reasons, before/after, the people who ranked, whether they agree,
what they are asked, and the models that judge beside them.

Gradio gives the page, the theme and the tabs. Everything that moves is a static widget (`widgets/lab_*`) that
asks the JSON API with fetch, and only while somebody looks at it:

- A Gradio event tells the page nothing when it fails; fetch sees the status, so the page can say so.
- `gr.Timer` keeps ticking in tabs nobody looks at, and `gr.LinePlot` rebuilds its whole view at each value;
  a canvas that fetches what is new costs a fifth of that (`widgets/curves.js`).
- What a template renders is compiled as JavaScript, so no data may go through one. These templates are
  constant; model text arrives as JSON, already cleaned by `labeling.render`.
- Nothing lives in the page: all of it is in SQLite, and reloading loses nothing.
"""

from pathlib import Path

import gradio as gr

from labeling import theme
from labeling.store import Store

WIDGETS = Path(__file__).parent / "widgets"
TABS = {
    "Curves": "lab_curves",
    "Rounds": "lab_rounds",
    "Before / after": "lab_compare",
    "People": "lab_people",
    "Agreement": "lab_agreement",
    "Guidelines": "lab_guidelines",
    "Constitution": "lab_constitution",
}
EDITOR = ["lab_editor.css", "lab_editor.js"]
SHARED = {"lab_curves": ["curves.js"], "lab_guidelines": EDITOR, "lab_constitution": EDITOR}
HEADER = f'<header class="pod-header">{theme.header("lab")}<h1 class="pod-hidden-text">Lab</h1></header>'


def build(store: Store) -> gr.Blocks:
    """The page, to be mounted at /lab with `theme.page_options()`.

    `store` belongs to the page's signature like to every page's; the widgets read through the API.
    """
    with gr.Blocks(title="Podium · Lab", analytics_enabled=False) as page:
        gr.HTML(HEADER, apply_default_css=False)
        widget("lab_status")
        with gr.Tabs(elem_id="lab-tabs"):
            for title, name in TABS.items():
                with gr.Tab(title, elem_id=f"{name.replace('_', '-')}-tab"):
                    widget(name)
    return page


def widget(name: str) -> gr.HTML:
    """One widget: `widgets/NAME.html|css|js`, with what it shares with others before it."""
    files = ["lab.css", "worker.js", "lab_common.js", *SHARED.get(name, []), f"{name}.css", f"{name}.js"]
    return gr.HTML(
        html_template=_read(f"{name}.html"),
        css_template=_read(*(file for file in files if file.endswith(".css"))),
        js_on_load=_read(*(file for file in files if file.endswith(".js"))),
        apply_default_css=False,
        elem_id=name.replace("_", "-"),
    )


def _read(*names: str) -> str:
    return "".join((WIDGETS / name).read_text(encoding="utf-8") for name in names)
