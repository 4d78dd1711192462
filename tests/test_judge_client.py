"""The client of a judge's endpoint: what is waited for, what is not, and what each trouble is called."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from rlhf.judge_client import Chat, EndpointError, Usage
from rlhf.judge_prompts import Unusable
from tests.endpoint import serving

QUESTION = [{"role": "user", "content": "Hi"}]
HTML = b"<html>please log in</html>"


class Asked:
    """A client, and what it said and waited for."""

    def __init__(self, url, **options):
        self.said, self.waits, self.used = [], [], Usage()
        known = {"model": "taste", "timeout": 5.0, "say": self.said.append, "sleep": self.waits.append}
        self.chat = Chat(url, **{**known, **options})

    def ask(self, **options):
        return self.chat.ask(QUESTION, self.used, **options)

    def refusal(self, kind=EndpointError):
        with pytest.raises(kind) as caught:
            self.ask()
        sentence = str(caught.value)
        assert "\n" not in sentence
        return sentence


@pytest.mark.parametrize(
    ("trouble", "what"),
    [
        (500, "answers 500"),
        (503, "answers 503"),
        (408, "answers 408"),
        ("drop", "cannot be reached"),
        ("half", "cannot be reached"),
        ("hang", "does not answer in time"),
        (b'{"choices": [', "answers, but not with a chat completion"),
        (b'{"choices": []}', "answers, but not with a chat completion"),
        (b'{"choices": [{"message": {"content": [1]}}]}', "the message's content is no text"),
        (HTML, "answers, but not with a chat completion"),
        (b"", "answers, but not with a chat completion"),
    ],
)
def test_trouble_is_waited_for_and_then_given_up(trouble, what):
    with serving(lambda body: "Hello", [trouble] * 2) as endpoint:
        asked = Asked(endpoint.url, timeout=0.3 if trouble == "hang" else 5.0)
        assert asked.ask() == "Hello"
        assert (asked.used.calls, len(endpoint.asked)) == (3, 3)
        assert (asked.used.prompt_tokens, asked.used.response_tokens) == (100, 10)
        assert [what in line for line in asked.said] == [True, True]
        assert 0.75 <= asked.waits[0] <= 1
        assert 1.5 <= asked.waits[1] <= 2
        endpoint.script = [trouble] * 9
        asked.chat.retries = 1
        assert asked.refusal().endswith("gave up after 2 calls.")


def test_retry_after_is_obeyed_in_seconds_and_as_a_date():
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    script = [(429, {"Retry-After": "7"}), (503, {"Retry-After": soon}), (429, {"Retry-After": "rubbish"})]
    with serving(lambda body: "Hello", script) as endpoint:
        asked = Asked(endpoint.url)
        assert asked.ask() == "Hello"
        assert asked.waits[0] == 7
        assert 30 < asked.waits[1] <= 40
        assert 3 <= asked.waits[2] <= 4
        endpoint.script = [(429, {"Retry-After": "86400"})]
        assert "asks to come back in 86400 s" in asked.refusal()


@pytest.mark.parametrize(
    ("status", "sentence", "kind"),
    [
        (
            401,
            "refuses the key (401); give the name of the variable that holds it by --api-key-env.",
            EndpointError,
        ),
        (404, "is the URL right (with /v1), and 'taste' a model it serves?", EndpointError),
        (400, "the endpoint refuses the question (400: ", Unusable),
        (413, "the endpoint refuses the question (413: ", Unusable),
    ],
)
def test_what_waiting_would_not_help_is_said_at_once(status, sentence, kind):
    with serving(lambda body: "Hello", [status] * 9) as endpoint:
        asked = Asked(endpoint.url)
        assert sentence in asked.refusal(kind)
        assert (asked.waits, asked.used.calls) == ([], 1)


def test_what_the_endpoint_does_not_know_is_left_out_from_then_on():
    with serving(lambda body: "Hello") as endpoint:
        endpoint.refuses = {"response_format", "temperature"}
        asked = Asked(endpoint.url)
        assert asked.ask(schema={"type": "object"}, most_tokens=9) == "Hello"
        assert asked.used.calls == 3
        assert asked.ask(schema={"type": "object"}) == "Hello"
        assert asked.used.calls == 4
        assert endpoint.asked[2].keys() == {"messages", "model", "max_tokens"}
        assert [body["max_tokens"] for body in endpoint.asked] == [9, 9, 9, 512]


def test_a_password_in_the_address_is_used_and_never_shown():
    with serving(lambda body: "Hello", [500]) as endpoint:
        asked = Asked(endpoint.url.replace("//", "//me:secret@"))
        assert asked.chat.endpoint == endpoint.url
        assert asked.ask() == "Hello"
        assert "secret" not in asked.said[0]


def test_the_only_model_is_found_and_several_are_listed():
    with serving(lambda body: "Hello", models=["qwen3"]) as endpoint:
        assert Asked(endpoint.url, model="").chat.model == "qwen3"
    with (
        serving(lambda body: "Hello", models=["a", "b"]) as endpoint,
        pytest.raises(EndpointError, match=r"serves 2 models \(a, b\); choose one by --model"),
    ):
        Asked(endpoint.url, model="")


def test_an_address_where_nobody_is_and_one_that_is_none():
    asked = Asked("http://127.0.0.1:1/v1", retries=1)
    began = time.monotonic()
    assert "cannot be reached" in asked.refusal()
    assert time.monotonic() - began < 5
    for wrong in ("127.0.0.1:8000/v1", "ftp://x/v1", "http://"):
        with pytest.raises(EndpointError, match="wanted: a URL such as"):
            Asked(wrong)


def test_a_proxy_from_the_environment_stays_out_of_this_machine(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with serving(lambda body: "Hello") as endpoint:
        assert Asked(endpoint.url).ask() == "Hello"
        assert endpoint.keys == ["Bearer none"]


def test_without_the_package_one_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openai", None)
    with pytest.raises(EndpointError, match=r"pip install 'podium\[judge\]'"):
        Asked("http://127.0.0.1:1/v1")
