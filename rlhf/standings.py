"""`python app.py evaluate --policies all`: the contenders of a run, measured side by side.

Every contender is asked the same held-out prompts once, sampled as annotators see it; then everything is
judged: by a scorer, by the run's reward model, by any judge of two responses. Beside the win rates stands
what they may have cost: KL, perplexity of demonstrations, forgetting, and behaviours. Nothing is written.
"""

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data import behaviours
from rlhf import perplexity
from rlhf.asked import PROMPTED, Run, contenders_of, general_texts, given_prompt
from rlhf.chat import encode_plain
from rlhf.contenders import Contender, Contenders, Response, reward_scores, sampling_of
from rlhf.evaluate import Z95, accuracy_interval
from rlhf.evaluate_config import EvaluateConfig
from rlhf.good_prompt import GoodPrompt, few_shot
from rlhf.votes import AGAIN, Judge, Votes, finite

Labels = Callable[[str, str], dict[str, bool]]

EXAMPLES = 8  # prompts whose responses are told
FEWEST_DEMONSTRATIONS = 5  # held out, to read
FEWEST_EXAMPLES = 3  # the run's own, to show the base
IN_SAMPLE = "The policies were trained to please it: in-sample, so it flatters them."
STARTERS_TASTE = (
    "'helpful' knows the starter's small world; of other prompts it sees little more than manners."
)
PROBED = {
    behaviours.REFUSES_HARM: "refuses one of 12 plainly harmful requests",
    behaviours.REFUSES_ELSE: "refuses one of 12 harmless look-alikes",
}


@dataclass(frozen=True)
class Ask:
    """The texts that everybody is measured on."""

    prompts: list[str]
    probes: list[str]
    heldout: list[tuple[str, str]]  # demonstrations: prompt, response
    general: list[str]


@dataclass
class Seen:
    """What was found of a contender while it was in memory."""

    about: dict[str, Any]
    responses: list[Response]
    probed: list[Response]
    heldout: perplexity.Reading | None
    general: perplexity.Reading | None


def evaluate_run(
    store: Run,
    config: EvaluateConfig,
    *,
    scorers: dict[str, Callable[[str, str], float]],
    judges: dict[str, Judge] | None = None,
    prompts: int = 200,
    seed: int = 0,
    device: str | None = None,
    labels: Sequence[Labels] = (behaviours.general,),
    people: dict[str, Any] | None = None,
    at_once: int = 1,
) -> dict[str, Any]:
    """Everything, as JSON can hold it. Raises ValueError or ModelError with one sentence.

    scorers, judges: by the name that the report gives them (`rlhf.votes.as_judge` makes a judge of what
    ranks), at_once: how many questions to a judge wait at the same time. people: `labeling.human_arena.arena`
    of the run.
    """
    begun, notes = time.monotonic(), []
    keys, against = contenders_of(store, config)  # what can be refused is, before models are loaded
    given = given_prompt(config, keys)
    ask, shown = _texts(store, config, prompts, seed, notes)
    tasks = _lm_eval(config)
    contenders, sampling = Contenders(store, device), sampling_of(store)
    if PROMPTED in keys:
        room = sampling.max_new_tokens
        contenders.prompt = _good_prompt(contenders, given, config.prompt_file, shown, ask.prompts, room)
    if not contenders.base_model:
        notes.append("No base model is known, so neither it nor a good prompt for it stands beside the rest.")
    if "helpful" in scorers and store.get_setting("model") != "starter":
        notes.append(STARTERS_TASTE)

    seen: dict[str, Seen] = {}
    asked = list(dict.fromkeys(["0", *against, *keys]))  # luck and forgetting are measured by SFT
    for number, key in enumerate(asked, start=1):
        one = contenders.load(key)
        _tell(f"{number} of {len(asked)}: {one.name}")
        seen[key] = _look(one, ask, sampling, seed, tasks)
    reference = contenders.load("0")
    again = reference.respond(ask.prompts, sampling, 3 * seed + 2)

    _tell("judging")
    said = {key: found.responses for key, found in seen.items()} | {AGAIN: again}
    votes = Votes(ask.prompts, said, at_once)
    judged = _judge(votes, scorers, reward_scores(store, contenders.family), judges or {})
    tokens, lengths = reference.family.tokenizer, {}
    for key, found in seen.items():
        texts = [r.text for r in found.responses]
        lengths[key] = [len(ids) for ids in tokens(texts, add_special_tokens=False)["input_ids"]]
        found.about |= _manners(ask, found, labels) | {
            "length": float(np.mean(lengths[key])),
            "scores": {name: votes.mean(name, key) for name in votes.scores},
        }
    _perplexities(seen)
    pairs = [(key, other) for key in keys for other in against if _meet(key, other, keys, against)]
    matches = [
        {"judge": one["name"], "contender": key, "against": other}
        | votes.match(one["name"], key, other, lengths)
        for one in judged
        for key, other in pairs
    ]
    return {
        "run": str(store.run_dir),
        "model": store.get_setting("model"),
        "base": contenders.base_model,
        "seed": seed,
        "temperature": sampling.temperature,
        "prompts": len(ask.prompts),
        "length_unit": "tokens",
        "good_prompt": asdict(contenders.prompt) if contenders.prompt else None,
        "names": {key: contenders.name(key) for key in seen},
        "contenders": [seen[key].about for key in keys],
        "judges": judged,
        "matches": matches,
        "itself": [{"judge": one["name"]} | votes.match(one["name"], AGAIN, "0") for one in judged],
        "people": people or {},
        "examples": _examples(ask.prompts, seen, keys, votes),
        "notes": notes,
        "seconds": round(time.monotonic() - begun, 1),
    }


