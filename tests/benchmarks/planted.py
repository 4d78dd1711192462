"""A planted reward: a program pays for a response, the same number whoever trains on it.

It is a scorer of `data.scorers`, scaled. What does not end with EOS, or says nothing, is paid a fixed low
number; and nothing is paid less than LEAST, or the -1000 that a scorer gives to broken text would drown all
else. It needs a tokenizer and nothing of `rlhf`, so that any Python with transformers can pay it.
"""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from data.scorers import load_scorer

UNFINISHED, LEAST = -2.0, -4.0  # standard deviations of the reference's own responses
OPENING = "<|assistant|>"  # the last token of every prompt in the starter's template


class Planted:
    """Called with the token ids of a prompt and of a response."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, scorer: str, mean: float = 0.0, std: float = 1.0):
        self.tokenizer, self.scorer = tokenizer, load_scorer(scorer)
        self.mean, self.std = mean, std
        self.opening = tokenizer.convert_tokens_to_ids(OPENING)

    def raw(self, prompt: Sequence[int], response: Sequence[int]) -> float:
        """What the scorer says, whether the response ended or not."""
        return self.scorer(*(self.tokenizer.decode(t, skip_special_tokens=True) for t in (prompt, response)))

    def __call__(self, prompt: Sequence[int], response: Sequence[int]) -> float:
        ended = len(response) > 0 and response[-1] == self.tokenizer.eos_token_id
        if not ended or not self.tokenizer.decode(response, skip_special_tokens=True).strip():
            return UNFINISHED
        return max(LEAST, (self.raw(prompt, response) - self.mean) / self.std)

    def of_row(self, tokens: Sequence[int]) -> float:
        """Of a prompt and a response in one row, without padding."""
        begin = list(tokens).index(self.opening) + 1
        return self(tokens[:begin], tokens[begin:])
