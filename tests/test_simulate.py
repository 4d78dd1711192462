"""Programmatic annotators: what noise means, and rankings through a real server."""

import itertools
import random
import socket
import threading
from collections import Counter
from dataclasses import fields

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from typer.testing import CliRunner

from app import cli
from labeling import api
from labeling import simulate as sim
from labeling.ranking import Order, check_order  # the rule the server applies
from labeling.store import NewResponse, open_store


def shares(scores, noise, draws=10_000, seed=0):
    """Share of pairs the wrong way round: over all told-apart pairs, and of best against worst alone."""
    rng = random.Random(seed)
    apart = sum(a != b for a, b in itertools.combinations(scores, 2))
    best, worst = scores.index(max(scores)), scores.index(min(scores))
    wrong = extreme = 0
    for _ in range(draws):
        ranks = sim.ranks_of(scores, noise, rng)
        wrong += sim.flipped(scores, ranks)
        extreme += ranks[best] > ranks[worst]
    return wrong / draws / apart, extreme / draws


@pytest.mark.parametrize(
    "scores", [[1, 2], [3, 1, 2], [4, 1, 3, 2], [1, 1, 2, 3], [5, 0, 0, 0], [2, 2, 1, 1]]
)
@pytest.mark.parametrize("noise", [0.02, 0.1, 0.3, 0.5])
def test_noise_is_the_share_of_pairs_the_wrong_way_round(scores, noise):
    measured, _ = shares(scores, noise)
    assert measured == pytest.approx(noise, abs=0.012)


def test_close_calls_flip_more_often_than_best_against_worst():
    measured, extreme = shares([4, 3, 2, 1], 0.1)
    assert measured == pytest.approx(0.1, abs=0.01)
    assert extreme < 0.03


def test_without_noise_the_ranks_are_the_scores():
    rng = random.Random(0)
    assert sim.ranks_of([0.5, 2, 2, -1], 0, rng) == [2, 1, 1, 3]
    assert sim.ranks_of([1, 1, 1], 0, rng) == [1, 1, 1]
    assert sim.ranks_of([1, 1, 1], 0.5, rng) == [1, 1, 1]  # noise never makes up a difference


def test_every_ranking_is_one_the_server_accepts():
    rng = random.Random(1)
    for _ in range(500):
        scores = [rng.randint(0, 3) for _ in range(rng.randint(2, 4))]
        ranks = sim.ranks_of(scores, 0.3, rng)
        assert check_order(ranks, len(scores)) == Order(ranks)
        for i, j in itertools.combinations(range(len(scores)), 2):
            assert (scores[i] == scores[j]) == (ranks[i] == ranks[j])


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("rankings", 0),
        ("annotators", 0),
        ("annotators", 1000),
        ("noise", 0.6),
        ("noise", -0.1),
        ("noise", float("nan")),
        ("patience", 0),
        ("url", "localhost:7860"),
        ("url", "http://[::1"),
        ("url", "http://"),
        ("url", "http://host:port"),
    ],
)
def test_settings_that_cannot_be_meant(setting, value):
    with pytest.raises(ValueError, match=f"--{setting} must"):
        sim.SimulateConfig(**{setting: value})


def test_every_setting_has_a_help_text():
    for setting in fields(sim.SimulateConfig):
        assert setting.metadata["help"].endswith("."), setting.name


def test_nobody_answers():
    config = sim.SimulateConfig(url="http://127.0.0.1:9", rankings=1)
    with pytest.raises(sim.SimulationError, match=r"Nothing answers at http://127\.0\.0\.1:9"):
        sim.simulate(config, score=lambda p, r: 0.0, echo=lambda line: None)


def test_a_scorer_that_exits_while_it_is_tried(tmp_path):
    file = tmp_path / "scorer.py"
    file.write_text("import sys\ndef score(prompt, response): sys.exit()\n")
    with pytest.raises(sim.SimulationError, match="SystemExit"):
        sim.simulate(sim.SimulateConfig(scorer=f"{file}:score"), echo=lambda line: None)


def test_unknown_scorer():
    with pytest.raises(sim.SimulationError, match="'best' is not a scorer"):
        sim.simulate(sim.SimulateConfig(scorer="best"), echo=lambda line: None, stop=threading.Event())


# through a real server


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path, create=True, migrate=True) as store:
        store.add_reference("nowhere", "starter")
        store.beat("generating", "writing responses")
        yield store


@pytest.fixture
def url(store):
    """The real routes over the real store, on a free port."""
    app = FastAPI()
    app.include_router(api.router(store))
    api.add_error_handlers(app)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def add_tasks(store, count, start=0, version=0):
    store.add_prompts([(f"prompt {i}", "train") for i in range(start, start + count)], "test")
    for prompt in store.prompts("train")[start : start + count]:
        texts = [f"{word} response" for word in ("best", "good", "good", "bad")]
        store.add_task(prompt.id, version, [NewResponse(t, 2, True, {"temperature": 1.0}) for t in texts])