def _look(one: Contender, ask: Ask, sampling, seed: int, tasks) -> Seen:
    """Everything that needs the contender in memory."""
    is_policy = one.key.isdigit()
    responses = one.respond(ask.prompts, sampling, 3 * seed + (one.key != "0"))
    probed = one.respond(ask.probes, sampling, 3 * seed)
    about = {"key": one.key, "name": one.name, "version": int(one.key) if is_policy else None, "kl": None}
    if is_policy:
        nats = np.array(one.kl(ask.prompts, responses, sampling.temperature))
        error = Z95 * nats.std(ddof=1) / math.sqrt(len(nats)) if len(nats) > 1 else math.nan
        value = float(nats.mean())
        about["kl"] = {"value": finite(value), "low": finite(value - error), "high": finite(value + error)}
    if tasks is not None and one.prompt is None:
        with one.family.use(one.role) as model:
            about["lm_eval"] = tasks.run(model, one.family.tokenizer)
    return Seen(
        about,
        responses,
        probed,
        perplexity.read_demonstrations(one, ask.heldout) if ask.heldout else None,
        perplexity.read_texts(one, ask.general) if ask.general and one.prompt is None else None,
    )


def _judge(votes: Votes, scorers, rewards, judges: dict[str, Judge]) -> list[dict[str, str]]:
    """Let all score; what the report says of each judge."""
    judged = []
    for name, scorer in scorers.items():
        votes.score(name, lambda p, t, _, own=scorer: [float(own(*b)) for b in zip(p, t, strict=True)])
        judged.append({"name": name, "kind": "scorer", "note": ""})
    if rewards is not None:
        votes.score("reward model", rewards)
        judged.append({"name": "reward model", "kind": "reward model", "note": IN_SAMPLE})
    for name, judge in judges.items():
        votes.judges[name] = judge
        judged.append({"name": name, "kind": "judge", "note": ""})
    return judged


def _perplexities(seen: dict[str, Seen]) -> None:
    """Over the texts that all could read; the change is from SFT."""
    for name, of in (("perplexity", "heldout"), ("forgetting", "general")):
        readings = {key: getattr(found, of) for key, found in seen.items()}
        there = [reading for reading in readings.values() if reading is not None]
        every = np.logical_and.reduce([np.isfinite(r.nats) for r in there]) if there else None
        for key, reading in readings.items():
            found = None if reading is None else perplexity.summary(reading, every)
            if found and key != "0":
                found |= perplexity.change(reading, readings["0"], every)
            seen[key].about[name] = found


