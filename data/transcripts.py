"""Where the prompt is what two conversations share: HH-RLHF's transcripts, TRL's implicit prompts."""

import re
from collections.abc import Sequence
from typing import Any

from data.incoming import Refused, clean, prompt_of, turns

_TURN = re.compile(r"(?:^|\n\n)(Human|User|Assistant|System): ?")
_BEGINS = re.compile(r"\s*Human:")
_ASKS = re.compile(r"\s*(?:Human|User|System):.*\n\nAssistant:\s*\Z", re.S)
_ROLES = {"Human": "user", "User": "user", "Assistant": "assistant", "System": "system"}
Turn = tuple[str, str]


def is_transcript(text: Any) -> bool:
    """Whether it is a dialogue as HH-RLHF writes it."""
    return isinstance(text, str) and _BEGINS.match(text) is not None


def asks_as_transcript(text: Any) -> bool:
    """Whether it is a prompt written like that (or with "User:", `data.conversation.as_transcript`), up to
    where the assistant goes on."""
    return isinstance(text, str) and (is_transcript(text) or _ASKS.match(text) is not None)


def transcript(text: str) -> list[Turn]:
    """The turns of "\\n\\nHuman: ...\\n\\nAssistant: ..."."""
    parts = _TURN.split("\n\n" + text.lstrip())
    return [(_ROLES[who], said) for who, said in zip(parts[1::2], parts[2::2], strict=True)]


def transcript_prompt(text: str) -> str:
    """The prompt of a transcript that ends with "Assistant:" or with what the human said."""
    spoken = transcript(text)
    if spoken[-1][0] == "assistant" and not spoken[-1][1].strip():
        spoken = spoken[:-1]
    return prompt_of(spoken)


def split_pair(chosen: Sequence[Turn], rejected: Sequence[Turn]) -> tuple[str, str, str]:
    """Prompt, chosen and rejected response of two conversations that differ in the last reply alone."""
    if chosen[:-1] != rejected[:-1] or len(chosen) != len(rejected):
        raise Refused("the two conversations part before their last reply")
    if chosen[-1][0] != "assistant" or rejected[-1][0] != "assistant":
        raise Refused("the two conversations do not end with a reply of the assistant's")
    if len(chosen) == 1:
        raise Refused("there is no prompt before the responses")
    prompt = prompt_of(chosen[:-1])
    return prompt, clean(chosen[-1][1], "a response"), clean(rejected[-1][1], "a response")


def split_messages(chosen: Any, rejected: Any) -> tuple[str, str, str]:
    """The same of chat messages."""
    return split_pair(turns(chosen), turns(rejected))


def split_transcripts(chosen: str, rejected: str) -> tuple[str, str, str]:
    """The same of HH-RLHF's texts."""
    return split_pair(transcript(chosen), transcript(rejected))


def split_texts(chosen: str, rejected: str) -> tuple[str, str, str]:
    """The same of two plain texts: what they share, up to the last blank, is the prompt."""
    shared = 0
    for a, b in zip(chosen, rejected, strict=False):
        if a != b:
            break
        shared += 1
    cut = max((at + 1 for at in range(shared) if chosen[at].isspace()), default=0)
    if not chosen[:cut].strip():
        raise Refused("there is no prompt: chosen and rejected do not begin alike")
    return (
        clean(chosen[:cut], "a prompt"),
        clean(chosen[cut:], "a response"),
        clean(rejected[cut:], "a response"),
    )


def conversation_end(spoken: Sequence[Turn]) -> tuple[str, str | None]:
    """Of a conversation the last reply and the prompt before it; None when the assistant says nothing in it.

    What the user says behind the last reply has no answer here, and is left out.
    """
    spoken = list(spoken)
    replies = [at for at, (role, said) in enumerate(spoken) if role == "assistant" and said.strip()]
    if not replies:
        return prompt_of(spoken), None
    last = replies[-1]
    return prompt_of(spoken[:last]), clean(spoken[last][1], "a response")