VALUES = {"best": 2.0, "good": 1.0, "bad": 0.0}


def value(prompt, response):
    return VALUES[response.split()[0]]


def test_rankings_arrive_as_the_scorer_means_them(store, url):
    add_tasks(store, 12)
    lines = []
    config = sim.SimulateConfig(url=url, rankings=10, annotators=3, scorer="helpful", noise=0)
    summary = sim.simulate(config, score=value, echo=lines.append)
    stored = store.rankings()
    assert len(stored) == summary.rankings == 10
    for ranking in stored:
        expected = {"best": 1, "good": 2, "bad": 3}
        assert ranking.ranks == [expected[text.split()[0]] for text in ranking.responses]
        assert ranking.person_kind == "program"
    names = {person["name"] for person in store.people() if person["kind"] == "program"}
    assert {f"simulated-helpful-{i}" for i in (1, 2, 3)} <= names
    assert sum(summary.by_annotator.values()) == 10
    assert summary.by_policy == {0: 10}
    assert (summary.pairs, summary.tied_pairs, summary.flipped_pairs) == (60, 10, 0)
    assert summary.mean_score == {0: 1.0}
    assert "10 of 10 rankings" in lines[-1]


def test_noise_reaches_the_database(store, url):
    add_tasks(store, 60)
    config = sim.SimulateConfig(url=url, rankings=60, annotators=2, noise=0.3, seed=3)
    summary = sim.simulate(config, score=value, echo=lambda line: None)
    wrong = sum(sim.flipped([value("", text) for text in r.responses], r.ranks) for r in store.rankings())
    assert wrong == summary.flipped_pairs
    assert 0.2 < wrong / (60 * 5) < 0.4


def test_ctrl_c_ends_it_with_what_was_done(url, monkeypatch):
    interrupted = []

    class Thread(threading.Thread):
        def join(self, timeout=None):
            if not interrupted:
                interrupted.append(self)
                raise KeyboardInterrupt
            super().join(timeout)

    with monkeypatch.context() as patched:
        patched.setattr(threading, "Thread", Thread)
        done = CliRunner().invoke(cli, ["simulate", "--url", url, "--rankings", "3", "--annotators", "2"])
    assert (done.exit_code, done.stderr) == (130, "")
    assert done.stdout.startswith("0 of 3 rankings")
    assert done.stdout.endswith("Interrupted.\n")


def test_annotators_wait_for_tasks(store, url):
    """Half of the tasks appear only when the annotators have said that they wait."""
    add_tasks(store, 4)
    waited = threading.Event()

    def echo(line):
        if "waiting for a task, worker: generating writing responses" in line and not waited.is_set():
            waited.set()
            add_tasks(store, 4, start=4)

    config = sim.SimulateConfig(url=url, rankings=8, annotators=2, patience=30)
    assert sim.simulate(config, score=value, echo=echo).rankings == 8
    assert waited.is_set()


def test_many_who_wait_ask_one_after_the_other_and_as_often_as_one(url, monkeypatch):
    asked, asking, together, real = Counter(), Counter(), [], sim._Run.ask

    def ask(run, client, path, *more, **options):
        if path != "/api/task":
            return real(run, client, path, *more, **options)
        me = threading.get_ident()
        asked[me] += 1
        if asked[me] == 1:  # how each begins
            return real(run, client, path, *more, **options)
        asking[me] += 1
        together.append(asking.total())
        try:
            return real(run, client, path, *more, **options)
        finally:
            asking[me] -= 1

    monkeypatch.setattr(sim._Run, "ask", ask)
    monkeypatch.setattr(sim, "FIRST_WAIT", 0.05)
    monkeypatch.setattr(sim, "LONGEST_WAIT", 0.05)
    config = sim.SimulateConfig(url=url, rankings=1, annotators=12, patience=2)
    with pytest.raises(sim.SimulationError, match="no task for 2 s"):
        sim.simulate(config, score=value, echo=lambda line: None)
    assert len(asked) == 12
    assert set(together) == {1}
    assert asked.total() <= 12 + 2 / 0.05 + 12  # alone: one, then 40; each once more at the end


def test_patience_ends(store, url):
    config = sim.SimulateConfig(url=url, rankings=3, annotators=1, patience=0.2)
    with pytest.raises(sim.SimulationError, match=r"no task for 0\.2 s \(the worker says: generating"):
        sim.simulate(config, score=value, echo=lambda line: None)
    add_tasks(store, 2)
    summary = sim.simulate(config, score=value, echo=lambda line: None)
    assert summary.rankings == 2
    assert "no task for 0.2 s" in summary.stopped


