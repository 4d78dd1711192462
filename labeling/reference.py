"""The API reference at /docs: one page written from the app's own OpenAPI description.

FastAPI's page loads its scripts from another host, which works neither without internet nor under our
content policy.
"""

import json
from html import escape
from typing import Any

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
h2 { font-size: 1.1rem; margin: 2.5rem 0 .25rem; } h2 code { margin-right: .75rem; }
code, pre { font: .9em/1.5 ui-monospace, monospace; } p { margin: .25rem 0; }
pre { background: color-mix(in srgb, currentColor 7%, transparent); padding: .75rem; border-radius: 8px;
      overflow-x: auto; }
:root { color-scheme: light dark; }
"""


def api_page(description: dict[str, Any]) -> str:
    """The page as HTML."""
    info = description["info"]
    title = f"{escape(info['title'])} API"
    routes = [
        _route(method, path, route, description)
        for path, methods in description["paths"].items()
        for method, route in methods.items()
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style><h1>{title} {escape(info['version'])}</h1>"
        f'<p>{escape(info.get("description", ""))} As data: <a href="/openapi.json">openapi.json</a>.</p>'
        f"{''.join(routes)}</html>"
    )


def _route(method: str, path: str, route: dict[str, Any], description: dict[str, Any]) -> str:
    parts = [f"<h2><code>{method.upper()} {escape(path)}</code>{escape(route.get('summary', ''))}</h2>"]
    parts.append(f"<p>{escape(route.get('description', ''))}</p>")
    for parameter in route.get("parameters", []):
        parts.append(f"<p><code>{escape(parameter['name'])}</code> in the {escape(parameter['in'])}.</p>")
    content = route.get("requestBody", {}).get("content", {})
    for body in content.values():
        schema = _resolved(body["schema"], description)
        fields = {name: _words(field) for name, field in schema.get("properties", {}).items()}
        required = ", ".join(schema.get("required", [])) or "nothing"
        text = json.dumps(fields, indent=2, ensure_ascii=False)
        parts.append(f"<pre>{escape(text)}</pre><p>Required: {escape(required)}.</p>")
    return "".join(parts)


def _resolved(schema: dict[str, Any], description: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return description["components"]["schemas"][name] if name else schema


def _words(field: dict[str, Any]) -> str:
    """A field in a few words: its type, its choices, what it means."""
    kinds = [field.get("type"), *(option.get("type") for option in field.get("anyOf", []))]
    words = [" or ".join(filter(None, kinds))]
    if "enum" in field:
        words.append("one of " + ", ".join(map(str, field["enum"])))
    if "description" in field:
        words.append(field["description"])
    if "examples" in field:
        words.append(f"example: {json.dumps(field['examples'][0])}")
    return "; ".join(filter(None, words))
