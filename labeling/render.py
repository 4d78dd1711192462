"""Model text (Markdown) to HTML that is safe to set through innerHTML.

A policy in training may write anything, so this is a wall with two sides: markdown-it-py with raw HTML
switched off decides what the text *means*, and nh3 with a short allow-list decides what may *leave*. There
are no images (their alternative text is shown instead), no styles, no ids, and links only to https and
mailto: looking at a response makes no request and runs nothing. The result never goes through a template:
the page gets it from the JSON API (Gradio's `html_template` would run a `${...}` in it).

What is ranked must be what is seen: a link says where it leads, characters that only steer (the direction
of the text, a terminal) are shown by name, and text that Markdown would leave out is shown as it was written.

Mathematics is shown as it was written, not typeset: `\\(a_1\\)` must keep its backslashes.
"""

import re
import unicodedata
from functools import lru_cache
from html import escape

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from pygments.token import STANDARD_TYPES

from labeling import code_colours

_BLOCKS = ("p", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "table", "th", "td")
_TAGS = {*_BLOCKS, "a", "br", "code", "del", "div", "em", "hr", "pre", "s", "span", "strong"}
_TAGS |= {"thead", "tbody", "tr"}
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
_CLASSES = {
    "span": {*STANDARD_TYPES.values(), "pod-image", "pod-math", "pod-host"} - {""},
    "div": {"pod-table"},
    "ol": {"pod-long"},
}
_FIXED = {"a": {"target": "_blank"}, "pre": {"dir": "ltr"}}
_DIRECTIONS = {tag: {"dir": {"ltr", "rtl"}} for tag in _BLOCKS}

# $$..$$, \[..\], \(..\) and $..$ where the dollars hug their contents ("$5 and $10" is money). The lengths
# are bounded so that a response of nothing but openers costs no time.
_MATH = re.compile(
    r"\$\$.{1,800}?\$\$|\\\[.{1,800}?\\\]|\\\(.{1,800}?\\\)|\$(?![\s$])[^$\n]{1,300}?(?<![\s\\])\$(?!\d)",
    re.DOTALL,
)
# The host is plain: no user name before an @ and nothing percent-encoded, which a reader could not tell
# apart. markdown-it has already turned other letters than ASCII's into punycode.
_LINK = re.compile(
    r"https://(?P<host>[a-z0-9._-]+(?::\d+)?)(?:[/?#]\S*)?|mailto:(?P<address>[^\s?]+)\S*", re.I
)
_SAYS = re.compile(r"(?:https?://|mailto:)?([^\s/?#]+)(?:[/?#]\S*)?", re.I)