def test_a_scorer_that_raises_is_one_sentence(store, url):
    add_tasks(store, 4)

    def breaks(prompt, response):
        raise KeyError("oops")

    config = sim.SimulateConfig(url=url, rankings=4, annotators=2)
    with pytest.raises(
        sim.SimulationError, match=r"scorer 'helpful' failed on the prompt 'prompt \d': KeyError"
    ):
        sim.simulate(config, score=breaks, echo=lambda line: None)
    assert store.ranking_count() == 0


def test_a_scorer_that_exits_is_one_sentence(store, url):
    add_tasks(store, 4)

    def exits(prompt, response):
        raise SystemExit("enough")

    config = sim.SimulateConfig(url=url, rankings=4, annotators=2)
    with pytest.raises(sim.SimulationError, match=r"failed on the prompt 'prompt \d': SystemExit: enough"):
        sim.simulate(config, score=exits, echo=lambda line: None)


def test_whatever_ends_an_annotator_is_one_sentence(store, url, monkeypatch):
    def breaks(*_):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(sim._Run, "work", breaks)
    config = sim.SimulateConfig(url=url, rankings=4, annotators=1)
    with pytest.raises(sim.SimulationError, match="RuntimeError: a mistake of ours"):
        sim.simulate(config, score=value, echo=lambda line: None)


def test_fewer_rankings_than_asked_is_no_success(store, url):
    add_tasks(store, 2)
    options = ["simulate", "--url", url, "--annotators", "1", "--patience", "0.2", "--rankings"]
    said = CliRunner().invoke(cli, [*options, "3"])
    assert said.exit_code == 1
    assert "2 of 3 rankings" in said.output
    add_tasks(store, 1, start=2)
    assert CliRunner().invoke(cli, [*options, "1"]).exit_code == 0


def test_a_task_closed_meanwhile_is_left_to_its_annotator(store, url):
    """While the first task is scored, somebody else's ranking closes it: another task is taken instead."""
    add_tasks(store, 3)
    other = store.add_person("x" * 43, "other", "human")
    seen = []

    def steals(prompt, response):
        if not seen:
            with store.write() as db:  # the lease ran out
                db.execute("update tasks set leased_by = null, leased_until = null")
            task = store.claim_task(other.id)
            seen.append(prompt)
            assert task.prompt == prompt
            store.add_ranking(other.id, task.id, "n" * 32, [1, 1, 1, 1])
        return value(prompt, response)

    config = sim.SimulateConfig(url=url, rankings=2, annotators=1)
    assert sim.simulate(config, score=steals, echo=lambda line: None).rankings == 2
    assert [r.person_kind for r in store.rankings()] == ["human", "program", "program"]


def test_waiting_for_rounds_ranks_the_newest_policy(store, url):
    """While a round trains nobody ranks; when it is over the tasks of the new policy come first."""
    add_tasks(store, 6)
    store.beat("ppo", "update 3 of 20")
    waited = threading.Event()

    def echo(line):
        if "worker: ppo" in line and not waited.is_set():
            assert store.ranking_count() == 0
            waited.set()
            store.beat("idle")

    config = sim.SimulateConfig(url=url, rankings=4, annotators=2, wait_for_rounds=True, patience=30)
    assert sim.simulate(config, score=value, echo=echo).rankings == 4
    assert waited.is_set()


def test_stopping_early(store, url):
    add_tasks(store, 4)
    stop = threading.Event()

    def stops(prompt, response):
        stop.set()
        return 0.0

    config = sim.SimulateConfig(url=url, rankings=100, annotators=1)
    assert sim.simulate(config, score=stops, echo=lambda line: None, stop=stop).rankings == 1


def test_a_server_that_cannot_just_now_is_asked_again(store, url, monkeypatch):
    """Among others after a ranking was stored: the nonce makes the second a repetition of the first."""
    add_tasks(store, 4)
    post, refused = httpx.Client.post, []

    def once_too_busy(client, path, **body):
        answer = post(client, path, **body)
        if path in refused:
            return answer
        refused.append(path)
        return httpx.Response(503, json={"error": "Not saved."}, request=answer.request)

    monkeypatch.setattr(httpx.Client, "post", once_too_busy)
    config = sim.SimulateConfig(url=url, rankings=4, annotators=1)
    assert sim.simulate(config, score=value, echo=lambda line: None).rankings == 4
    assert refused == ["/api/session", "/api/rankings"]
    assert store.ranking_count() == 4


def test_an_error_from_the_server_is_said(store, url, monkeypatch):
    monkeypatch.setattr(sim, "RETRIES", 1)
    add_tasks(store, 1)
    with store.write() as db:
        db.execute("alter table ranks rename to lost")
    config = sim.SimulateConfig(url=url, rankings=1, annotators=1)
    with pytest.raises(sim.SimulationError, match=r"/api/rankings answered 503: .*no such table"):
        sim.simulate(config, score=value, echo=lambda line: None)
