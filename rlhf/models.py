"""The roles made from one model: reference, published, policy, reward, viewer.

Two families share one interface. `LoraFamily` keeps one frozen base and one adapter per role (the
reference is the base with adapters off). `FullFamily` keeps a copy per role: for a model as small as the
starter that is cheaper than adapters and learns faster. Whatever uses a family says

    with family.use("policy") as model:
        logits = model(...).logits

and neither knows nor cares which one it has. Dropout is off everywhere: PPO's first ratio must be 1.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora.layer import LoraLayer
from peft.utils.save_and_load import load_peft_weights
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf import bf16_layers, four_bit
from rlhf.batching import Padded, by_length, in_powers_of_two, pack, pack_evenly, plant, trees_of
from rlhf.chat import check_vocabulary, closing_eos_of, eos_ids_of, pad_id_of, set_system_prompt
from rlhf.config import ModelError
from rlhf.decoding import continues
from rlhf.loading import (
    frozen_dtype,
    load_causal_lm,
    load_config,
    load_tokenizer,
    one_sentence,
    pick_bf16,
    pick_device,
    resolve,
)
from rlhf.lora_product import quicken
from rlhf.lora_targets import targets_of
from rlhf.model_steps import ModelSteps
from rlhf.needs import Work, sizes_of, token_budgets
from rlhf.passes import alike, reads_trees, window_of
from rlhf.pooled import PooledHead
from rlhf.quick_steps import lay_together, of_known_build
from rlhf.refusals import ANOTHER_COPY
from rlhf.tuning import pick_tuning
from rlhf.voices import BASE, Voices

LONGEST_TREE = 1024  # tokens of a row that several responses share: attention's cost goes with their square
# Tokens of a row that trees share on a CPU: forward and backward of 64 responses of 17 tokens (mean) behind
# prompts of 28 through a Llama of 5.9M parameters took 617 ms in float32 and 476 in bf16 in rows sorted by
# length, 565 and 368 packed (two cores with AMX); rows of 96, 192 and 256 tokens 403, 361 and 446 in bf16.
ROW = 128
EAGER_TREE = 256  # the same where attention keeps all of them for the backward pass
ROLES = ("policy", "published", "viewer", "reward")  # beside the reference
TRAINED = ("policy", "reward")


class Family:
    """What the two families share. `kind` is 'full', 'lora' or 'qlora'."""

    kind: str
    trusts_code = False  # whether code that comes with a model may be run, also of the base beside it

    def __init__(
        self,
        reference: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        device: torch.device,
        bf16: bool = False,
    ):
        self.tokenizer = tokenizer
        self.device, self.bf16 = device, bf16
        self.even = bf16 and device.type == "cpu"  # there a product of a new shape is slow to set up
        if self.even:
            bf16_layers.quicken(reference)
        self.hidden_size = reference.config.get_text_config().hidden_size
        self.output_size = reference.get_output_embeddings().weight.shape[1]  # OPT-350M projects into fewer
        self.packs = device.type == "cpu"
        self.token_budget = token_budgets(device.type)[0]  # padded tokens that go through a model together
        self.context = room = getattr(reference.config.get_text_config(), "max_position_embeddings", None)
        longest = EAGER_TREE if self.even else LONGEST_TREE
        self.longest_tree = min(longest, window_of(reference) or longest, room or longest)
        with self._autocast(sampling=True):
            continues(reference)
        # In bf16 a model that cannot read them would be found out too seldom.
        exact = reads_trees(reference) if reference.dtype == torch.float32 else of_known_build(reference)
        with self._autocast(sampling=False):  # as in use: a mask has the type of what it masks
            if not (exact and reads_trees(reference)):
                self.longest_tree = 0
        self.records = device.type == "cuda" and self.longest_tree > 0 and of_known_build(reference)
        rows = reference.get_input_embeddings().weight.shape[0]
        check_vocabulary(tokenizer, rows)
        self.pad_id = pad_id_of(tokenizer, rows)
        self.eos_ids = eos_ids_of(tokenizer, reference)
        if not self.eos_ids:
            raise ModelError("The model's tokenizer names no EOS token, so no response could ever end.")
        self.closing_eos = closing_eos_of(tokenizer, self.eos_ids)

    def _autocast(self, sampling: bool):
        # Sampling's products are small, and each step's attention has a new shape: no bf16 on a CPU.
        bf16 = self.bf16 and not (sampling and self.even)
        return torch.autocast(self.device.type, torch.bfloat16) if bf16 else nullcontext()

    def batches(
        self, prompts: Sequence[list[int]], responses: Sequence[list[int]]
    ) -> Iterator[tuple[list[int], Padded]]:
        """All of them in batches of the token budget, each with the responses that are in it, by number.

        Those to one prompt share a row where the model can read it (`batching`).
        """
        trees = trees_of(prompts, responses, self.longest_tree)
        lengths = [len(prompts[tree[0]]) + sum(len(responses[i]) for i in tree) for tree in trees]
        long = [[tree] for tree, length in enumerate(lengths) if length > self.longest_tree]
        short = [tree for tree, length in enumerate(lengths) if length <= self.longest_tree]
        if self.packs:
            packed = pack([lengths[tree] for tree in short], min(ROW, self.longest_tree, self.token_budget))
            short = [[short[i] for i in row] for row in packed]
        else:
            short = [[tree] for tree in short]
        for part in (long, short):  # apart: a shared row's mask knows of no window, which a long row may have
            for batch in by_length([sum(lengths[tree] for tree in row) for row in part], self.token_budget):
                rows = [part[row] for row in batch]
                for own in self._in_even_shapes(rows, lengths) if self.even else [rows]:
                    picked = [[trees[tree] for tree in row] for row in own]
                    numbers = [i for row in picked for tree in row for i in tree]
                    together = [[(prompts[t[0]], [responses[i] for i in t]) for t in row] for row in picked]
                    yield numbers, plant(together, self.pad_id, self.device, even=self.even)

    def _in_even_shapes(self, rows: list[list[int]], lengths: Sequence[int]) -> Iterator[list[list[int]]]:
        """The rows of a batch, packed anew or cut so that even shapes make them little larger."""
        trees = [tree for row in rows for tree in row]
        most = min(2 * ROW, self.longest_tree)
        width = min(ROW, self.token_budget, most or ROW)
        if packed := pack_evenly([lengths[tree] for tree in trees], width, most):
            yield [[trees[i] for i in row] for row in packed]
        else:
            yield from map(list, in_powers_of_two(rows))

    def together(self, roles: Sequence[str]) -> list[list[int]]:
        """Which rows can be sampled together, when each is of the role given for it."""
        by_role: dict[str, list[int]] = {}
        for row, role in enumerate(roles):
            by_role.setdefault(role, []).append(row)
        return list(by_role.values())

    @contextmanager
    def speaking(self, roles: Sequence[str]) -> Iterator[tuple[PreTrainedModel, Voices | None]]:
        """For sampling: the causal LM, and whose each row is, of rows that are sampled together."""
        with self.use(roles[0], sampling=True) as model:
            yield model, None

    def learning_rate(self, at_width_256: float) -> float:
        """A rate for this model: wider ones want smaller steps (Adam's rate goes with 1 / width: Yang 2022,
        "Tensor Programs V", section 2.1), adapters about three times those of full tuning.
        """
        return at_width_256 * 256 / self.hidden_size * (1 if self.kind == "full" else 3)

    def state(self, role: str) -> dict[str, Tensor]:
        """A copy of the role's weights, apart from the live ones."""
        return {name: tensor.clone() for name, tensor in self.weights(role).items()}

    def new_head(self, heads: int = 1) -> PooledHead:
        """One or several over pooled states."""
        return PooledHead(self.hidden_size, heads).to(self.device)


