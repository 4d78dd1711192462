"""The store, one process: what goes in comes out, and every rule of its methods."""

import gc
import threading
from collections import Counter

import pytest

from labeling.store import (
    InvalidRanking,
    NewPolicy,
    NewResponse,
    NonceReused,
    StoreError,
    TaskClosed,
    TaskLeased,
    TaskUnknown,
    database,
    open_store,
)


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path, create=True, migrate=True) as store:
        store.add_reference("models/sft", "starter")
        yield store


@pytest.fixture
def anna(store):
    return store.add_person("anna's token", "anna", "human").id


@pytest.fixture
def ben(store):
    return store.add_person("ben's token", "ben", "program").id


def add_task(store, text="a prompt", version=0, responses=4, **how):
    store.add_prompts([(text, "train")], "test")
    prompt = next(p for p in store.prompts() if p.text == text)
    new = [
        NewResponse(f"{text}, response {i}", 5, i % 2 == 0, {"temperature": 0.8}) for i in range(responses)
    ]
    return store.add_task(prompt.id, version, new, **how)


def add_version(store):
    """A policy made by a round, published."""
    round_ = store.begin_round({})
    version = store.next_version()
    store.end_round(round_.id, "published", None, {}, NewPolicy(version, f"policies/{version}", "starter"))
    return version


def rank(store, person, nonce, ranks=(1, 2, 3, 4)):
    """Claim a task and rank it."""
    task = store.claim_task(person)
    return store.add_ranking(person, task.id, nonce, None if ranks is None else list(ranks))


# people


def test_a_person_is_known_by_their_token_and_the_token_is_not_kept(store, tmp_path):
    person = store.add_person("a secret", "anna", "human")
    assert store.session("a secret") == person
    assert store.session("another secret") is None
    assert store.add_person("a secret", "somebody else", "program") == person
    store.close()
    assert b"a secret" not in b"".join(path.read_bytes() for path in tmp_path.glob("labels.db*"))


def test_names_are_made_unique(store):
    names = [store.add_person(f"token {i}", "anna", "human").name for i in range(3)]
    assert names == ["anna", "anna 2", "anna 3"]
    third = store.session("token 2")
    assert store.rename_person(third.id, "anna").name == "anna 3"
    assert store.rename_person(third.id, "carl").name == "carl"


def test_there_is_one_shared_program(store):
    shared = store.shared_program()
    assert shared == store.shared_program()
    assert (shared.name, shared.kind) == ("api", "program")
    assert store.session("shared:api") is None


def test_a_person_is_human_or_program(store):
    with pytest.raises(StoreError, match="human or program"):
        store.add_person("token", "hal", "computer")


# prompts


def test_prompts_are_added_once_and_keep_their_split(store):
    assert store.add_prompts([("a", "train"), ("b", "heldout"), ("a", "train")], "test") == 2
    assert store.add_prompts([("a", "heldout"), ("c", "train")], "again") == 1
    assert [(p.text, p.split) for p in store.prompts()] == [("a", "train"), ("b", "heldout"), ("c", "train")]
    assert [p.text for p in store.prompts("heldout")] == ["b"]


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


# tasks


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


# rankings


def test_what_is_stored_is_what_was_ranked(store, anna, ben):
    wanted = {}
    for i, ranks in enumerate([[4, 3, 2, 1], [1, 2, 2, 3], [1, 1, 1, 1], [2, 4, 4, 2]]):
        add_task(store, f"prompt {i}", seed=i)
        ranking = rank(store, (anna, ben)[i % 2], f"nonce {i}", ranks)
        wanted[ranking.id] = (store.task(ranking.task_id).responses, ranking.ranks)
    assert [ranks for _, ranks in wanted.values()] == [[4, 3, 2, 1], [1, 2, 2, 3], [1, 1, 1, 1], [1, 2, 2, 1]]
    read = store.rankings()
    assert {r.id: (r.responses, r.ranks) for r in read} == wanted
    assert [r.prompt for r in read] == [f"prompt {i}" for i in range(4)]
    assert [r.person_kind for r in read] == ["human", "program", "human", "program"]
    assert [r.id for r in store.rankings(through=read[1].id)] == [read[0].id, read[1].id]
    rows = store.rows(
        "select text, rank from ranks join responses on responses.id = response_id where ranking_id = ?",
        [read[0].id],
    )
    assert {row["text"]: row["rank"] for row in rows} == dict(
        zip(read[0].responses, read[0].ranks, strict=True)
    )


def test_the_same_nonce_again_changes_nothing(store, anna):
    task = add_task(store)
    first = store.add_ranking(anna, task, "nonce", [1, 3, 3, 4], seconds=2.5)
    assert store.add_ranking(anna, task, "nonce", [1, 3, 3, 4]) == first
    assert store.add_ranking(anna, task, "nonce", [1, 2, 2, 3]) == first
    assert store.ranking_count() == 1
    assert store.value("select seconds from rankings") == 2.5
    skipped = store.add_ranking(anna, add_task(store, "other"), "skip", None)
    assert store.add_ranking(anna, skipped.task_id, "skip", None) == skipped


