"""How the tests ask the API, and look at what came of it."""

HTML = {"Accept": "text/html,application/xhtml+xml"}


def post(client, path, body, **how):
    return client.post(path, json=body, **how)


def refused(answer, status) -> str:
    """The one sentence of a refusal."""
    assert answer.status_code == status, answer.text
    sentence = answer.json()["error"]
    assert list(answer.json()) == ["error"]
    assert sentence[0].isupper() or ":" in sentence or "_" in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def stored(store) -> tuple[int, int, int]:
    tables = ("rankings", "ranks", "commands")
    return tuple(store.value(f"select count(*) from {table}") for table in tables)
