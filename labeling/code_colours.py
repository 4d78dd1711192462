"""Code in a response, in colours: Pygments' spans with classes, which `widgets/page.css` gives their colours.

A page must never wait for a lexer, and the time of many grows with the square of the length, or worse: 4,000
characters of `a\\n` as C# took 3 s, 500 of `0` as mcfunction had not ended after 200 s, and nobody else was
answered meanwhile. So only languages are coloured that took less than a second for the worst 4,000 characters
found, and only code that is not longer.
"""

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

LONGEST = 4_000  # characters, of all the code in one text
# By the first of a lexer's names: "py" is "python" too, and R's is "splus". None of them hands parts of the
# code to a lexer that the code names, as Markdown's does.
LANGUAGES = {
    "bash", "batch", "c", "clojure", "console", "cpp", "css", "dart", "diff", "docker", "elixir", "fortran",
    "go", "graphql", "haskell", "html", "ini", "java", "javascript", "json", "jsx", "julia", "kotlin", "lua",
    "matlab", "nginx", "objective-c", "ocaml", "perl", "php", "powershell", "pycon", "python", "pytb", "ruby",
    "rust", "scala", "scss", "splus", "sql", "swift", "tex", "toml", "tsx", "typescript", "vim", "xml",
    "yaml", "zig",
}  # fmt: skip
_FORMATTER = HtmlFormatter(nowrap=True)


def in_colours(code: str, language: str) -> str | None:
    """`code` as HTML with spans; None where the language is not one of these."""
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return None
    return highlight(code, lexer, _FORMATTER) if lexer.aliases[0] in LANGUAGES else None
