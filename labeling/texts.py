"""The annotate page's texts, one catalogue for each language: `widgets/texts/en.json` and its translations.

A text may hold `{names}`, which the page fills in, and `[X]`, which it draws as a key. Where a number
decides, the entry is an object by plural category ("one", "few", "other" ...), as Unicode's CLDR names them
and the browser's `Intl.PluralRules` finds them.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "widgets" / "texts"
LANGUAGES = {
    "en": "English",
    "de": "Deutsch",
    "es": "Español",
    "fr": "Français",
    "zh": "中文",
    "ar": "العربية",
}


@lru_cache
def texts(language: str) -> dict[str, Any]:
    """The catalogue of one of LANGUAGES: key -> text, or texts by plural category."""
    return json.loads((FOLDER / f"{language}.json").read_text(encoding="utf-8"))