# Controls, what turns the direction of text, and tags (invisible ASCII; only in a flag like England's do they
# draw something). The marks of direction (U+200E) and what joins and parts letters have honest uses.
_STEERING = re.compile(
    "(\U0001f3f4[\U000e0020-\U000e007f]+)|[\x00-\x08\x0b-\x1f\x7f-\x9f"
    "\u202a-\u202e\u2066-\u206f\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_NO_CHARACTER = re.compile("[\x00\ud800-\udfff]")
# Paragraphs of letters, digits and signs that mean nothing in Markdown. A line of them that begins with a
# letter is no list, heading, rule or table.
_PLAIN_LINE = r"""[^\W\d_][\w ,.;:?!'"()/%+=–—’“”…-]*+(?<! )"""
_PLAIN = re.compile(rf"(?![^_]*_){_PLAIN_LINE}(?:\n\n?{_PLAIN_LINE})*+")


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


def _direction(state: StateCore) -> None:
    """Core rule: an outermost block is written the way its first letter is. Not `dir="auto"`: at each element
    that arrives the browser looks for that letter again, for 100 kB of table cells for over a minute.
    """
    block = None
    for token in state.tokens:
        if token.level == 0 and token.nesting == 1:
            block = token
            block.attrSet("dir", "ltr")
        elif block is not None and token.type == "inline":
            strong = _first_strong("".join(child.content for child in token.children or []))
            if strong:
                block.attrSet("dir", strong)
                block = None


def _first_strong(text: str) -> str | None:
    for character in text:
        kind = unicodedata.bidirectional(character)
        if kind in ("L", "R", "AL"):
            return "ltr" if kind == "L" else "rtl"
    return None


def _fence(_renderer, tokens: list[Token], index: int, _options, env) -> str:
    token = tokens[index]
    language = token.info.split()[0] if token.info.split() else ""
    env["code"] = env.get("code", 0) + len(token.content)
    body = None
    if language and env["code"] <= code_colours.LONGEST:
        body = code_colours.in_colours(token.content, language)
    return f"<pre><code>{body or escape(token.content)}</code></pre>\n"


def _image(_renderer, tokens: list[Token], index: int, _options, _env) -> str:
    words = escape(tokens[index].content.strip()) or "without a description"
    return f'<span class="pod-image">[image: {words}]</span>'


def _heading(renderer, tokens: list[Token], index: int, options, env) -> str:
    """A response sits under the page's own headings, so its first level is h4. No level is left out on the
    way down: who goes from heading to heading would think it missed.
    """
    token = tokens[index]
    if token.nesting == 1:
        env["heading"] = min(int(token.tag[1]) + 3, env.get("heading", 3) + 1, 6)
    token.tag = f"h{env['heading']}"
    return renderer.renderToken(tokens, index, options, env)


def _list(renderer, tokens: list[Token], index: int, options, env) -> str:
    """Long numbers stand inside the list: outside they would reach out of the box."""
    level, last = tokens[index].level, int(tokens[index].attrGet("start") or 1) - 1
    for token in tokens[index + 1 :]:
        if token.level == level:  # the list's end
            break
        last += token.type == "list_item_open" and token.level == level + 1
    if last > 999:
        tokens[index].attrJoin("class", "pod-long")
    return renderer.renderToken(tokens, index, options, env)


def _link_end(renderer, tokens: list[Token], index: int, options, env) -> str:
    """Where a link leads stands behind it, unless just that is its text: `[bank.example](https://evil.example)`."""
    end = renderer.renderToken(tokens, index, options, env)
    start = next(at for at in range(index, -1, -1) if tokens[at].type == "link_open")
    link = _LINK.fullmatch(str(tokens[start].attrGet("href")))
    if link is None:
        return end
    place = (link["host"] or link["address"]).lower()
    text = _SAYS.fullmatch("".join(token.content for token in tokens[start:index]).strip())
    if text is not None and text[1].lower() == place:
        return end
    return f'{end} <span class="pod-host">({escape(place)})</span>'


class _TooDeep(Exception):
    """Blocks are nested deeper than markdown-it goes."""


def _refuse_depth(md: MarkdownIt) -> None:
    """markdown-it leaves out what is nested too deep, and all that follows it: raise instead."""
    tokenize = md.block.tokenize

    def guarded(state: StateBlock, start: int, end: int) -> None:
        if state.level >= md.options["maxNesting"]:
            raise _TooDeep
        tokenize(state, start, end)

    md.block.tokenize = guarded


def _build() -> MarkdownIt:
    # breaks: a single line break in a response is one on the page too, as in every chat window
    md = MarkdownIt("commonmark", {"html": False, "breaks": True})
    md.enable(["table", "strikethrough"])
    md.inline.ruler.before("escape", "math", _math)
    md.core.ruler.push("direction", _direction)
    md.add_render_rule("math", lambda _r, t, i, *_: f'<span class="pod-math">{escape(t[i].content)}</span>')
    md.add_render_rule("fence", _fence)
    md.add_render_rule("image", _image)
    md.add_render_rule("heading_open", _heading)
    md.add_render_rule("heading_close", _heading)
    md.add_render_rule("ordered_list_open", _list)
    md.add_render_rule("link_close", _link_end)
    md.add_render_rule(
        "table_open", lambda r, *rest: '<div class="pod-table">' + r.renderToken(*rest[:3], None)
    )
    md.add_render_rule("table_close", lambda *_: "</table></div>")
    _refuse_depth(md)
    return md


_MARKDOWN = _build()


def _keep_attribute(tag: str, name: str, value: str) -> str | None:
    """nh3 lets relative links through; a response has no business pointing at this server."""
    if tag == "a" and name == "href" and not _LINK.fullmatch(value):
        return None
    return value


def _by_name(match: re.Match) -> str:
    """A character nobody would see, as its number: ⟨U+202E⟩."""
    return match[1] or f"\u27e8U+{ord(match[0]):04X}\u27e9"


def _as_written(text: str) -> str:
    lines = "<br>\n".join(re.split("\r\n|\r|\n", escape(text)))
    return f'<p dir="{_first_strong(text) or "ltr"}">{lines}</p>'


def _html(text: str) -> str:
    try:
        html = _MARKDOWN.render(text)
    except _TooDeep:
        return _as_written(text)
    # definitions of references alone, `[//]: # (like this)`, would leave nothing
    return html if html.strip() else _as_written(text) if text.strip() else ""


# Made once: to make one takes 70 us, to clean a paragraph with it 8.
_CLEANER = nh3.Cleaner(
    tags=_TAGS,
    attributes=_ATTRIBUTES,
    allowed_classes=_CLASSES,
    tag_attribute_values=_DIRECTIONS,
    attribute_filter=_keep_attribute,
    set_tag_attribute_values=_FIXED,
    url_schemes={"https", "mailto"},
    link_rel="noopener nofollow",
    strip_comments=True,
)


def _paragraphs(text: str) -> str:
    """Plain paragraphs as HTML: what `_through_markdown` makes of them, in a tenth of the time."""
    html = ""
    for part in text.split("\n\n"):
        lines = part.replace("\n", "<br>\n")
        html += f'<p dir="{_first_strong(part) or "ltr"}">{lines}</p>\n'
    return html


def _through_markdown(text: str) -> str:
    clean = _CLEANER.clean(_html(_NO_CHARACTER.sub("\ufffd", text)))
    # Last, for entities make such characters too (`&#x202e;`); plain signs are safe wherever they stand.
    return _STEERING.sub(_by_name, clean)


@lru_cache(maxsize=2048)
def render(text: str) -> str:
    """`text` as safe HTML. The same text is asked for by every annotator who sees it: cached."""
    return _paragraphs(text) if _PLAIN.fullmatch(text) else _through_markdown(text)
