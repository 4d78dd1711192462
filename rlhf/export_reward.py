"""A run's reward model as others load it: a sequence classifier with one label, and how well it does.

It is taught by ours (`distil`), and never quietly: how often it puts two responses in the order that ours
does, and how often in the order that annotators did, stands on its card and on the terminal, ours beside it.
Both are of prompts that it has learned nothing of. Ours has learned from those rankings, so there it is
flattered, and a little so is whoever learns from it.
"""

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Protocol

import torch

from data.export_files import ExportError
from data.export_rows import RankingRecord, Split
from data.preferences import RankedResponses
from rlhf import model_card
from rlhf.config import ModelError
from rlhf.distil import DistilConfig, Student, Text, distil, new_student
from rlhf.export import (
    Run,
    describe_base,
    folder_of,
    hub_id,
    load_run,
    put_model,
    reference_of,
    trusts,
)
from rlhf.generate import SamplingConfig, decode_text, encode_prompt, sample_from
from rlhf.models import Family
from rlhf.quiet import quiet
from rlhf.reward_accuracy import Accuracy, measure_accuracy
from rlhf.reward_model import RewardModel

PROMPTS = 600  # that the policies are asked for the student's lessons
HELDOUT = 150  # held-out prompts that judge it
VOICES = ("reference", "reference", "published")  # who answers each of them
BATCH = 512  # prompts sampled together
TEST_SHARE = 0.2  # of the ranked prompts, kept from the student
LEAST_AGREEMENT = 0.75  # below, whoever uses it is warned


class RankedRun(Run, Protocol):
    """What is needed of the store."""

    def prompts(self, split: str, seed: int) -> list: ...
    def prompts_in_use(self) -> list[tuple[str, bool]]: ...
    def ranking_records(self) -> Iterator[RankingRecord]: ...
    def imported_records(self) -> Iterator[RankingRecord]: ...


@dataclass(frozen=True)
class Figures:
    """How the student does, on prompts that it learned nothing of."""

    agreement: Accuracy  # with the teacher, on responses to held-out prompts
    accuracy: Accuracy  # with the annotators
    teacher: Accuracy  # the teacher's own, on the same rankings

    def sentences(self) -> str:
        """For a terminal and a card."""
        said = [
            f"It puts {_share(self.agreement)} of responses to {self.agreement.prompts} prompts that nobody "
            "ranked in the order of the run's own reward model."
        ]
        if self.accuracy.pairs:
            said.append(
                f"It orders {_share(self.accuracy)} of rankings of {self.accuracy.prompts} prompts kept "
                "from it as the annotators did; the run's own, which has learned from them, orders "
                f"{_share(self.teacher)}."
            )
        else:
            said.append("No rankings were left to compare it with annotators.")
        if self.agreement.pairs and self.agreement.accuracy < LEAST_AGREEMENT:
            said.append("THAT IS POOR: do not use it where the order matters.")
        return "\n".join(said)


def _share(found: Accuracy) -> str:
    if not found.pairs:
        return "none"
    return f"{found.accuracy:.1%} ({found.low:.1%} to {found.high:.1%}) of {found.pairs} pairs"


class _AsRewardModel:
    """A student as `measure_accuracy` asks for scores."""

    def __init__(self, student: Student):
        self.student = student

    def encode_ranking(self, ranking: RankedResponses) -> tuple[str, list[tuple[str, str, bool]]]:
        rows = zip(ranking.responses, ranking.finished, strict=True)
        return ranking.prompt, [(ranking.prompt, text, finished) for text, finished in rows]

    def score(self, _: Sequence[str], texts: Sequence[tuple[str, str, bool]]) -> torch.Tensor:
        return self.student.score_texts(*(list(column) for column in zip(*texts, strict=True)))


