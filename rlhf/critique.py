"""Critique and revision, the first stage of Constitutional AI (Bai et al. 2022, arXiv:2212.08073, 3.1).

A response of the policy is criticised by one principle of the constitution, drawn at random, and written
again; what comes out is a demonstration to learn from by SFT. As in the paper the one who criticises sees
the conversation and the response, nothing else; unlike there, a response with which nothing is wrong stays
as it is.
"""

import random
from collections.abc import Sequence
from typing import Any, Protocol

from data.constitution import principles
from rlhf.judge_client import Usage
from rlhf.judge_prompts import Unusable, critique_of, nothing_wrong, revision_by, without_thought

LONGEST_REVISION = 20_000  # characters; as long as what a person may write


class Writer(Protocol):
    def write(self, messages: Sequence[dict[str, str]], used: Usage) -> str: ...


def revised(judge: Writer, constitution: str, response: dict[str, Any], used: Usage) -> str | None:
    """The response written again, or None where nothing was wrong with it or nothing was changed.

    response: `response_id`, `prompt` and `text`. The principle depends on the id alone, so that asking again
    asks the same. Raises Unusable, and what the judge raises.
    """
    principle = random.Random(response["response_id"]).choice(principles(constitution))
    question = critique_of(principle, response["prompt"], response["text"])
    critique = without_thought(judge.write(question, used))
    if not critique:
        raise Unusable("the critique is empty")
    if nothing_wrong(critique):
        return None
    text = without_thought(judge.write([*question, *revision_by(critique)], used))
    text = text.encode("utf-8", "replace").decode()
    if not 0 < len(text) <= LONGEST_REVISION:
        raise Unusable(f"the revision has {len(text)} characters, wanted: 1 to {LONGEST_REVISION}")
    return None if text == response["text"].strip() else text
