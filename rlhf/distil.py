"""A reward model as the standard class holds it: a sequence classifier with one label, taught by ours.

Ours cannot be put into that class as it is. `AutoModelForSequenceClassification` is a linear map of the last
token's last state. Ours (`reward_model`) adds a head over the largest, the least and the sum of states at
three quarters of the depth to a log-ratio of two models and to the reference's own likelihood, which takes a
pass through another model. So a student learns to say what it says. It begins as the reference, its linear
map is fitted first (a ridge regression on the states as they are), then all of it learns by squared error of
the scores and of their differences between responses to one prompt (Hofstätter 2020, "Improving Efficient
Neural Ranking Models with Cross-Architecture Knowledge Distillation": MarginMSE), since order is what a
reward model is for. Labels are free: any response that the policies write can be asked about.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from data.conversation import as_messages
from data.export_rows import prompt_text
from rlhf.chat import behind_a_response, pad_id_of, with_system
from rlhf.config import ModelError, setting
from rlhf.generate import encode_prompt
from rlhf.loading import name_and_revision
from rlhf.models import Family

RIDGE = 1e-2  # of the first fit, relative to the states' mean variance
TOGETHER = 16  # texts in one pass


@dataclass(frozen=True)
class Text:
    """A response, and what it was scored by the teacher."""

    prompt: str
    response: str
    finished: bool
    score: float


@dataclass(frozen=True)
class DistilConfig:
    epochs: int = setting(2, "Passes over the texts.")
    prompts_per_step: int = setting(16, "Prompts per optimiser step; all responses to one stay together.")
    learning_rate: float = setting(2e-3, "Peak learning rate of a model 256 wide; see Family.learning_rate.")
    weight_decay: float = setting(0.01, "AdamW weight decay.")
    warmup: float = setting(0.1, "Share of the steps that warm up; linear decay to 0 after them.")
    margin_weight: float = setting(1.0, "Weight of the squared error of differences, beside that of scores.")


class Student:
    """A sequence classifier with one label, and how it reads a prompt with its response."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase):
        self.model, self.tokenizer = model, tokenizer
        self.pad_id = pad_id_of(tokenizer, model.get_input_embeddings().weight.shape[0])
        model.config.pad_token_id = self.pad_id  # the class looks for the last token that is none
        model.config.get_text_config().pad_token_id = self.pad_id
        self.context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.behind = behind_a_response(tokenizer)

    def encode(self, prompt: str, response: str, finished: bool = True) -> list[int]:
        """Token ids as TRL and others make them: the chat template of the whole conversation, or the texts
        and EOS. What was cut is not closed. Where all has no room the prompt's beginning is left out.
        """
        tokenizer, behind = self.tokenizer, self.behind
        if tokenizer.chat_template:
            messages = [
                *with_system(tokenizer, as_messages(prompt)),
                {"role": "assistant", "content": response},
            ]
            try:
                text = tokenizer.apply_chat_template(messages, tokenize=False)
                ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            except Exception:  # a template raises what it likes: put as the policies read it
                own = tokenizer(response, add_special_tokens=False)["input_ids"]
                ids = encode_prompt(tokenizer, prompt) + own + behind
            if not finished and behind and ids[-len(behind) :] == behind:
                ids = ids[: -len(behind)]
        else:
            end = (tokenizer.eos_token or "") if finished else ""
            system = getattr(tokenizer, "podium_system_prompt", "")
            ids = tokenizer(prompt_text(prompt, system) + response + end)["input_ids"]
        return ids[-self.context :] if self.context else ids

    def batch(self, rows: Sequence[list[int]]) -> dict[str, Tensor]:
        """Right-padded, with its mask."""
        width = max(len(row) for row in rows)
        ids = torch.full((len(rows), width), self.pad_id)
        mask = torch.zeros(len(rows), width, dtype=torch.long)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
            mask[number, : len(row)] = 1
        device = self.model.device
        return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}

    def last(self, row: list[int]) -> int:
        """Which token the class reads: the last that is no PAD, which EOS may be too."""
        return max((place for place, token in enumerate(row) if token != self.pad_id), default=0)

    def whole(self) -> PreTrainedModel:
        """The model alone; adapters are merged into it."""
        if hasattr(self.model, "merge_and_unload"):
            self.model = self.model.merge_and_unload()
        return self.model

    def __call__(self, rows: Sequence[list[int]]) -> Tensor:
        """Scores (N,) of token ids, on the CPU, with gradients when they are on."""
        parts, order = [], []
        for own in by_length(rows):
            parts.append(self.model(**self.batch([rows[i] for i in own])).logits.squeeze(-1).float().cpu())
            order += own
        return torch.cat(parts)[torch.tensor(order).argsort()]

    @torch.no_grad()
    def score_texts(
        self, prompts: Sequence[str], responses: Sequence[str], finished: Sequence[bool] | None = None
    ) -> Tensor:
        """Scores (N,) on the CPU."""
        finished = finished or [True] * len(responses)
        return self([self.encode(*text) for text in zip(prompts, responses, finished, strict=True)])


