"""A judge in this process: any causal language model, asked for a letter and read by its probabilities.

Of two responses it is asked which is better, A or B, in both orders, and the letter that is more probable as
the next token is its answer. Nothing has to be parsed, so a model of any size has an opinion, and one that
cares for the letter more than for the responses contradicts itself and gives ties.
"""

import itertools
from collections.abc import Callable, Sequence

import torch

from data.conversation import as_prompt
from rlhf.chat import eos_ids_of, pad_id_of
from rlhf.config import ModelError
from rlhf.decoding import continues
from rlhf.generate import SamplingConfig, decode_text, encode_prompt, sample
from rlhf.judge_client import Usage
from rlhf.judge_orders import Opinion, sign, weak_order
from rlhf.judge_prompts import Unusable, which_is_better
from rlhf.loading import frozen_dtype, load_causal_lm, load_tokenizer, pick_device, resolve
from rlhf.model_steps import ModelSteps


class LocalJudge:
    """Loaded once; a task of k responses takes k (k - 1) passes over it."""

    endpoint = ""

    def __init__(self, model: str, device: str = "auto", most_tokens: int = 512):
        """model: 'starter', a local folder or a hub id. Raises ModelError."""
        self.model, self.most_tokens, self.device = model, most_tokens, pick_device(device)
        folder = resolve(model)
        self.tokenizer = load_tokenizer(folder)
        self.network = load_causal_lm(folder, self.device, frozen_dtype(self.device))
        continues(self.network)
        config = self.network.config.get_text_config()
        self.context = getattr(config, "max_position_embeddings", None)
        # The last token of each: some tokenizers put one for a word's beginning before it.
        self.letters = [self.tokenizer(x, add_special_tokens=False)["input_ids"][-1] for x in "AB"]
        if self.letters[0] == self.letters[1]:
            raise ModelError(f"The tokenizer of '{model}' cannot tell A from B; choose another judge.")

    def rank(
        self,
        constitution: str,
        prompt: str,
        responses: Sequence[str],
        used: Usage,
        before: Callable[[], None] = lambda: None,
    ) -> Opinion:
        """See `judge.Judge`."""
        pairs = list(itertools.combinations(range(len(responses)), 2))
        decided = {}
        for i, j in pairs:
            before()
            prefers = []
            for first, second in ((i, j), (j, i)):
                question = which_is_better(constitution, prompt, responses[first], responses[second])
                said = self._leaning(question, used)
                prefers.append(sign(said if first == i else -said))
            decided[i, j] = prefers[0] if prefers[0] == prefers[1] else 0
        alike = sum(bool(way) for way in decided.values()) / len(pairs)
        return Opinion(weak_order(decided), alike)

    @torch.no_grad()
    def _leaning(self, question: str, used: Usage) -> float:
        """Log-probability of A less that of B. Raises Unusable."""
        if not self.tokenizer.chat_template:  # then a line break follows, and the letter
            question += "\n\nThe better response:"
        ids = self._fitting(encode_prompt(self.tokenizer, question), room=1)
        used.calls += 1
        used.prompt_tokens += len(ids)
        row = torch.tensor([ids], device=self.device)
        logits = ModelSteps(self.network, row, torch.ones_like(row), 1).logits[0].float()
        a, b = (float(logits[letter]) for letter in self.letters)
        if not (a == a and b == b):
            raise Unusable("the model's probabilities are not finite numbers")
        return a - b

    def write(self, messages: Sequence[dict[str, str]], used: Usage) -> str:
        """See `judge.Judge`."""
        ids = self._fitting(encode_prompt(self.tokenizer, as_prompt(messages)), room=2)
        room = (
            self.most_tokens if self.context is None else min(self.most_tokens, self.context - len(ids) - 1)
        )
        config = SamplingConfig(temperature=0.0, max_new_tokens=room)
        eos = eos_ids_of(self.tokenizer, self.network)
        [found] = sample(self.network, [ids], config, pad_id=pad_id_of(self.tokenizer), eos_ids=eos)
        used.calls += 1
        used.prompt_tokens += len(ids)
        used.response_tokens += len(found.tokens)
        if not found.finished:
            raise Unusable(f"the judge was not done after {room} tokens")
        return decode_text(self.tokenizer, found.tokens)

    def _fitting(self, ids: list[int], room: int) -> list[int]:
        if self.context is not None and len(ids) + room > self.context:
            raise Unusable(f"{len(ids)} tokens are too long for the judge, which reads {self.context}")
        return ids

    def close(self) -> None:
        """Nothing is held open."""
