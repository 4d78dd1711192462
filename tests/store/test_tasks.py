"""Prompts and tasks: which one next, for whom, for how long."""

from collections import Counter

import pytest

from labeling.store import NewResponse, StoreError, TaskClosed, TaskLeased, TaskUnknown
from tests.store.make import add_task, add_version, rank


def test_prompts_are_added_once_and_keep_their_split(store):
    assert store.add_prompts([("a", "train"), ("b", "heldout"), ("a", "train")], "test") == 2
    assert store.add_prompts([("a", "heldout"), ("c", "train")], "again") == 1
    assert [(p.text, p.split) for p in store.prompts()] == [("a", "train"), ("b", "heldout"), ("c", "train")]
    assert [p.text for p in store.prompts("heldout")] == ["b"]


def test_other_prompts_take_the_place_of_the_earlier_ones_and_rankings_stay(store, anna):
    ranked, waiting, shown = (add_task(store, text=text) for text in ("a", "b", "c"))
    store.use_prompts([(t, "train") for t in "abc"] + [("held", "heldout")], "first")
    assert store.open_tasks() == 3
    rank(store, anna, "n1")
    assert store.claim_task(anna).id == waiting
    store.renew_lease(anna, waiting, lease_seconds=-1)  # gone away
    bea = store.add_person("bea", "Bea", "human").id
    assert store.claim_task(bea).id == waiting
    store.use_prompts([("b", "heldout"), ("new", "train"), ("never", "heldout")], "second")
    assert [(p.text, p.split) for p in store.prompts()] == [
        ("b", "train"), ("new", "train"), ("never", "heldout")]  # fmt: skip  # a known text keeps its split
    assert {p.text for p in store.next_prompts(9, 0)} == {"b", "new"}
    assert store.row("select state from tasks where id = ?", [shown])["state"] == "retired"
    assert store.row("select state from tasks where id = ?", [ranked])["state"] == "ranked"
    assert [r.prompt for r in store.rankings()] == ["a"]
    store.use_prompts([("a", "train")], "first again")
    assert [p.text for p in store.prompts()] == ["a"]
    assert store.open_tasks() == 1  # b's, which Bea is looking at


def test_shuffled_prompts_depend_on_the_seed_alone(store):
    store.add_prompts([(str(i), "heldout") for i in range(50)], "test")
    one = store.prompts("heldout", seed=1)
    assert one == store.prompts("heldout", seed=1)
    assert one != store.prompts("heldout", seed=2)
    assert sorted(one, key=lambda p: p.id) == store.prompts("heldout")


def test_next_prompts_go_around_before_any_comes_again(store):
    store.add_prompts([(str(i), "train") for i in range(5)] + [("never", "heldout")], "test")
    seen = []
    for _ in range(15):
        [prompt] = store.next_prompts(1, 0)
        store.add_task(prompt.id, 0, [NewResponse("a", 1, True), NewResponse("b", 1, True)])
        seen.append(prompt.text)
    assert set(Counter(seen).values()) == {3}
    assert all(len(set(seen[i : i + 5])) == 5 for i in (0, 5, 10))
    assert "never" not in seen
    assert len(store.next_prompts(100, 0)) == 5


def test_a_prompt_passed_over_waits_its_turn_for_that_policy_only(store):
    store.add_prompts([(str(i), "train") for i in range(3)], "test")
    [first] = store.next_prompts(1, 0)
    store.pass_over(first.id, 0)
    assert first not in store.next_prompts(2, 0)
    others = store.next_prompts(2, 0)
    for prompt in others:
        store.pass_over(prompt.id, 0)
    store.pass_over(first.id, 0)
    assert first not in store.next_prompts(2, 0)
    [first_of_1] = store.next_prompts(1, 1)
    assert first_of_1 in store.prompts()


def test_a_task_keeps_its_shuffled_order_and_its_provenance(store, anna):
    task_id = add_task(store, seed=3)
    shown = store.task(task_id).responses
    assert sorted(shown) == [f"a prompt, response {i}" for i in range(4)]
    assert store.claim_task(anna).responses == shown == store.task(task_id).responses
    orders = {tuple(store.task(add_task(store, seed=seed)).responses) for seed in range(30)}
    assert len(orders) > 10
    row = store.row("select * from responses where text = 'a prompt, response 1'")
    assert (row["policy_version"], row["tokens"], row["finished"]) == (0, 5, 0)
    assert row["sampling"] == '{"temperature": 0.8}'


