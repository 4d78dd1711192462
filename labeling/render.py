"""Model text (Markdown) to HTML that is safe to set through innerHTML.

A policy in training may write anything, so this is a wall with two sides: markdown-it-py with raw HTML
switched off decides what the text *means*, and nh3 with a short allow-list decides what may *leave*. There
are no images (their alternative text is shown instead), no styles, no ids, and links only to https and
mailto: looking at a response makes no request and runs nothing. The result never goes through a template:
the page gets it from the JSON API (Gradio's `html_template` would run a `${...}` in it).

Mathematics is shown as it was written, not typeset: `\\(a_1\\)` must keep its backslashes.
"""

import re
from functools import lru_cache
from html import escape

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES
from pygments.util import ClassNotFound

# Longer code is shown without colours: some lexers are slow, and a page must never wait for one.
LONGEST_COLOURED_CODE = 20_000

_BLOCKS = ("p", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "table", "th", "td")
_TAGS = {*_BLOCKS, "a", "br", "code", "del", "div", "em", "hr", "pre", "s", "span", "strong"}
_TAGS |= {"thead", "tbody", "tr"}
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
_CLASSES = {
    "span": {*STANDARD_TYPES.values(), "pod-image", "pod-math"} - {""},
    "div": {"pod-table"},
}
_FIXED = {"a": {"target": "_blank"}, "pre": {"dir": "ltr"}} | {tag: {"dir": "auto"} for tag in _BLOCKS}
_FORMATTER = HtmlFormatter(nowrap=True)

# $$..$$, \[..\], \(..\) and $..$ where the dollars hug their contents ("$5 and $10" is money). The lengths
# are bounded so that a response of nothing but openers costs no time.
_MATH = re.compile(
    r"\$\$.{1,800}?\$\$|\\\[.{1,800}?\\\]|\\\(.{1,800}?\\\)|\$(?![\s$])[^$\n]{1,300}?(?<![\s\\])\$(?!\d)",
    re.DOTALL,
)
_LINK = re.compile(r"(?:https://|mailto:)[^\s]+", re.IGNORECASE)


def _math(state: StateInline, silent: bool) -> bool:
    """Inline rule: keep mathematics as the text it is."""
    if state.src[state.pos] not in "$\\":
        return False
    match = _MATH.match(state.src, state.pos, state.posMax)
    if match is None:
        return False
    if not silent:
        state.push("math", "span", 0).content = match.group()
    state.pos = match.end()
    return True


def _colour(code: str, language: str, _attributes: str) -> str:
    """Pygments spans (classes, no styles) for a fence whose language is known; "" leaves it plain."""
    if not language or len(code) > LONGEST_COLOURED_CODE:
        return ""
    try:
        return highlight(code, get_lexer_by_name(language), _FORMATTER)
    except ClassNotFound:
        return ""


def _fence(_renderer, tokens: list[Token], index: int, options, _env) -> str:
    token = tokens[index]
    language = token.info.split()[0] if token.info.split() else ""
    body = (options.highlight(token.content, language, "") if language else "") or escape(token.content)
    return f"<pre><code>{body}</code></pre>\n"


def _image(_renderer, tokens: list[Token], index: int, _options, _env) -> str:
    words = escape(tokens[index].content.strip()) or "without a description"
    return f'<span class="pod-image">[image: {words}]</span>'


def _heading(renderer, tokens: list[Token], index: int, options, env) -> str:
    """A response sits under the page's own headings, so its first level is h4."""
    token = tokens[index]
    token.tag = f"h{min(int(token.tag[1]) + 3, 6)}"
    return renderer.renderToken(tokens, index, options, env)


def _build() -> MarkdownIt:
    # breaks: a single line break in a response is one on the page too, as in every chat window
    md = MarkdownIt("commonmark", {"html": False, "breaks": True, "highlight": _colour})
    md.enable(["table", "strikethrough"])
    md.inline.ruler.before("escape", "math", _math)
    md.add_render_rule("math", lambda _r, t, i, *_: f'<span class="pod-math">{escape(t[i].content)}</span>')
    md.add_render_rule("fence", _fence)
    md.add_render_rule("image", _image)
    md.add_render_rule("heading_open", _heading)
    md.add_render_rule("heading_close", _heading)
    md.add_render_rule("table_open", lambda *_: '<div class="pod-table"><table>')
    md.add_render_rule("table_close", lambda *_: "</table></div>")
    return md


_MARKDOWN = _build()


def _keep_attribute(tag: str, name: str, value: str) -> str | None:
    """nh3 lets relative links through; a response has no business pointing at this server."""
    if tag == "a" and name == "href" and not _LINK.fullmatch(value):
        return None
    return value


@lru_cache(maxsize=2048)
def render(text: str) -> str:
    """`text` as safe HTML. The same text is asked for by every annotator who sees it: cached."""
    return nh3.clean(
        _MARKDOWN.render(text),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        allowed_classes=_CLASSES,
        attribute_filter=_keep_attribute,
        set_tag_attribute_values=_FIXED,
        url_schemes={"https", "mailto"},
        link_rel="noopener nofollow",
        strip_comments=True,
    )
