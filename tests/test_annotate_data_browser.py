"""Everything that can be said of a task, said in a browser and read back from the file, column by column."""

import json
import time

from labeling.form import Form
from tests.annotate import FOUR, annotate, press, saved, shown

pytest_plugins = ["tests.browser"]


def test_all_that_was_said_is_in_the_file_as_it_was_said(site, visit):
    site.store.put_form(Form(ratings=("tone",)))
    version = site.store.add_guidelines("Be exact.").version
    task = site.add_task(FOUR)
    page = annotate(visit)
    order = shown(page)
    sent = []
    page.on("request", lambda r: sent.append(r.post_data) if r.url.endswith("/api/rankings") else None)
    before = time.time()
    try:
        press(page, "2 1 2 n")  # A and C tied, D not compared
        page.get_by_role("button", name="Marks of Response A").click()
        for name in ("⚑ false", "⚑ repeats itself", "+ polite", "− too long"):
            page.get_by_role("button", name=name).click()
        page.get_by_role("group", name="tone, 1 (worst) to 5").get_by_role("button", name="2").click()
        page.get_by_role("button", name="Marks of Response A").click()
        press(page, "w")
        page.keyboard.type("  “Quoted”, {braces} ${and} <tags>; 日本語  ")
        press(page, "Escape")
        page.get_by_role("button", name="Write a better one from B").click()
        press(page, "End")
        page.keyboard.type("!\nAnd more.")
        press(page, "Escape Enter Enter")
        saved(page)
    finally:
        site.store.put_form(Form())
    [body] = map(json.loads, sent)
    columns = (
        "id", "nonce", "kind", "partial", "acceptable", "strength", "comment", "skip_reason", "guidelines",
        "withdrawn_at", "withdrawn_for", "seconds", "created_at", "person_id",
    )  # fmt: skip
    [row] = site.query(f"select {', '.join(columns)} from rankings where task_id = ?", task)
    kept = dict(zip(columns, row, strict=True))
    ranking, seconds, created_at = (kept.pop(name) for name in ("id", "seconds", "created_at"))
    assert kept.pop("person_id") is not None
    assert kept == {
        "nonce": body["nonce"],
        "kind": "ranked",
        "partial": 1,
        "acceptable": 0,
        "strength": 0,
        "comment": "“Quoted”, {braces} ${and} <tags>; 日本語",
        "skip_reason": "",
        "guidelines": version,
        "withdrawn_at": None,
        "withdrawn_for": None,
    }
    assert seconds == body["seconds"]
    assert 0 < seconds <= time.time() - before + 10
    assert before <= created_at <= time.time()
    sql = """
        select position, text, rank, marks from ranks join responses on responses.id = response_id
        where ranking_id = ? order by position
    """
    rows = [(*row[:3], json.loads(row[3])) for row in site.query(sql, ranking)]
    said = {
        "flags": ["false", "repeats itself"],
        "reasons_for": ["polite"],
        "reasons_against": ["too long"],
        "ratings": {"tone": 2},
    }
    assert rows == [
        (0, order[0], 2, said),
        (1, order[1], 1, {}),
        (2, order[2], 2, {}),
        (3, order[3], 3, {}),
    ]
    sql = """
        select demonstrations.text, responses.text, prompts.text from demonstrations
        join responses on responses.id = started_from join prompts on prompts.id = demonstrations.prompt_id
        where ranking_id = ?
    """
    assert site.query(sql, ranking) == [(f"{order[1]}!\nAnd more.", order[1], "Which is best?")]
    # and as training reads it
    [read] = [r for r in site.store.rankings() if r.id == ranking]
    assert (read.responses, read.ranks, read.partial, read.acceptable) == (order, [2, 1, 2, 3], True, False)
    assert read.better == f"{order[1]}!\nAnd more."