class FullFamily(Family):
    """A whole copy of the model per role, made when it is first used."""

    kind = "full"

    def __init__(self, reference, tokenizer, device, bf16=False):
        super().__init__(reference, tokenizer, device, bf16)
        self._models = {"reference": reference}

    def _model(self, role: str) -> PreTrainedModel:
        if role not in self._models:
            copied = copy.deepcopy(self._models["reference"])
            self._models[role] = copied.requires_grad_(role in TRAINED)
        return self._models[role]

    @contextmanager
    def use(self, role: str, *, sampling: bool = False) -> Iterator[PreTrainedModel]:
        """The causal LM of a role."""
        with self._autocast(sampling):
            yield self._model(role)

    def parameters(self, role: str) -> list[nn.Parameter]:
        """What is trained for a role."""
        return list(self._model(role).parameters())

    def weights(self, role: str) -> dict[str, Tensor]:
        """The role's weights as they are: whoever keeps them sees them change."""
        return self._model(role).state_dict()

    def set_state(self, role: str, state: dict[str, Tensor]) -> None:
        self._model(role).load_state_dict(state)

    def copy(self, source: str, target: str) -> None:
        """Make `target` equal `source`, which may be 'reference'."""
        self._model(target).load_state_dict(self._model(source).state_dict())

    @torch.no_grad()
    def draw_back(self, role: str, share: float) -> None:
        """Move the role's weights this share of the way to the reference's."""
        reference = self._model("reference").parameters()
        for own, other in zip(self._model(role).parameters(), reference, strict=True):
            own.lerp_(other, share)

    def save(self, role: str, folder: Path) -> None:
        """Write a folder that `AutoModelForCausalLM.from_pretrained` reads."""
        self._model(role).save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def load(self, role: str, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError."""
        with one_sentence(str(folder), ANOTHER_COPY):
            # by the class that is here already: a model's own code is neither looked for nor asked about
            saved = type(self._model("reference")).from_pretrained(folder, dtype=torch.float32)
            self._model(role).load_state_dict(saved.state_dict())


class LoraFamily(Family):
    """One frozen base, with QLoRA in 4 bits; a LoRA adapter per role; the reference is the base without."""

    def __init__(self, reference, tokenizer, device, rank: int, bf16: bool = False, targets=()):
        """targets: full names of the layers that adapters are on; none: `targets_of`."""
        super().__init__(reference, tokenizer, device, bf16)
        self.kind = "qlora" if four_bit.in_four_bits(reference) else "lora"
        targets = list(targets or targets_of(reference))
        # What an adapter adds is scaled by alpha / rank: 2, whatever the rank.
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, task_type="CAUSAL_LM")
        self._peft = PeftModel(reference, config, adapter_name=ROLES[0])
        for role in ROLES[1:]:
            self._peft.add_adapter(role, config)
        quicken(self._peft)
        self._peft.eval()
        self._layers = [m for m in self._peft.modules() if isinstance(m, LoraLayer)]
        for role in ROLES:
            for p in self.parameters(role):
                p.requires_grad_(role in TRAINED)
        self._speaker = ""
        self._let_speak("reference")
        self.mixes = self._can_mix()

    @contextmanager
    def use(self, role: str, *, sampling: bool = False) -> Iterator[PreTrainedModel]:
        """The base model with the role's adapter switched on (none for the reference)."""
        before = self._speaker
        self._let_speak(role)
        try:
            with self._autocast(sampling):
                yield self._peft.get_base_model()
        finally:
            self._let_speak(before)

    def _let_speak(self, role: str) -> None:
        """What PEFT's `set_adapter` and `disable_adapter` do to a layer, but for `requires_grad`.

        Those go through every module and every adapter's parameters, to change what here never changes: with
        28 layers and 4 adapters, one core, the one takes 23 ms, the other 98 there and back, this 1.2.
        """
        if role != self._speaker:
            for layer in self._layers:
                layer._disable_adapters = role == "reference"
                if role != "reference":
                    layer._active_adapter = [role]
            self._speaker = role

    def together(self, roles: Sequence[str]) -> list[list[int]]:
        """All of them, where each row can be spoken by an adapter of its own."""
        if not self.mixes:
            return super().together(roles)
        return [list(range(len(roles)))] if roles else []

    @torch.no_grad()
    def _can_mix(self) -> bool:
        """Try whether rows with an adapter each say what they say alone. PEFT cannot mix where a layer does
        not see rows: experts, or OPT's, which see all tokens of a batch one behind the other.
        """
        ids = torch.tensor([[1, 2, 3], [4, 5, 6]], device=self.device)
        parts = [
            p for name, p in self._peft.named_parameters() if f".{ROLES[0]}." in name and "lora_B" in name
        ]
        for p in parts:  # a new adapter adds nothing
            p.fill_(0.01)
        try:
            alone = []
            for row, role in enumerate((ROLES[0], "reference")):
                with self.use(role, sampling=True) as model:
                    alone.append(ModelSteps(model, ids[[row]], torch.ones_like(ids[[row]]), 1).logits)
            with self.use(ROLES[0], sampling=True) as model:
                voices = Voices(self._layers, [ROLES[0], BASE])
                together = ModelSteps(model, ids, torch.ones_like(ids), 1, voices).logits
            return alike(torch.cat(alone), together, within=1e-3)
        except Exception:  # a layer may refuse in any way
            return False
        finally:
            for p in parts:
                p.zero_()

    @contextmanager
    def speaking(self, roles: Sequence[str]) -> Iterator[tuple[PreTrainedModel, Voices | None]]:
        adapters = [role for role in roles if role != "reference"]
        with self.use(adapters[0] if adapters else "reference", sampling=True) as model:
            mixed = len(set(roles)) > 1
            names = [BASE if role == "reference" else role for role in roles]
            yield model, Voices(self._layers, names) if mixed else None

    def parameters(self, role: str) -> list[nn.Parameter]:
        return [p for name, p in self._peft.named_parameters() if f".{role}." in name and "lora_" in name]

    def weights(self, role: str) -> dict[str, Tensor]:
        """The adapter's weights as they are: whoever keeps them sees them change."""
        return get_peft_model_state_dict(self._peft, adapter_name=role)

    def set_state(self, role: str, state: dict[str, Tensor]) -> None:
        set_peft_model_state_dict(self._peft, state, adapter_name=role)

    def copy(self, source: str, target: str) -> None:
        if source == "reference":  # as new: B = 0 makes the adapter a no-op, A is drawn again (LoRA, 4.1)
            source_state = self.state(target)
            for name, tensor in source_state.items():
                if "lora_B" in name:
                    tensor.zero_()
                else:
                    nn.init.kaiming_uniform_(tensor, a=5**0.5)
        else:
            source_state = self.state(source)
        self.set_state(target, source_state)

    @torch.no_grad()
    def draw_back(self, role: str, share: float) -> None:
        """Make what the role's adapter adds to the reference smaller by this share."""
        for name, own in self._peft.named_parameters():
            if f".{role}." in name and "lora_B" in name:
                own.mul_(1 - share)

    def save(self, role: str, folder: Path) -> None:
        """Write a PEFT adapter folder."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        config = copy.copy(self._peft.peft_config[role])
        base = self._peft.get_base_model()
        config.base_model_name_or_path = base.name_or_path
        config.revision = getattr(base.config, "_commit_hash", None)  # of the hub; a folder has none
        config.save_pretrained(folder)
        state = {k: v.contiguous().cpu() for k, v in self.state(role).items()}
        save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        self.tokenizer.save_pretrained(folder)

    def load(self, role: str, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError."""
        with one_sentence(str(folder), ANOTHER_COPY):
            self.set_state(role, load_peft_weights(str(folder), device=str(self.device)))


def load_family(
    model: str,
    *,
    tuning: str = "auto",
    device: str = "auto",
    lora_rank: int = 16,
    precision: str = "float32",
    lora_targets: str = "",
    system_prompt: str = "",
    trust_remote_code: bool = False,
    work: Work | None = None,
) -> Family:
    """Load a model and make its family. Weights under training are float32, whatever the precision of
    products. Raises ModelError with one sentence.

    model: 'starter', a folder, a hub id, `owner/name@revision`. lora_targets: names of layers, by commas; '':
    `targets_of`. work: what memory must do for, as far as it is known beforehand (`needs`); None: it is not
    asked whether it will.
    """
    where = pick_device(device)
    path = resolve(model)
    config = load_config(path, trust_remote_code)
    bf16 = pick_bf16(precision, where, config.get_text_config().hidden_size)
    with one_sentence(path):
        targets = lora_targets.split(",") if lora_targets else ()
        sizes = sizes_of(config, lora_rank, targets, trust_remote_code)
    tuning, budget = pick_tuning(model, sizes, tuning, where, bf16, work)
    tokenizer = load_tokenizer(path, trust_remote_code)
    set_system_prompt(tokenizer, system_prompt)
    dtype = torch.float32 if tuning == "full" else frozen_dtype(where, bf16)
    base = load_causal_lm(path, where, dtype, tuning == "qlora", trust_remote_code)
    if tuning == "full":
        family = FullFamily(base, tokenizer, where, bf16)
    else:
        if where.type == "cuda":
            lay_together(base)
        family = LoraFamily(base, tokenizer, where, lora_rank, bf16, targets_of(base, lora_targets))
    family.token_budget, family.longest_tree = budget, min(family.longest_tree, budget)
    family.trusts_code = trust_remote_code
    return family