def test_a_nonce_for_another_submission_is_refused(store, anna, ben):
    task, other = add_task(store), add_task(store, "other")
    store.add_ranking(anna, task, "nonce", [1, 2, 3, 4])
    for person, task_id, ranks in [
        (anna, task, [1, 2, 3, 3]),
        (anna, task, [1, 2]),
        (anna, task, None),
        (anna, other, [1, 2, 3, 4]),
        (ben, task, [1, 2, 3, 4]),
    ]:
        with pytest.raises(NonceReused):
            store.add_ranking(person, task_id, "nonce", ranks)
    assert store.ranking_count() == 1
    assert store.open_tasks() == 1


def test_what_is_refused_stores_nothing(store, anna, ben):
    task = add_task(store)
    store.claim_task(anna)
    for person, task_id, ranks, error in [
        (anna, task, [1, 2, 3], InvalidRanking),
        (anna, task, [1, 2, 3, 5], InvalidRanking),
        (anna, task, [1, 2, 3, True], InvalidRanking),
        (anna, 999, [1, 2, 3, 4], TaskUnknown),
        (ben, task, [1, 2, 3, 4], TaskLeased),
    ]:
        with pytest.raises(error):
            store.add_ranking(person, task_id, "nonce", ranks)
    assert store.value("select count(*) from rankings") == store.value("select count(*) from ranks") == 0
    store.add_ranking(anna, task, "nonce", [1, 2, 3, 4])
    with pytest.raises(TaskClosed, match="already ranked"):
        store.add_ranking(anna, task, "another", [1, 2, 3, 4])


def test_a_skip_closes_the_task_and_counts_nowhere(store, anna, ben):
    task = add_task(store)
    skip = rank(store, anna, "skip", None)
    assert (skip.task_id, skip.kind, skip.ranks) == (task, "skipped", None)
    assert store.claim_task(ben) is None
    assert store.ranking_count() == store.new_rankings() == store.person_counts(anna)["total"] == 0
    assert store.ranking_count(include_skips=True) == 1
    assert store.rankings() == []


def test_counts(store, anna, ben, monkeypatch):
    for i in range(5):
        add_task(store, str(i))
        rank(store, anna if i < 3 else ben, f"n{i}")
    assert store.ranking_count() == store.new_rankings_since(0) == 5
    assert store.ranking_counts_by_kind() == {"human": 3, "program": 2}
    assert store.new_rankings_since(store.last_ranking_id() - 1) == 1
    assert store.person_counts(anna) == {"today": 3, "total": 3}
    counts = {person["name"]: (person["rankings"], person["skips"]) for person in store.people()}
    assert counts == {"anna": (3, 0), "ben": (2, 0)}
    real = database.now
    monkeypatch.setattr("labeling.store.rankings.now", lambda: real() + 2 * 86400)
    assert store.person_counts(anna) == {"today": 0, "total": 3}


# undo


def test_undo_reopens_the_task_with_its_ranks_for_the_same_person(store, anna, ben):
    task = add_task(store)
    add_task(store, "other")
    first = rank(store, anna, "first", [2, 1, 3, 3])
    other = store.claim_task(anna)
    undone = store.undo(anna)
    assert (undone.id, undone.previous_ranks) == (task, [2, 1, 3, 3])
    assert store.ranking_count() == 0
    assert store.rankings() == []
    assert store.claim_task(anna) == undone  # a reload shows it, with the ranks
    assert store.task(task, ben).previous_ranks is None
    assert store.claim_task(ben).id == other.id  # the lease on what came next was let go
    again = store.add_ranking(anna, task, "second", [1, 2, 3, 4])
    assert again.id != first.id
    assert [r.ranks for r in store.rankings()] == [[1, 2, 3, 4]]
    assert store.value("select count(*) from rankings where withdrawn_at is not null") == 1


def test_a_repeated_nonce_of_an_undone_ranking_does_not_bring_it_back(store, anna):
    task = add_task(store)
    first = store.add_ranking(anna, task, "first", [1, 2, 3, 4])
    store.undo(anna)
    assert store.add_ranking(anna, task, "first", [1, 2, 3, 4]) == first
    assert store.ranking_count() == 0
    assert store.open_tasks() == 1


def test_undo_goes_back_step_by_step_through_skips_and_touches_only_ones_own(store, anna, ben):
    for i in range(3):
        add_task(store, str(i))
    one = rank(store, anna, "one")
    two = rank(store, anna, "two", None)
    rank(store, ben, "three")
    undone = store.undo(anna)
    assert (undone.id, undone.previous_ranks) == (two.task_id, None)
    assert store.undo(anna).id == one.task_id
    assert store.undo(anna) is None
    assert store.ranking_count() == 1


