"""Model text to HTML: what it looks like, and what can never get through."""

import random
import re
import sys
import time
from html.parser import HTMLParser

import pytest

from labeling import theme
from labeling.code_colours import LONGEST
from labeling.render import _PLAIN, _paragraphs, _through_markdown, render

ALLOWED = {
    "a", "blockquote", "br", "code", "del", "div", "em", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s",
    "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip


class Elements(HTMLParser):
    """What a browser would build: (tag, attributes) of every element, and the text."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def handle_comment(self, data):
        raise AssertionError(f"a comment got through: {data}")


def test_markdown_is_rendered():
    html = render(
        "## Title\n\nSome **bold**, *thin* and ~~old~~ `code`\nnext line\n\n1. one\n2. two\n\n> said"
    )
    for part in (
        "<strong>bold</strong>",
        "<em>thin</em>",
        "<s>old</s>",
        "<code>code</code>",
        "<br>",
        '<ol dir="ltr">',
        '<blockquote dir="ltr">',
    ):
        assert part in html
    assert '<h4 dir="ltr">Title</h4>' in html  # under the page's own h1 to h3


def test_headings_leave_out_no_level():
    html = render("## a\n\n#### b\n\n###### c\n\n# d\n\n# e")
    assert [tag for tag, _ in Elements(html).found] == ["h4", "h5", "h6", "h4", "h4"]


def test_tables_scroll_by_themselves():
    html = render("| a | b |\n|---|--:|\n| 1 | 2 |")
    assert html.startswith('<div class="pod-table"><table')
    assert "style" not in html


def test_code_is_coloured_by_class_and_unknown_languages_are_plain():
    assert '<span class="k">def</span>' in render("```python\ndef f(): pass\n```")
    assert render("```nosuch\n<b>1</b>\n```") == '<pre dir="ltr"><code>&lt;b&gt;1&lt;/b&gt;\n</code></pre>\n'
    # for a page must not wait: languages with slow lexers, and long code, in one block or in many
    assert "<span" not in render("```mcfunction\n" + "0" * 500 + "\n```")
    assert "<span" not in render("````markdown\n```mcfunction\n" + "0" * 500 + "\n```\n````")
    assert "<span" not in render("```python\n" + "x = 1\n" * LONGEST + "```")
    many = render("```python\nx = 1\n```\n" * LONGEST)
    assert 0 < many.count('<span class="mi">') <= LONGEST / len("x = 1\n")


def test_mathematics_stays_as_it_was_written():
    text = r"The sum \(a_1 * b_1\) and $x_1 < y_1$ and \[ \frac{1}{2} \] cost $5 and $10."
    assert Elements(render(text)).text.strip() == text
    assert render(text).count("pod-math") == 3
    assert "<em>" not in render("$a_1$ and $b_1$")


def test_links_leave_safely_or_not_at_all():
    html = render("[a](https://example.com/?q=1&r=2 'hint') <mailto:me@example.com>")
    for tag, attributes in Elements(html).found:
        if tag == "a":
            assert attributes["rel"] == "noopener nofollow"
            assert attributes["target"] == "_blank"
    assert 'href="https://example.com/?q=1&amp;r=2"' in html
    for target in (
        "http://example.com",
        "/api/undo",
        "//example.com",
        "../lab",
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "file:///etc/passwd",
        "&#106;avascript:alert(1)",
    ):
        assert "href" not in render(f"[x]({target})"), target


@pytest.mark.parametrize(
    ("markdown", "place"),
    [
        ("[docs](https://example.com/a)", "example.com"),
        ("[https://bank.example](https://evil.test)", "evil.test"),
        ("[bank.example](https://evil.test/bank.example)", "evil.test"),
        ("[**bank.example** `/login`](https://evil.test:8443 'https://bank.example')", "evil.test:8443"),
        ("[help@bank.example](mailto:thief@evil.test?subject=x)", "thief@evil.test"),
        ("<https://\u0430pple.com>", "xn--pple-43d.com"),  # a Cyrillic a
        ("[https://apple.com](https://\u0430pple.com)", "xn--pple-43d.com"),
        ("<https://example.com/a?b>", None),
        ("[example.com](https://example.com/a)", None),
        ("[**http://Example.com/a**](HTTPS://EXAMPLE.com/b)", None),
        ("<me@example.com>", None),
    ],
)
def test_a_link_says_where_it_leads(markdown, place):
    said = re.findall(r'</a> <span class="pod-host">\(([^<]*)\)</span>', render(markdown))
    assert said == ([place] if place else [])


@pytest.mark.parametrize(
    "markdown",
    [
        "<https://bank.example@evil.test/>",
        "[x](https://bank.example\\\\@evil.test)",
        "[x](https://ev%69l.test)",
        "[x](https:////evil.test)",
        "[x](https:evil.test)",
    ],
)
def test_a_link_whose_host_does_not_stand_there_plainly_is_none(markdown):
    assert "href" not in render(markdown)


def test_what_only_steers_is_shown_by_name():
    assert Elements(render("a\u202eb &#x2067;c `\u202d`")).text.strip() == "a⟨U+202E⟩b ⟨U+2067⟩c ⟨U+202D⟩"
    assert "⟨U+202E⟩" in render("```js\nx \u202e y\n```")
    assert "⟨U+202E⟩" in render("[a](https://a.example 'b\u202ec')")
    assert Elements(render("a\x00b\x1b[31m \x7f\x85")).text.strip() == "a\ufffdb⟨U+001B⟩[31m ⟨U+007F⟩⟨U+0085⟩"
    assert "⟨U+E0041⟩" in render("x\U000e0041")
    for honest in (
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "می\u200cخواهم\u200f",
    ):
        assert Elements(render(honest)).text.strip() == honest


@pytest.mark.parametrize(
    ("markdown", "words"),
    [
        (">" * 200 + " the end", "the end"),
        ("- " * 200 + "one\n\nthe end", "the end"),
        ("[//]: # (the end)", "the end"),
        ("[a]: https://a.example 'the end'", "the end"),
    ],
)
def test_nothing_is_left_out(markdown, words):
    assert words in Elements(render(markdown)).text


def test_long_numbers_stand_inside_their_list():
    for markdown in ("999999999. a", "2024. a\n2025. b", "998. a\n999. b\n1000. c", "1. a\n" * 1000):
        assert "<ol" in render(markdown)
        assert 'class="pod-long"' in render(markdown)
    for markdown in ("1. a\n2. b", "99. a", "1. a\n    1. b\n" * 400):
        assert "pod-long" not in render(markdown)


def test_images_are_described_never_fetched():
    html = render("![a *fine* cat](https://example.com/cat.png) ![](https://example.com/x.png)")
    assert "example.com" not in html
    assert "[image: a *fine* cat]" in html
    assert "[image: without a description]" in html


@pytest.mark.parametrize(
    ("markdown", "directions"),
    [
        ("hello", ["ltr"]),
        ("shalom שלום", ["ltr"]),
        ("1. (2) **שלום** shalom", ["rtl"]),  # the list; what is in it follows
        ("> - مرحبا\n\nhello\n\n# שלום\n\n12", ["rtl", "ltr", "rtl", "ltr"]),
        ("| 1 | مرحبا |\n|---|---|\n| a | b |", ["rtl"]),
        ("![](https://a.example) שלום", ["rtl"]),
        ("```\nשלום\n```", ["ltr"]),  # code
    ],
)
def test_an_outermost_block_is_written_as_its_first_letter_is(markdown, directions):
    assert [a["dir"] for _, a in Elements(render(markdown)).found if "dir" in a] == directions


ATTACKS = [
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></sCrIpT>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><script>alert&#40;1&#41;</script></svg>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<a href='javascript:alert(1)'>x</a>",
    "[x](javascript:alert(1))",
    "[x](<javascript:alert(1)>)",
    "[x]( java\tscript:alert(1))",
    "[x](https://a.example' onmouseover='alert(1))",
    '[x](https://a.example "onmouseover=alert(1)")',
    "[x]: javascript:alert(1)\n\n[x]",
    "<javascript:alert(1)>",
    "<https://a.example/\"onmouseover='alert(1)'>",
    "![x](x' onerror='alert(1))",
    '![" onerror="alert(1)](x)',
    '```"><script>alert(1)</script>\nx\n```',
    "```python onload=alert(1)\nx\n```",
    "```html\n<script>alert(1)</script>\n```",
    "`</code><script>alert(1)</script>`",
    "$</span><script>alert(1)</script>$",
    "\\(<img src=x onerror=alert(1)>\\)",
    "| <b onclick=alert(1)>a</b> |\n|---|\n| <style>*{}</style> |",
    "# <style>@import 'https://evil.example/x.css'</style>",
    "<div style='position:fixed;inset:0'>over everything</div>",
    "<form action=https://evil.example><input name=q><button>go</button></form>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href=https://evil.example/>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<object data=x></object><embed src=x>",
    "<p id=podium class=pr-submit name=x>clobber</p>",
    "<!-- --!><script>alert(1)</script> -->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?php echo 1 ?>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\x00<scr\x00ipt>alert(1)</script>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<template><script>alert(1)</script></template>",
    "<details open ontoggle=alert(1)>x</details>",
    "<x onfocus=alert(1) tabindex=0 autofocus>",
    "${alert(1)}",
    "`${alert(1)}`",
    "{{constructor.constructor('alert(1)')()}}",
    "{% raw %}{{ config }}{% endraw %} <%= 1 %> #{1}",
    "\u202e<script>alert(1)</script>",
]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("around", ["{}", "- {}", "> {}", "text {} text", "**{}**", "| a |\n|---|\n| {} |"])
def test_nothing_that_acts_gets_through(attack, around):
    html = render(around.replace("{}", attack))
    for tag, attributes in Elements(html).found:
        assert tag in ALLOWED, tag
        assert set(attributes) <= {"href", "title", "rel", "target", "dir", "start", "class"}, attributes
        assert (attributes.get("href") or "https://").startswith(("https://", "mailto:"))
        if "class" in attributes:  # none of the page's own, which could dress text up as a button
            assert not re.search(r"\bpr-", attributes["class"]), attributes
    assert "<script" not in html
    assert "<style" not in html


def test_text_that_looks_like_a_template_stays_text():
    # The page sets this by innerHTML and never through a Gradio template, which would run it.
    assert Elements(render("a ${alert(1)} b {{x}} c")).text.strip() == "a ${alert(1)} b {{x}} c"


@pytest.mark.parametrize("text", ["", " \n ", "\x00", "\ud800".encode("utf-8", "replace").decode()])
def test_nothing_is_something_too(text):
    assert isinstance(render(text), str)


@pytest.mark.parametrize(
    "unit",
    [
        "[",
        "![",
        ">",
        "*a ",
        "`",
        "$",
        "$a ",
        "\\(",
        "\\[",
        "<",
        "&",
        "|a",
        "- ",
        "[a](",
        "_a_",
        "#",
        "~~",
        "\n>",
    ],
)
def test_no_text_takes_long(unit):
    text = unit * (20_000 // len(unit))
    started = time.process_time()
    render(text)
    # measured 0.0 to 0.4 s; the point is that nothing is quadratic, which would be minutes
    assert time.process_time() - started < 8


def test_plain_paragraphs_are_what_markdown_makes_of_them():
    rng = random.Random(0)
    signs = "abZéשا一5²_,.;:?!'\"()/%+=–—’“”…-*#` \n\n\n1"
    texts = ["".join(rng.choices(signs, k=rng.randint(1, 14))) for _ in range(10_000)]
    texts.append("a" + "".join(c for c in map(chr, range(sys.maxunicode + 1)) if c.isalnum()))
    plain = [text for text in texts if _PLAIN.fullmatch(text)]
    assert texts[-1] in plain
    assert 500 < len(plain) < 2500
    for text in plain:
        assert _paragraphs(text) == _through_markdown(text), text


def test_what_was_rendered_is_kept():
    render.cache_clear()
    render("the same text")
    render("the same text")
    assert render.cache_info().hits == 1


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [":root", ".dark"])
def test_every_colour_can_be_read(scheme):
    css = theme.css()
    block = css.split(f"{scheme} {{", 1)[1].split("}", 1)[0]
    colours = dict(re.findall(r"--pod-([\w-]+): (#[0-9a-f]{6});", block))
    medals = dict(re.findall(r"--pod-(gold|silver|bronze|on-medal): (#[0-9a-f]{6});", css))
    for ground in ("bg", "surface", "sunken"):
        names = ["ink", "muted", "accent", "good", "warn", "bad", *(f"series-{n}" for n in range(1, 7))]
        for name in names:
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
        assert contrast(colours["line-strong"], colours[ground]) >= 3, ground  # edges of what can be pressed
    for name in ("good", "warn", "bad", "accent"):
        assert contrast(colours[name], colours[f"{name}-soft"]) >= 4.5, name
        assert contrast(colours["ink"], colours[f"{name}-soft"]) >= 4.5, name
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.5
    assert contrast(colours["on-accent"], colours["accent-hover"]) >= 4.5
    for medal in ("gold", "silver", "bronze"):
        assert contrast(medals["on-medal"], medals[medal]) >= 4.5
    dark = scheme == ".dark"
    code = re.findall(
        r"^(\.dark )?\.pod-text (?::is\(\.|\.g)[^{]*\{ color: (#[0-9a-f]{6})", css, re.MULTILINE
    )
    shades = [colour for prefix, colour in code if bool(prefix) == dark]
    assert len(shades) == 8
    for colour in shades:
        assert contrast(colour, colours["sunken"]) >= 4.5, colour
