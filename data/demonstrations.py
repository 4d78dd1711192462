"""Demonstrations: responses to learn from by imitation, as pairs of prompt and response."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Demonstration:
    """A response that a person, a file or a judge says is good."""

    prompt: str  # as in `data.conversation`: a text, or chat messages in one
    response: str
