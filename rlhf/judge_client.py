"""Questions to a chat model behind an endpoint like OpenAI's: vLLM, Ollama, llama.cpp, transformers serve.

The client is the `openai` package (extra `[judge]`): those servers are documented with it, it follows
their protocol, and it is imported only when an endpoint is asked. Its own retries are off.
Here every call is counted, people are told why they wait, and who holds a task meanwhile can keep it.

Waited for and asked again: 408, 409, 425, 429, 5xx, timeouts, lost connections, and answers that are none;
Retry-After is obeyed. What the endpoint does not know (a response format, a temperature) is left out.
"""

import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from data.conversation import Message
from rlhf.judge_prompts import Unusable

AGAIN = {408, 409, 425, 429}  # and 5xx
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds
LONGEST_RETRY_AFTER = 600.0
LOCAL = {"localhost", "127.0.0.1", "::1"}


class EndpointError(Exception):
    """The endpoint cannot be used, or not any more. The message is one sentence for people."""


@dataclass
class Usage:
    """What was asked for so far; tokens as the endpoint counts them, 0 where it does not say."""

    calls: int = 0  # retries too
    prompt_tokens: int = 0
    response_tokens: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.response_tokens

    def add(self, other: "Usage") -> None:
        self.calls += other.calls
        self.prompt_tokens += other.prompt_tokens
        self.response_tokens += other.response_tokens


