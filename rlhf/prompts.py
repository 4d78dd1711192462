"""The prompts of a run, as far as its model can read them."""

from pathlib import Path

from data.prompts import read_prompts, split_prompts, starter_prompts
from rlhf.config import WorkerConfig
from rlhf.generate import SamplingConfig, encode_prompt, longest_prompt
from rlhf.models import Family, ModelError


def prompt_limit(family: Family, config: WorkerConfig, sampling: SamplingConfig) -> int:
    """Tokens a prompt may have: what is set, or what the model's context leaves beside a response.

    Raises ModelError when it leaves nothing.
    """
    with family.use("reference") as model:
        room = longest_prompt(model, sampling)
    if room is None:
        return config.max_prompt_tokens
    if room < 1:
        raise ModelError(
            f"--max-new-tokens {sampling.max_new_tokens} leaves no room for a prompt in the "
            f"{room + sampling.max_new_tokens + 1} tokens this model reads."
        )
    return min(room, config.max_prompt_tokens)


def load_prompts(family: Family, config: WorkerConfig, limit: int) -> list[tuple[str, str]]:
    """(prompt, split) of the file or the starter; those over the limit are left out. Raises ValueError."""

    def fits(prompt: str) -> bool:
        return len(encode_prompt(family.tokenizer, prompt)) <= limit

    if config.prompts:
        given = read_prompts(Path(config.prompts))
        prompts = split_prompts([p for p in given if fits(p)])
    else:
        given = starter_prompts()
        prompts = [(p, split) for p, split in given if fits(p)]
    if len(prompts) < len(given):
        print(f"{len(given) - len(prompts)} prompts over {limit} tokens left out", flush=True)
    if not prompts:
        clipped = limit < config.max_prompt_tokens  # by the context, which --max-new-tokens shares
        option = "lower --max-new-tokens" if clipped else "raise --max-prompt-tokens"
        raise ValueError(f"All prompts are over {limit} tokens; {option}.")
    return prompts
