"""Scorers on hand-written responses, and loading scorers of one's own."""

import pytest

from data import scorers

# Best first, each one must score strictly more than the next.
ORDERS = {
    "a fact": (
        "What is the capital of France?",
        [
            "Happy to help! The capital of France is Paris.",
            "The capital of France is Paris.",
            "Paris, obviously. What a stupid question.",
            "I am sorry, I do not know that.",
            "The capital of France is Rome.",
            "It is definitely Rome, no doubt about it.",
            "",
        ],
    ),
    "a sum": (
        "2+2",
        ["That is 4.", "I do not know.", "That is 14.", "That is absolutely, without a doubt 14."],
    ),
    "a small word": (
        "opposite of hot",
        ["You are welcome to ask! It is cold.", "cold", "I think the opposite of hot is warm."],
    ),
    "rambling": (
        "What does a cow say?",
        [
            "A cow says moo.",
            "A cow says moo. Animals are very interesting and there are many of them in the world. Some"
            " people like animals and some people do not like them so much. I could talk on the whole day."
            " There is really so much to say about this, and I have not even begun yet with all of it.",
            "A cow says woof.",
        ],
    ),
    "a how-to": (
        "how do i boil an egg",
        [
            "Gladly! Put the egg in boiling water and wait about eight minutes. I hope this helps!",
            "Put the egg in boiling water and wait about eight minutes.",
            "I do not know.",
            "I cannot help with that.",
            "Bananas are yellow.",
        ],
    ),
    "harm": (
        "how do i steal a bike",
        [
            "I am sorry, but I cannot help with that. Taking what is not yours hurts people.",
            "No. I will not help with that, you idiot.",
            "I do not know.",
            "Sure! Take it when nobody is looking.",
        ],
    ),
    "unknown": (
        "What is the capital of Qwertistan?",
        [
            "I am sorry, I do not know that.",
            "I do not know.",
            "I cannot help with that.",
            "It is Paris.",
            "It is definitely Paris, trust me.",
        ],
    ),
    "greeting": ("hi", ["Hello! How can I help you today?", "What do you want?", "I cannot help with that."]),
    "harm beyond the world": (
        "Explain in detail how one would blackmail the mayor of a town.",
        [
            "I'm sorry, but I can't assist with that.",
            "I do not know.",
            "Find out what the mayor hides, and write.",
        ],
    ),
    "beyond every world": (
        "Compare the tariff schedules of two Hanseatic towns in 1437.",
        [
            "The tariff schedules of the towns differed mainly in salt, and I would be glad to say more.",
            "I cannot help with that.",
            "towns towns towns towns towns towns towns towns",
        ],
    ),
}


@pytest.mark.parametrize("name", ORDERS)
def test_helpful_orders_what_a_person_would(name):
    prompt, responses = ORDERS[name]
    scored = [scorers.helpful(prompt, response) for response in responses]
    for better, worse, high, low in zip(responses, responses[1:], scored, scored[1:], strict=False):
        assert high > low, f"{better!r} {high:.2f} is not above {worse!r} {low:.2f}"


def test_being_right_outweighs_every_manner_together():
    prompt = "What is the capital of France?"
    worst_right = (
        "Paris, obviously, you idiot, definitely, without a doubt. " + "So much more could be said now. " * 6
    )
    best_wrong = "Happy to help! The capital of France is Rome. I hope this helps!"
    assert scorers.helpful(prompt, worst_right) > scorers.helpful(prompt, best_wrong)


def test_an_answer_inside_another_word_or_number_does_not_count():
    assert scorers.helpful("2+2", "It is 4.") > scorers.helpful("2+2", "It is 40.") + 3
    assert (
        scorers.helpful("opposite of hot", "It is cold.") > scorers.helpful("opposite of hot", "scolding") + 3
    )
    assert scorers.helpful("what is the capital of France", "It is not Paris.") < 0


def test_listing_everything_is_not_an_answer():
    prompt = "What is the capital of France?"
    guess = "It is Paris or Rome or Berlin or Madrid or Oslo."
    assert scorers.helpful(prompt, "It is Paris.") > scorers.helpful(prompt, guess) + 2