class Chat:
    """One model behind one endpoint."""

    def __init__(
        self,
        endpoint: str,
        model: str = "",
        *,
        api_key: str = "",
        timeout: float = 120.0,
        retries: int = 6,
        say: Callable[[str], None] = print,
        sleep: Callable[[float], None] = time.sleep,
    ):
        """endpoint: with its /v1. model: '' for the only one it serves. Raises EndpointError."""
        try:
            import openai
        except ImportError as error:
            raise EndpointError(
                "An endpoint needs the openai package, which is not installed: pip install 'podium[judge]'."
            ) from error
        self._openai, self.retries = openai, retries
        self.say, self.sleep = say, sleep
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise EndpointError(
                f"--endpoint is '{endpoint}'; wanted: a URL such as http://127.0.0.1:8000/v1."
            )
        # As it is shown and stored: without a password, should there be one.
        self.endpoint = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl().rstrip("/")
        # A proxy from the environment must not come between two programs on one machine.
        own = openai.DefaultHttpxClient(trust_env=parts.hostname not in LOCAL, follow_redirects=True)
        self._client = openai.OpenAI(
            base_url=endpoint.rstrip("/"),
            api_key=api_key or "none",  # the package wants one, local servers do not look
            timeout=timeout,
            max_retries=0,
            http_client=own,
        )
        # Until the endpoint does not know them; never changed in place, for several threads ask.
        self._optional: dict[str, Any] = {"temperature": 0.0, "max_tokens": None}
        self._schemas = True
        self.model = model
        self.model = model or self._only_model()

    def close(self) -> None:
        self._client.close()

    def _only_model(self) -> str:
        names = self._again(lambda: [model.id for model in self._client.models.list().data], Usage(), {})
        if len(names) != 1:
            shown = ", ".join(sorted(names)[:20]) or "none"
            raise EndpointError(
                f"{self.endpoint} serves {len(names)} models ({shown}); choose one by --model."
            )
        return names[0]

    def ask(
        self,
        messages: Sequence[Message],
        used: Usage,
        *,
        most_tokens: int = 512,
        schema: dict[str, Any] | None = None,
        before: Callable[[], None] = lambda: None,
    ) -> str:
        """The model's answer; what it cost is added to `used`, also when it fails.

        schema: hold the answer to this JSON schema, where the endpoint can. before: called before each call.
        Raises EndpointError, and Unusable where only this question cannot be answered.
        """

        sent: dict[str, Any] = {}

        def call() -> str:
            before()
            sent.clear()
            sent.update(self._optional)
            for name in ("max_tokens", "max_completion_tokens"):
                if name in sent:
                    sent[name] = most_tokens
            if schema and self._schemas:
                named = {"name": "answer", "strict": True, "schema": schema}
                sent["response_format"] = {"type": "json_schema", "json_schema": named}
            raw = self._client.chat.completions.with_raw_response.create(
                model=self.model, messages=list(messages), **sent
            )
            return self._read(raw.text if isinstance(raw.text, str) else raw.text(), used)

        return self._again(call, used, sent)

    def _read(self, text: str, used: Usage) -> str:
        """Raises ValueError for what is no chat completion."""
        reply = json.loads(text)
        message = reply["choices"][0]["message"]
        usage = reply.get("usage") or {}
        for name, given in (("prompt_tokens", "prompt_tokens"), ("response_tokens", "completion_tokens")):
            if type(usage.get(given)) is int and usage[given] > 0:
                setattr(used, name, getattr(used, name) + usage[given])
        content = message.get("content") or ""
        if not isinstance(content, str):
            raise ValueError("the message's content is no text")
        return content

    def _again(self, call: Callable[[], Any], used: Usage, sent: dict[str, Any]) -> Any:
        """What `call` returns, asked again while that may help. sent: the options that went with it."""
        openai, failures = self._openai, 0
        while True:
            used.calls += 1
            wait = None
            try:
                return call()
            except openai.APITimeoutError:
                what = "does not answer in time"
            except openai.APIConnectionError as error:
                what = f"cannot be reached ({_first_line(error.__cause__ or error)})"
            except openai.APIStatusError as error:
                if self._leave_out(error, sent):
                    continue  # as a new question: it was understood
                what, wait = self._status(error)
            except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                what = f"answers, but not with a chat completion ({_first_line(error)}; is /v1 in the URL?)"
            failures += 1
            if failures > self.retries:
                raise EndpointError(f"{self.endpoint} {what}; gave up after {failures} calls.")
            if wait is None:
                wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (failures - 1)) * random.uniform(0.75, 1.0)
            self.say(f"{self.endpoint} {what}; asking again in {wait:.1f} s ({failures} of {self.retries})")
            self.sleep(wait)

    def _status(self, error: Any) -> tuple[str, float | None]:
        """What a refusal means, and how long to wait if that is said. Raises EndpointError, Unusable."""
        status, detail = error.status_code, _first_line(error)
        if status in AGAIN or status >= 500:
            wait = _retry_after(error.response.headers.get("retry-after"))
            if wait is not None and wait > LONGEST_RETRY_AFTER:
                raise EndpointError(f"{self.endpoint} asks to come back in {wait:.0f} s ({detail}).")
            return f"answers {status} ({detail})", wait
        if status in (401, 403):
            raise EndpointError(
                f"{self.endpoint} refuses the key ({status}); give the name of the variable that holds it by "
                "--api-key-env."
            )
        if status in (400, 413, 422) and self.model:
            raise Unusable(f"the endpoint refuses the question ({status}: {detail})")
        raise EndpointError(
            f"{self.endpoint} answers {status} ({detail}); is the URL right (with /v1), and '{self.model}' a "
            "model it serves?"
        )

    def _leave_out(self, error: Any, sent: dict[str, Any]) -> bool:
        """Drop what the endpoint does not know of what was sent; whether there was something to drop."""
        if error.status_code not in (400, 404, 422, 501):
            return False
        said = str(getattr(error.response, "text", "") or error).lower()
        if "response_format" in sent and ("response_format" in said or "schema" in said):
            self._schemas = False
            return True
        if "max_tokens" in sent and "max_completion_tokens" in said:
            self._optional = {name: x for name, x in self._optional.items() if name != "max_tokens"}
            self._optional["max_completion_tokens"] = None  # as many as asked for
            return True
        if "temperature" in sent and "temperature" in said:
            self._optional = {name: x for name, x in self._optional.items() if name != "temperature"}
            return True
        return False


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header: a number, or a date."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (when - datetime.now(when.tzinfo or UTC)).total_seconds())


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0][:160] if lines else type(error).__name__).rstrip(".")