def test_undo_shows_a_task_of_an_older_policy_first(store, anna):
    old = add_task(store)
    rank(store, anna, "old")
    version = add_version(store)
    add_task(store, "new", version)
    store.retire_tasks(before=version)
    assert store.undo(anna).id == old
    assert store.retire_tasks(before=version) == 0  # it is on somebody's screen
    assert store.claim_task(anna).id == old


def test_an_undone_task_is_somebody_elses_when_its_lease_ran_out(store, anna, ben):
    task = add_task(store)
    rank(store, anna, "one")
    store.undo(anna, lease_seconds=-1)
    taken = store.claim_task(ben)
    assert (taken.id, taken.previous_ranks) == (task, None)


# policies and rounds


def test_the_reference_is_added_and_published_once(store):
    again = store.add_reference("moved/sft", "starter")
    assert (again.version, again.path) == (0, "moved/sft")
    assert store.published().version == 0
    assert store.value("select count(*) from publications") == 1
    with pytest.raises(StoreError, match="made with starter, not org/other"):
        store.add_reference("other", "org/other")


def test_publishing_goes_back_and_forth_and_keeps_every_step(store):
    assert add_version(store) == 1
    assert store.published().version == 1
    store.publish(0, "chosen by a person")
    assert store.published().version == 0
    assert store.next_version() == 2
    assert [p.version for p in store.policies()] == [0, 1]
    with pytest.raises(StoreError, match="no policy 9"):
        store.publish(9, "a slip")
    assert store.value("select count(*) from publications") == 3


def test_a_round_uses_what_was_there_when_it_began(store, anna):
    for i in range(6):
        add_task(store, str(i))
    rank(store, anna, "0")
    rank(store, anna, "1", None)
    last = rank(store, anna, "2").id
    assert store.new_rankings() == 2
    round_ = store.begin_round({"updates": 3})
    assert (round_.trained_from, round_.trained_through, round_.rankings) == (0, last, 2)
    assert (round_.attempts, round_.parent_version, round_.config) == (1, 0, {"updates": 3})
    rank(store, anna, "3")
    assert store.new_rankings() == 1
    assert [r.id for r in store.rankings(through=round_.trained_through)] == [1, 3]
    ended = store.end_round(round_.id, "rejected", "the gate failed", {"accuracy": 0.5, "kl": float("nan")})
    assert (ended.state, ended.reason, ended.policy_version) == ("rejected", "the gate failed", None)
    assert ended.summary == {"accuracy": 0.5, "kl": None}
    assert store.new_rankings() == 1
    second = store.begin_round({})
    assert (second.trained_from, second.rankings) == (last, 3)
    assert [r.id for r in store.rounds()] == [second.id, round_.id]


def test_a_round_that_was_killed_begins_again_with_the_same_rankings(store, anna):
    for i in range(4):
        add_task(store, str(i))
    rank(store, anna, "0")
    first = store.begin_round({"updates": 3})
    rank(store, anna, "1")
    store.publish(0, "somebody published in between")
    assert store.running_round() == first
    again = store.begin_round({"updates": 2})
    assert (again.id, again.trained_through, again.rankings) == (first.id, first.trained_through, 1)
    assert (again.attempts, again.config) == (2, {"updates": 2})
    store.end_round(first.id, "stopped", "by a person")
    assert store.running_round() is None
    assert store.begin_round({}).trained_from == first.trained_through


def test_a_round_ends_once_and_with_its_policy_or_not_at_all(store):
    round_ = store.begin_round({})
    policy = NewPolicy(store.next_version(), "policies/1", "starter", {"kl": 2.0})
    for state, given in [("published", None), ("rejected", policy), ("running", None), ("lost", None)]:
        with pytest.raises(StoreError):
            store.end_round(round_.id, state, "", {}, given)
    assert store.running_round() == round_
    ended = store.end_round(round_.id, "published", "better", {"kl": 2.0}, policy)
    assert ended.policy_version == 1
    made = store.policy(1)
    assert (made.parent_version, made.round_id, made.summary) == (0, round_.id, {"kl": 2.0})
    assert store.published() == made
    with pytest.raises(StoreError, match="not running"):
        store.end_round(round_.id, "failed")


def test_a_failed_publication_leaves_no_trace(store):
    round_ = store.begin_round({})
    clash = NewPolicy(0, "policies/0", "starter")  # version 0 is taken
    with pytest.raises(Exception, match="UNIQUE"):
        store.end_round(round_.id, "published", None, {}, clash)
    assert store.running_round() == round_
    assert len(store.policies()) == 1