@pytest.mark.parametrize("responses", [0, 1, 5])
def test_a_task_has_two_to_four_responses(store, responses):
    with pytest.raises(StoreError, match="2 to 4"):
        add_task(store, responses=responses)
    assert store.open_tasks() == 0


def test_a_lease_brings_back_the_same_task_and_nobody_elses(store, anna, ben):
    first, second = add_task(store, "one"), add_task(store, "two")
    assert store.claim_task(anna).id == store.claim_task(anna).id == first
    assert store.claim_task(ben).id == second
    carl = store.add_person("carl's token", "carl", "human").id
    assert store.claim_task(carl) is None


def test_a_lease_expires_by_itself_and_can_be_renewed_until_somebody_takes_it(store, anna, ben):
    task = add_task(store)
    store.claim_task(anna, lease_seconds=-1)
    store.renew_lease(anna, task, lease_seconds=60)
    assert store.claim_task(ben) is None
    store.renew_lease(anna, task, lease_seconds=-1)
    assert store.claim_task(ben).id == task
    with pytest.raises(TaskLeased):
        store.renew_lease(anna, task)
    with pytest.raises(TaskLeased):
        store.add_ranking(anna, task, "n", [1, 2, 3, 4])
    with pytest.raises(TaskUnknown):
        store.renew_lease(anna, 999)
    store.add_ranking(ben, task, "n", [1, 2, 3, 4])
    with pytest.raises(TaskClosed):
        store.renew_lease(ben, task)


def test_published_tasks_come_first_then_the_newest_then_the_oldest_task(store, anna, ben):
    old = add_task(store, "of policy 0")
    add_version(store)
    add_version(store)
    of_1, of_2, later_of_2 = (add_task(store, f"{v} {i}", v) for i, v in enumerate([1, 2, 2]))
    order = []
    for i in range(2):
        order.append(rank(store, anna, f"n{i}").task_id)
    assert order == [of_2, later_of_2]
    store.publish(0, "back")
    assert store.claim_task(anna).id == old
    assert store.claim_task(ben).id == of_1


def test_a_task_on_somebodys_screen_is_open_but_not_claimable(store, anna, ben):
    add_task(store, "a")
    add_task(store, "b")
    add_task(store, "of another policy", add_version(store))
    assert store.claimable_tasks(0) == 2
    store.publish(0, "back")
    store.claim_task(anna)
    assert (store.claimable_tasks(0), store.open_tasks(0)) == (1, 2)
    store.claim_task(ben, lease_seconds=-1)  # gone home
    assert store.claimable_tasks(0) == 1


def test_a_sample_that_was_being_written_when_the_worker_ended_is_given_up(store):
    died_of, waiting = store.add_samples("b", "a prompt", [0, 1])
    store.update_sample(died_of, text="half", state="running")
    assert store.fail_running_samples("The worker ended.") == 1
    assert [s["id"] for s in store.waiting_samples()] == [waiting]
    assert (store.samples("b")[0]["state"], store.samples("b")[0]["error"]) == ("failed", "The worker ended.")


def test_retiring_leaves_what_somebody_looks_at(store, anna):
    held, forgotten, untouched = (add_task(store, str(i)) for i in range(3))
    assert store.claim_task(anna).id == held
    ghost = store.add_person("ghost", "ghost", "human").id
    assert store.claim_task(ghost, lease_seconds=-1).id == forgotten
    version = add_version(store)
    new = add_task(store, "new", version)
    assert store.retire_tasks(before=version) == 2
    assert store.open_tasks() == 2
    assert store.open_tasks(version) == 1
    with pytest.raises(TaskClosed, match="retired"):
        store.add_ranking(anna, untouched, "n", [1, 2, 3, 4])
    store.publish(0, "back")
    assert store.retire_tasks(other_than=0) == 1
    with pytest.raises(TaskClosed):
        store.add_ranking(anna, new, "n", [1, 2, 3, 4])
    store.add_ranking(anna, held, "n", [1, 2, 3, 4])
