"""The prompts of a run, as far as its model can read them."""

from collections.abc import Sequence
from pathlib import Path

from data.prompts import LEAST_DIFFERENT, read_prompts, split_prompts, starter_prompts
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


def fits(family: Family, prompt: str, limit: int) -> bool:
    """Whether the model can read it. Raises ModelError where its chat template refuses it."""
    return len(encode_prompt(family.tokenizer, prompt)) <= limit


def readable(family: Family, prompt: str, limit: int) -> bool:
    """The same of what was imported: one conversation that the template refuses does not end the rest."""
    try:
        return fits(family, prompt, limit)
    except ModelError:
        return False


def load_prompts(
    family: Family, config: WorkerConfig, limit: int, imported: Sequence[tuple[str, str]] = ()
) -> list[tuple[str, str]]:
    """(prompt, split) of the file, and of what was imported; without a file or enough imported ones, of the
    starter. Those over the limit are left out. Raises ValueError."""
    if config.prompts:
        given = read_prompts(Path(config.prompts))
        prompts = split_prompts([p for p in given if fits(family, p, limit)])
    else:
        given = starter_prompts() if len(imported) < LEAST_DIFFERENT else []
        prompts = [(p, split) for p, split in given if fits(family, p, limit)]
    prompts += [(p, split) for p, split in imported if readable(family, p, limit)]
    left_out = len(given) + len(imported) - len(prompts)
    if left_out:
        print(f"{left_out} prompts over {limit} tokens left out", flush=True)
    if not prompts:
        clipped = limit < config.max_prompt_tokens  # by the context, which --max-new-tokens shares
        option = "lower --max-new-tokens" if clipped else "raise --max-prompt-tokens"
        raise ValueError(f"All prompts are over {limit} tokens; {option}.")
    return prompts
