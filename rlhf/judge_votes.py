"""The judge of `python app.py evaluate`: a function of two responses, or a model with the constitution."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial

from data.scorers import load_judge
from rlhf.evaluate_config import EvaluateConfig
from rlhf.judge import JudgeConfig, open_judge
from rlhf.judge_client import EndpointError, Usage
from rlhf.judge_prompts import Unusable
from rlhf.votes import Judge, as_judge

AT_ONCE = 4  # questions that an endpoint is asked at the same time


@contextmanager
def judges_of(
    config: EvaluateConfig, constitution: str, device: str | None = None
) -> Iterator[tuple[dict[str, Judge], int, list[str]]]:
    """The judges by name, how many questions to ask at once, and, when it is over, what to note of them.
    device: of a model in here.

    A model is asked in both orders, and ties two responses where it disagrees with itself, or where no answer
    of its can be used, which is noted. Raises ModelError or ValueError with one sentence, also where an
    endpoint is lost.
    """
    notes: list[str] = []
    if config.judge and not config.asks_endpoint:
        yield {config.judge: load_judge(config.judge)}, 1, notes
        return
    if not (config.judge or config.judge_model):
        yield {}, 1, notes
        return
    settings = JudgeConfig(
        endpoint=config.judge,
        model=config.judge_model,
        api_key_env=config.judge_api_key_env,
        device=device or "auto",
    )
    tell = partial(print, file=sys.stderr, flush=True)
    try:
        with closing(open_judge(settings, tell)) as model:
            name, asked, unusable = f"{model.model}, by the constitution", [], []

            def ranks(prompt: str, responses: Sequence[str]) -> Sequence[int]:
                asked.append(prompt)
                try:
                    return model.rank(constitution, prompt, responses, Usage(), lambda: None).ranks
                except Unusable as why:
                    unusable.append(str(why))
                    return [1] * len(responses)

            yield {name: as_judge(ranks)}, AT_ONCE if model.endpoint else 1, notes
    except EndpointError as error:
        raise ValueError(str(error)) from error
    if unusable:
        notes.append(
            f"{name}: {len(unusable)} of {len(asked)} answers could not be used and count as ties, the first "
            f"because {unusable[0]}."
        )