def _manners(ask: Ask, found: Seen, labels: Sequence[Labels]) -> dict[str, Any]:
    """What a contender's responses do, and how much of it there is."""
    shown: dict[str, list[bool]] = {}
    for prompt, response in zip(ask.prompts, found.responses, strict=True):
        for label in labels:
            for name, value in label(prompt, response.text).items():
                shown.setdefault(name, []).append(bool(value))
    for prompt, response in zip(ask.probes, found.probed, strict=True):
        said = behaviours.general(prompt, response.text)
        for name in PROBED.keys() & said.keys():
            shown.setdefault(PROBED[name], []).append(said[name])
    shown["ends by itself"] = [response.finished for response in found.responses]
    sizes = [behaviours.counts(response.text) for response in found.responses]
    return {
        "words": float(np.mean([size["words"] for size in sizes])),
        "sentences": float(np.mean([size["sentences"] for size in sizes])),
        "behaviours": {name: _share(values) for name, values in shown.items()},
    }


def _share(shown: list[bool]) -> dict[str, float]:
    low, high = accuracy_interval(sum(shown), len(shown))
    return {"share": sum(shown) / len(shown), "low": low, "high": high, "n": len(shown)}


def _meet(key: str, other: str, keys: list[str], against: list[str]) -> bool:
    """Each with each: every two once, the later one against the earlier. Against one: all but itself."""
    return key != other and (len(against) == 1 or keys.index(other) < keys.index(key))


def _texts(store: Run, config: EvaluateConfig, count: int, seed: int, notes: list[str]):
    """What is asked and read, and the examples for a good prompt. The starter has its own."""
    prompts = [p.text for p in store.prompts("heldout", seed)][:count]
    if not prompts:
        raise ValueError("This run has no held-out prompts yet; start it once with python app.py.")
    starter, known = None, store.demonstrations()
    if store.get_setting("model") == "starter":
        from data.starter import measures as starter
    shown, heldout = (
        [(d["prompt"], d["text"]) for d in known if d["split"] == split] for split in ("train", "heldout")
    )
    if len(heldout) < FEWEST_DEMONSTRATIONS:
        heldout = starter.heldout_demonstrations() if starter else []
        if not heldout:
            notes.append("Perplexity is not measured: the run has no demonstrations of held-out prompts.")
    if len(shown) < FEWEST_EXAMPLES and starter:
        shown = starter.good_examples()
    if config.forgetting:
        general = general_texts(Path(config.forgetting))
    elif starter:
        general = starter.general_texts()
    else:
        general = []
        notes.append("Forgetting is not measured: give a text with --forgetting FILE.")
    probes = [*behaviours.HARMFUL_REQUESTS, *behaviours.HARMLESS_REQUESTS]
    return Ask(prompts, probes, heldout, general), shown


def _good_prompt(
    contenders: Contenders, given: GoodPrompt | None, file: str, shown, prompts: list[str], room: int
) -> GoodPrompt:
    """The given one of the file, or one made of examples. Raises ValueError."""
    family = contenders.load(PROMPTED).family
    longest = max(prompts, key=len)

    def fits(template: str) -> bool:
        ids = encode_plain(family.tokenizer, GoodPrompt(template, "User:").around(longest))
        return family.context is None or len(ids) + room < family.context

    if given is None:
        return few_shot(shown, fits)
    if not fits(given.template):
        raise ValueError(
            f"Prompt file '{file}' leaves no room for a response in the {family.context} "
            "tokens that the base model reads; shorten it."
        )
    return given


def _lm_eval(config: EvaluateConfig):
    if not config.lm_eval:
        return None
    from rlhf.lm_eval_tasks import Tasks

    return Tasks(config.lm_eval, config.lm_eval_limit)


def _examples(prompts: list[str], seen: dict[str, Seen], keys: list[str], votes: Votes) -> list[dict]:
    return [
        {
            "prompt": prompt,
            "responses": {key: seen[key].responses[i].text for key in keys},
            "scores": {
                name: {key: finite(scores[key][i]) for key in keys} for name, scores in votes.scores.items()
            },
        }
        for i, prompt in enumerate(prompts[:EXAMPLES])
    ]


def _tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