def export_reward_model(
    run: RankedRun,
    out: Path,
    *,
    version: int | None = None,
    device: str = "auto",
    overwrite: bool = False,
    prompts: int = PROMPTS,
    config: DistilConfig | None = None,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> str:
    """Distil, judge and write it; what was written and how good it is, for a terminal.

    version: the policy whose reward model it is; None: the newest policy's that has one. prompts: how many
    the student's lessons are drawn from. tell: hears what is being done. Raises ExportError or ModelError, in
    one sentence; then nothing is at `out`.
    """
    config = config or DistilConfig()
    version = _pick(run, version)
    quiet()
    settings = run.get_setting("config") or {}
    family = load_run(run, device)
    teacher = RewardModel(family)
    try:
        teacher.load(folder_of(run, version, "reward"))
    except ExportError:
        raise
    except Exception as error:  # damaged, or of another Podium: one sentence, whatever a reader raises
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ModelError(f"The reward model of policy {version} cannot be read ({first}).") from error
    family.load("published", folder_of(run, version))
    names = [f.name for f in fields(SamplingConfig)]
    sampling = SamplingConfig(**{name: settings[name] for name in names if name in settings})

    split = Split(run.prompts_in_use(), TEST_SHARE)
    rankings = [as_ranking(r) for records in (run.ranking_records(), run.imported_records()) for r in records]
    kept = [r for r in rankings if split(r.prompt) == "test"]
    asked = [p.text for p in run.prompts("train", seed) if split(p.text) == "train"][:prompts]
    lessons = _drawn(family, asked, sampling, seed, tell)
    lessons += [row for r in rankings if split(r.prompt) == "train" for row in _texts(r)]
    if not lessons:
        raise ExportError("This run has no prompts to teach the exported reward model by.")
    student = new_student(reference_of(run), family, trusts(run))
    rate = family.learning_rate(config.learning_rate)
    tell(f"scoring {len(lessons):,} responses")
    taught = scored(teacher, lessons)
    for step, loss in enumerate(distil(student, taught, config, rate, seed), start=1):
        if not math.isfinite(loss):
            raise ExportError("The exported reward model's loss is not a finite number; nothing was written.")
        if step % 25 == 1:
            tell(f"teaching, step {step}: loss {loss:.3f}")

    heldout = [p.text for p in run.prompts("heldout", seed)][:HELDOUT]
    fresh = _drawn(family, heldout, sampling, seed + 1, tell)
    figures = Figures(
        measure_accuracy(_AsRewardModel(student), as_order(scored(teacher, fresh))),
        measure_accuracy(_AsRewardModel(student), kept),
        measure_accuracy(teacher, kept),
    )

    def write(aside: Path) -> None:
        model = student.whole()
        model.save_pretrained(aside)
        family.tokenizer.save_pretrained(aside)
        card = _card(run, version, figures, len(lessons), bool(family.tokenizer.chat_template))
        (aside / "README.md").write_text(card, encoding="utf-8")

    put_model(out, write, overwrite)
    return (
        f"the reward model of policy {version} as one {type(student.whole()).__name__}, in {out}, taught by "
        f"{len(lessons):,} responses\n{figures.sentences()}"
    )


def _pick(run: RankedRun, version: int | None) -> int:
    """The newest policy with a reward model, or the one asked for. Raises ExportError."""
    versions = sorted((p.version for p in run.policies()), reverse=True)
    own = [v for v in versions if v and (run.run_dir / "policies" / str(v) / "reward").is_dir()]
    if version is not None and version not in versions:
        raise ExportError(
            f"There is no policy {version}; this run has {', '.join(map(str, versions[::-1]))}."
        )
    if version is not None and version not in own:
        raise ExportError(
            f"Policy {version} has no reward model; those that have one: "
            f"{', '.join(map(str, own[::-1])) or 'none'}."
        )
    if not own:
        raise ExportError(
            "This run has no reward model yet; it comes with the first policy that is published."
        )
    return own[0] if version is None else version


def as_ranking(record: RankingRecord) -> RankedResponses:
    """With what the annotator wrote above all."""
    written = [] if record.better is None else [record.better]
    return RankedResponses(
        record.prompt,
        (*written, *record.responses),
        (*(1 for _ in written), *(rank + len(written) for rank in record.ranks)),
        (*(True for _ in written), *(record.finished or [True] * len(record.responses))),
    )


def _texts(ranking: RankedResponses) -> list[tuple[str, str, bool]]:
    rows = zip(ranking.responses, ranking.finished, strict=True)
    return [(ranking.prompt, text, finished) for text, finished in rows]


def _drawn(
    family: Family, prompts: Sequence[str], sampling: SamplingConfig, seed: int, tell: Callable[[str], None]
) -> list[tuple[str, str, bool]]:
    """What the reference and the policy say to each prompt."""
    generator = torch.Generator(device=family.device).manual_seed(seed)
    found: list[tuple[str, str, bool]] = []
    for start in range(0, len(prompts), BATCH):
        own = prompts[start : start + BATCH]
        tell(f"the policies answer prompt {start + 1:,} to {start + len(own):,} of {len(prompts):,}")
        ids = [encode_prompt(family.tokenizer, p) for p in own]
        for voice in VOICES:
            for prompt, drawn in zip(own, sample_from(family, voice, ids, sampling, generator), strict=True):
                found.append((prompt, decode_text(family.tokenizer, drawn.tokens), drawn.finished))
    return found


def scored(teacher: RewardModel, texts: Sequence[tuple[str, str, bool]]) -> list[Text]:
    """Each once, with the teacher's score."""
    texts = list(dict.fromkeys(texts))
    random.Random(0).shuffle(texts)  # batches of mixed lengths all take about as long
    found: list[Text] = []
    for start in range(0, len(texts), BATCH):
        own = texts[start : start + BATCH]
        prompts, responses, finished = (list(column) for column in zip(*own, strict=True))
        scores = teacher.score_texts(prompts, responses, finished).tolist()
        found += [Text(*text, score) for text, score in zip(own, scores, strict=True)]
    return found


def as_order(texts: Iterable[Text]) -> list[RankedResponses]:
    """What the teacher says of each prompt's responses, as a ranking."""
    found = []
    for prompt, group in groupby(sorted(texts, key=lambda t: t.prompt), key=lambda t: t.prompt):
        own = list(group)
        if len(own) > 1:
            better = sorted({t.score for t in own}, reverse=True)
            ranks = tuple(better.index(t.score) + 1 for t in own)
            responses, finished = tuple(t.response for t in own), tuple(t.finished for t in own)
            found.append(RankedResponses(prompt, responses, ranks, finished))
    return found


def _card(run: RankedRun, version: int, figures: Figures, lessons: int, chat: bool) -> str:
    base, starter = describe_base(run)
    head = model_card.header(
        "transformers", "text-classification", hub_id(run), ["reward-model"], "apache-2.0" if starter else ""
    )
    line = model_card.line_of(run.policies(), version)
    rounds = {r.id: r for r in run.rounds()}
    ask = (
        'messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day!"}]\n'
        "text = tokenizer.apply_chat_template(messages, tokenize=False)\n"
        'inputs = tokenizer(text, add_special_tokens=False, return_tensors="pt")'
        if chat
        else 'inputs = tokenizer("Hello\\n" + "Good day!" + tokenizer.eos_token, return_tensors="pt")'
    )
    return f"""{head}
# The reward model of policy {version} of a Podium run

It gives a prompt with its response one number; higher is better. About 0 is a usual response of {base}, the
model the run began with, and 1 is one standard deviation of those.

```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer

model = AutoModelForSequenceClassification.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
{ask}
print(model(**inputs).logits[0, 0])
```

## How good it is

{figures.sentences()}

Intervals are 95 %, over prompts. It is a student: Podium's own reward model is no sequence classifier (a head
over pooled states, a log-ratio of two models and a likelihood), so one was taught to say what it says, by
squared error on its scores of {lessons:,} responses.

## Lineage

{model_card.lineage(line, rounds, run.ranking_counts_through)}

{model_card.lineage_notes()}

## Licence

{model_card.licence(base, starter)}

Exported by Podium {model_card.podium_version()}.
"""