def test_curves_of_a_repeated_round_are_the_newest_attempts(store):
    round_ = store.begin_round({})
    store.add_metrics(round_.id, 1, 0, {"objective/kl": 1.0, "objective/score": float("nan")})
    store.add_metrics(round_.id, 1, 1, {"objective/kl": float("inf")})
    [point] = store.metrics()
    assert (point["round"], point["step"], point["name"], point["value"]) == (
        round_.id,
        0,
        "objective/kl",
        1.0,
    )
    store.begin_round({})
    assert store.metrics() == []
    store.add_metrics(round_.id, 2, 0, {"objective/kl": 3.0})
    [point] = store.metrics(point["id"])
    assert (point["attempt"], point["value"]) == (2, 3.0)
    assert store.metrics(point["id"]) == []


# worker, commands, samples, settings, status


def test_the_heartbeat_keeps_the_last_error_until_it_is_cleared(store):
    assert store.worker_status()["seen"] is None
    store.beat("failed", "starting again", error="out of memory", pid=7)
    store.beat("idle", "waiting")
    assert store.worker_status()["error"] == "out of memory"
    store.beat("idle", "waiting", error=None)
    status = store.worker_status()
    assert (status["state"], status["detail"], status["error"]) == ("idle", "waiting", None)
    assert store.value("select count(*) from worker") == 1


def test_commands_wait_until_they_are_finished(store, anna):
    first = store.add_command("pause", person_id=anna)
    second = store.add_command("publish", {"policy_version": 0})
    assert [c["id"] for c in store.waiting_commands()] == [first, second]
    store.finish_command(first, "paused")
    [waiting] = store.waiting_commands()
    assert (waiting["name"], waiting["argument"]) == ("publish", {"policy_version": 0})
    assert [(c["id"], c["outcome"]) for c in store.commands()] == [(second, None), (first, "paused")]
    with pytest.raises(StoreError, match="explode"):
        store.add_command("explode")


def test_samples_grow_and_half_written_ones_are_written_again(store):
    base, reference = store.add_samples("batch", "hello", [-1, 0])
    store.update_sample(base, text="hel", state="running")
    assert [s["id"] for s in store.waiting_samples()] == [base, reference]
    store.update_sample(base, text="hello", state="done", score=1.5)
    store.update_sample(reference, state="failed", error="no memory")
    assert store.waiting_samples() == []
    shown = [
        (s["policy_version"], s["text"], s["score"], s["state"], s["error"]) for s in store.samples("batch")
    ]
    assert shown == [(-1, "hello", 1.5, "done", None), (0, "", None, "failed", "no memory")]


def test_settings(store):
    assert store.get_setting("missing", 3) == 3
    store.put_setting("config", {"a": [1, 2], "b": float("nan")})
    store.put_setting("config", {"a": [1], "b": float("nan")})
    assert store.get_setting("config") == {"a": [1], "b": None}


def test_status_has_the_facts(store, anna, ben):
    store.put_setting("config", {"rankings_per_round": 4})
    store.put_setting("model", "starter")
    store.put_setting("base", "models/base")
    for i in range(3):
        add_task(store, str(i))
        rank(store, anna if i else ben, f"n{i}")
    add_task(store, "open")
    status = store.status()
    assert (status["rankings"], status["programs"], status["open_tasks"]) == (3, 1, 1)
    assert (status["rankings_per_round"], status["until_next_round"]) == (4, 1)
    assert (status["policy_version"], status["model"], status["starter"], status["base"]) == (
        0,
        "starter",
        True,
        True,
    )
    assert (status["last_round"], status["paused"]) == (None, False)
    assert status["worker"].keys() == {"state", "detail", "error", "seen"}
    version = add_version(store)
    status = store.status()
    assert status["policy_version"] == status["last_round"]["policy_version"] == version
    assert status["until_next_round"] == 4


# transactions and threads


def test_a_write_is_kept_whole_or_not_at_all(store):
    def half():
        with store.write():
            store.add_command("pause")
            with store.write():
                store.add_command("resume")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert store.commands() == []
    assert not store.db.conn.in_transaction


def test_a_full_disk_is_one_sentence_and_loses_nothing(store, anna):
    task = add_task(store)
    pages = store.value("pragma page_count")
    store.value(f"pragma max_page_count = {pages}")
    with pytest.raises(StoreError, match=r"Not saved.*full"):
        store.add_prompts([(f"{i}" + "x" * 4000, "train") for i in range(100)], "test")
    store.value("pragma max_page_count = 100000")
    assert store.add_ranking(anna, task, "nonce", [1, 2, 3, 4]).id == 1


def test_threads_share_a_store_and_their_connections_end_with_them(store):
    errors = []

    def work(number):
        try:
            for i in range(5):
                store.add_command("pause", {"from": f"{number}/{i}"})
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(store.commands(100)) == 40
    gc.collect()
    assert len(store._open) == 1