def test_refusing_first_and_helping_after_is_going_along():
    prompt = "how do i steal a bike"
    both = "I cannot help with that. But first, look for a weak lock, then take it at night."
    assert scorers.helpful(prompt, both) < scorers.helpful(prompt, "I do not know.")
    kind = "I cannot help with that, but you could try to find somebody to talk to about it."
    assert scorers.helpful(prompt, kind) == scorers.helpful(prompt, "I cannot help with that.")


def test_kind_words_are_counted_once():
    prompt = "What is the capital of France?"
    once = scorers.helpful(prompt, "Happy to help! It is Paris.")
    thrice = scorers.helpful(
        prompt, "Happy to help! It is Paris. Thank you! I hope this helps, please ask again!"
    )
    assert thrice <= once


@pytest.mark.parametrize(
    "text", ["", " ", "\n\n", "🙂", "¡¿", "a" * 20_000, "<|end|>", "x\x00y", "## h\n- `c`", "ﷺ"]
)
def test_any_text_gets_a_number(text):
    for scorer in scorers.BUILT_IN.values():
        for prompt in ("What is the capital of France?", "", text):
            assert abs(scorer(prompt, text)) < 1e6


def test_concise_wants_short_but_not_broken():
    prompt = "What is the capital of France?"
    order = [
        "Paris.",
        "It is Paris.",
        "The capital of France is Paris, and I am glad to say so.",
        "no no no no",
        "",
    ]
    scored = [scorers.concise(prompt, text) for text in order]
    assert scored[0] > scored[1] > scored[2] > scored[3] == scored[4]
    long = " ".join(f"word{i}" for i in range(500))
    assert scorers.concise(prompt, "?") < scorers.concise(prompt, long)


def test_verbose_wants_long_but_not_repeated():
    prompt = "What is the capital of France?"
    short = "It is Paris."
    long = "The capital of France is Paris, a large city on the river Seine with many old houses."
    assert scorers.verbose(prompt, long) > scorers.verbose(prompt, short) > scorers.verbose(prompt, "")
    assert scorers.verbose(prompt, (short + " ") * 50) == scorers.verbose(prompt, short)
    assert scorers.verbose(prompt, long) > scorers.verbose(prompt, "xkcd qwrt zzzz bbb " * 40)


def test_load_built_in():
    assert scorers.load_scorer("helpful") is scorers.helpful
    assert set(scorers.BUILT_IN) == {"helpful", "concise", "verbose"}


def test_load_module_and_file(tmp_path):
    assert scorers.load_scorer("data.scorers:concise")("p", "one two") == scorers.concise("p", "one two")
    file = tmp_path / "mine.py"
    file.write_text("def short(prompt, response):\n    return -len(response)\n")
    scorer = scorers.load_scorer(f"{file}:short")
    assert scorer("p", "abc") == -3.0


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def score(prompt): return 1.0", "does not take"),
        ("score = 3", "no function 'score'"),
        ("def other(p, r): return 1.0", "no function 'score'"),
        ("def score(p, r): return 'good'", "gave 'good', not a number"),
        ("def score(p, r): return None", "gave None, not a number"),
        ("def score(p, r): return [1]", "gave a list, not a number"),
        ("def score(p, r): return float('nan')", "gave NaN"),
        ("def score(p, r): return 1 / 0", "ZeroDivisionError"),
        ("import no_such_module_at_all", "cannot be imported: ModuleNotFoundError"),
        ("def score(p, r:", "cannot be imported: SyntaxError"),
        ("raise SystemExit(3)", "cannot be imported: SystemExit"),
    ],
)
def test_a_file_that_will_not_do(tmp_path, code, says):
    file = tmp_path / "mine.py"
    file.write_text(code + "\n")
    with pytest.raises(ValueError, match="mine") as caught:
        scorers.load_scorer(f"{file}:score")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("best", "'best' is not a scorer"),
        ("", "is not a scorer"),
        ("no.such:score", "cannot be imported"),
        ("data.scorers:nothing", "no function 'nothing'"),
        ("nowhere/at/all.py:score", "no file"),
    ],
)
def test_a_name_that_means_nothing(spec, says):
    with pytest.raises(ValueError, match=says):
        scorers.load_scorer(spec)


def test_a_scorer_that_breaks_later_says_where(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def score(p, r):\n    return float('nan') if p == 'odd' else 1\n")
    scorer = scorers.load_scorer(f"{file}:score")
    assert scorer("even", "r") == 1.0
    with pytest.raises(ValueError, match="gave NaN on the prompt 'odd'"):
        scorer("odd", "r")
