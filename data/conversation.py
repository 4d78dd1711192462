"""Prompts that are the end of a conversation: several chat messages in one text.

A prompt is a text everywhere (it is split by its hash, kept in one column, sent to scorers). One with
messages before it is their JSON, and only what looks exactly like that is read as such: nobody types it by
accident.
"""

import json
from collections.abc import Sequence

ROLES = ("system", "user", "assistant")
_BEGINS = '[{"role": "'

Message = dict[str, str]  # role and content, as chat templates take them


def as_prompt(messages: Sequence[Message]) -> str:
    """The prompt that these messages are; they end with the user's. One message is its own text.

    Raises ValueError, in one sentence.
    """
    for message in messages:
        if (
            not isinstance(message, dict)
            or set(message) != {"role", "content"}
            or message["role"] not in ROLES
        ):
            raise ValueError('wanted messages of "role" (system, user or assistant) and "content"')
        if not isinstance(message["content"], str) or not message["content"].strip():
            raise ValueError('a message has no text in its "content"')
    if not messages or messages[-1]["role"] != "user":
        raise ValueError("the last message is not the user's")
    messages = [{"role": m["role"], "content": m["content"].strip()} for m in messages]
    return messages[0]["content"] if len(messages) == 1 else json.dumps(messages, ensure_ascii=False)


def as_messages(prompt: str) -> list[Message]:
    """The messages of a prompt; of any other text, one message of the user's."""
    if prompt.startswith(_BEGINS):
        try:
            messages = json.loads(prompt)
            if as_prompt(messages) == prompt:
                return messages
        except (ValueError, TypeError, AttributeError, RecursionError):
            pass
    return [{"role": "user", "content": prompt}]


def as_transcript(prompt: str) -> str:
    """A prompt for people, and for models without a chat template: who said what, a paragraph each."""
    messages = as_messages(prompt)
    return prompt if len(messages) == 1 else transcript_of(messages)


def transcript_of(messages: Sequence[Message]) -> str:
    """Who said what, a paragraph each."""
    return "\n\n".join(f"{m['role'].capitalize()}: {m['content']}" for m in messages)
