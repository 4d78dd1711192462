"""The lab page with rounds by DPO, by PPO and DPO, and on demonstrations."""

import re

from data.incoming import ImportedRanking
from tests.annotate import FOUR
from tests.test_lab_browser import fact, lab, panel, store

pytest_plugins = ["tests.browser"]
__all__ = ["store"]  # a fixture

PPO = {
    "score_before": -0.1, "score_after": 0.31, "kl": 2.5, "length_before": 20.0, "length_after": 18.0,
    "win_rate": 0.6, "win_rate_low": 0.5, "win_rate_high": 0.7, "seconds": 61.0, "memory_mb": 900.4,
}  # fmt: skip
DPO = PPO | {
    "score_after": 0.62, "kl": 1.9, "win_rate": 0.71, "win_rate_low": 0.61, "win_rate_high": 0.8,
    "seconds": 12.0, "memory_mb": 801.0,
}  # fmt: skip
BOTH = DPO | {f"{method}/{k}": v for method, own in (("ppo", PPO), ("dpo", DPO)) for k, v in own.items()}
SFT = {
    "demonstrations": 80.0, "heldout_demonstrations": 10.0, "loss_before": 1.2, "loss_after": 0.4,
    "loss_base": 2.5, "loss_prompted_base": 1.6, "perplexity_before": 3.32, "perplexity_after": 1.49,
    "perplexity_base": 12.18, "perplexity_prompted_base": 4.95,
}  # fmt: skip


def open_round(page, number):
    page.get_by_role("button", name=f"Round {number}", exact=True).click()
    return page.locator(f"#round-{number} table").first


def test_ppo_and_dpo_stand_side_by_side(store, visit):
    from playwright.sync_api import expect

    round_ = store.begin_round({}, "both")
    store.add_metrics(round_.id, 1, 1, {"dpo/loss": 0.69, "objective/kl": 0.5})
    best = {"policy/best_update": 7.0}  # counts DPO's steps, beside PPO's one update
    store.add_metrics(round_.id, 1, 7, {"dpo/heldout_score": 0.62, "dpo/heldout_kl": 1.9} | best)
    store.beat("dpo", f"round {round_.id}: DPO step 7 on 600 preferences")
    page = lab(visit)
    expect(fact(page, "Worker")).to_contain_text("Training the policy (DPO)")
    expect(panel(page, "dpo/heldout_score")).to_contain_text("0.620")
    expect(panel(page, "sft/loss")).to_be_hidden()
    page.get_by_role("button", name="Show as table").click()
    expect(page.locator(".curves-table caption")).to_have_text(
        ["PPO updates, newest first", "DPO, newest first"]
    )
    expect(page.locator(".curves-table table").first.locator("tbody tr")).to_have_count(1)
    store.end_round(round_.id, "rejected", "by DPO, and not better", BOTH)
    page = lab(visit, "rounds")
    expect(page.locator(".round-row").first).to_contain_text("PPO and DPO")
    rows = open_round(page, round_.id).locator("tr")
    expect(rows.nth(0)).to_have_text("PPODPO")
    expect(rows.nth(1)).to_contain_text("60 %50 % to 70 %71 %61 % to 80 %")
    expect(rows.filter(has_text="KL, nats")).to_contain_text("2.501.90")
    expect(rows.filter(has_text="Time")).to_contain_text("12 s")
    expect(rows.filter(has_text="Most memory")).to_contain_text("900 MiB801 MiB")

    page.set_viewport_size({"width": 390, "height": 800})  # rounds become cards, their figures stay a table
    expect(page.locator(".round-row th").first).to_have_css("display", "flex")
    expect(rows.nth(0)).to_be_visible()
    left, right = (cell.bounding_box() for cell in rows.nth(1).locator("td").all())
    assert left["x"] < right["x"]
    assert left["y"] == right["y"]
    assert page.locator(".round-samples .scroll").evaluate("box => box.scrollWidth <= box.clientWidth")


def test_learning_from_demonstrations_is_asked_for_and_shown_beside_prompting(store, site, visit):
    from playwright.sync_api import expect

    page = lab(visit)
    learn = page.locator('[data-command="sft"]')
    expect(learn).to_have_text("Learn from demonstrations (0)")
    expect(learn).to_have_attribute(
        "title", "There are no demonstrations yet: write better responses, or import some."
    )
    train = page.get_by_role("button", name="Train now")
    expect(train).to_have_attribute("title", re.compile("no rankings to train on yet"))
    store.add_imported(
        store.begin_import("pairs.jsonl"), [ImportedRanking("Why?", ("Because.", "No."), (1, 2))]
    )
    expect(fact(page, "Rankings")).to_have_text(re.compile("none yet, and 1 imported preference$"))
    expect(train).to_have_attribute("aria-disabled", "false")  # they are enough
    from labeling.store import Better, Remarks

    person = store.add_person("token of Ana", "Ana", "human").id
    site.add_task(FOUR)
    task = store.claim_task(person)
    store.add_ranking(person, task.id, "one", [1, 2, 3, 4], 1.0, Remarks(better=Better("Better.")))
    expect(learn).to_have_text("Learn from demonstrations (1)")
    learn.click()
    page.get_by_role("button", name="Learn from 1 demonstration").click()
    expect(page.locator(".control-answer")).to_contain_text("Learn from demonstrations: asked.")
    assert [c["name"] for c in store.waiting_commands()] == ["sft"]

    before = store.begin_round({"ppo": {"kl_limit": 1.0}}, "dpo")
    store.add_metrics(before.id, 1, 7, {"dpo/heldout_kl": 1.9})
    store.end_round(before.id, "rejected", "too far")
    round_ = store.begin_round({}, "sft")
    store.add_metrics(round_.id, 1, 4, {"sft/loss": 0.9, "sft/heldout_loss": 0.8})
    store.beat("sft", f"round {round_.id}: learning")
    expect(fact(page, "Worker")).to_contain_text("Learning from demonstrations (SFT)")
    expect(fact(page, "Next round")).to_contain_text("on demonstrations")
    expect(panel(page, "sft/heldout_loss")).to_contain_text("0.800")
    expect(panel(page, "dpo/heldout_kl")).to_contain_text("over the limit")  # which SFT does not know
    expect(learn).to_have_attribute("title", "A round is running already.")
    store.end_round(round_.id, "rejected", "not better", SFT)
    page = lab(visit, "rounds")
    row = page.locator(".round-row").first
    expect(row).to_contain_text("SFT")
    expect(row).to_contain_text("80demonstrations")
    rows = open_round(page, round_.id).locator("tbody tr")
    expect(rows).to_have_text([
        "Base model2.5012.2", "Base model, with examples in the prompt1.604.95", "Policy before1.203.32",
        "After SFT0.4001.49",
    ])  # fmt: skip