def by_length(rows: Sequence[list[int]]) -> Iterator[list[int]]:
    """Which rows go through the model together: of like lengths, so that little is padding."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    yield from (order[start : start + TOGETHER] for start in range(0, len(order), TOGETHER))


def new_student(reference: str, family: Family, trust_remote_code: bool = False) -> Student:
    """A classifier on the reference, in float32; with adapters where the family has them. Raises ModelError
    where there is no such class.
    """
    name, revision = name_and_revision(reference)
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            name,
            num_labels=1,
            dtype=torch.float32,
            id2label={0: "score"},
            label2id={"score": 0},
            trust_remote_code=trust_remote_code,
            **({"revision": revision} if revision else {}),
        )
    except ValueError as error:
        first = (str(error).strip().splitlines() or ["unknown"])[0]
        raise ModelError(
            f"transformers has no sequence classifier for this model ({first[:200]}); "
            "its reward model cannot be exported."
        ) from error
    student = Student(model, family.tokenizer)
    if family.kind != "full":
        from peft import LoraConfig, get_peft_model

        rank = 16
        lora = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="SEQ_CLS")
        student.model = get_peft_model(model, lora)
    student.model.to(family.device).eval()  # dropout is off everywhere here
    return student


def distil(
    student: Student, texts: Sequence[Text], config: DistilConfig, rate: float, seed: int
) -> Iterator[float]:
    """Teach it; yields each optimiser step's loss. rate: the peak learning rate (`Family.learning_rate`)."""
    model = student.model
    encoded = [student.encode(t.prompt, t.response, t.finished) for t in texts]
    fit_head(student, encoded, torch.tensor([t.score for t in texts]))
    by_prompt: dict[str, list[int]] = {}
    for number, text in enumerate(texts):
        by_prompt.setdefault(text.prompt, []).append(number)
    groups = list(by_prompt.values())
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=config.weight_decay)
    steps = config.epochs * -(-len(groups) // config.prompts_per_step)
    warm = max(1, round(config.warmup * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (steps - step) / max(1, steps - warm))
    )
    draw = random.Random(seed)
    for _ in range(config.epochs):
        draw.shuffle(groups)
        for start in range(0, len(groups), config.prompts_per_step):
            own = groups[start : start + config.prompts_per_step]
            rows = [number for group in own for number in group]
            group_of = torch.tensor([g for g, group in enumerate(own) for _ in group])
            wanted = torch.tensor([texts[number].score for number in rows])
            loss = _loss(student([encoded[n] for n in rows]), wanted, group_of, config.margin_weight)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            yield float(loss.detach())


def _loss(scores: Tensor, wanted: Tensor, group_of: Tensor, margin_weight: float) -> Tensor:
    """Squared error of scores, and of the differences between those to one prompt."""
    loss = F.mse_loss(scores, wanted)
    pairs = (group_of[:, None] == group_of) & (torch.arange(len(scores))[:, None] < torch.arange(len(scores)))
    if not pairs.any():
        return loss
    gaps = (scores[:, None] - scores)[pairs] - (wanted[:, None] - wanted)[pairs]
    return loss + margin_weight * gaps.square().mean()


@torch.no_grad()
def fit_head(student: Student, encoded: Sequence[list[int]], scores: Tensor) -> None:
    """The linear map that says the scores best from the states as they are.

    The class has no bias, so the mean is left to training: only the differences from it are fitted.
    """
    head = _head(student.model)
    seen: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.zeros(len(encoded), head.in_features)
    try:
        for own in by_length(encoded):
            rows = [encoded[i] for i in own]
            student(rows)
            last = torch.tensor([student.last(row) for row in rows])
            found = seen.pop()
            x[own] = found[torch.arange(len(rows)), last.to(found.device)].float().cpu()
    finally:
        hook.remove()
    centred = x - x.mean(0)
    ridge = RIDGE * centred.square().mean() * len(x) * torch.eye(x.shape[1])
    weights = torch.linalg.solve(centred.T @ centred + ridge, centred.T @ (scores - scores.mean()))
    head.weight.copy_(weights[None].to(head.weight))


def _head(model: PreTrainedModel) -> torch.nn.Linear:
    """The linear map to the one label: `score` in most architectures, `classifier` in others."""
    found = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == 1]
    return found[-1]
