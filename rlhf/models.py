"""Tokenizer, base model, and the roles made from it: reference, published, policy, reward, viewer.

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
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rlhf import bf16_layers, four_bit
from rlhf.batching import Padded, by_length, in_powers_of_two, pack, pack_evenly, plant, trees_of
from rlhf.config import STARTER, ModelError
from rlhf.decoding import continues
from rlhf.lora_product import quicken
from rlhf.model_steps import ModelSteps
from rlhf.passes import alike, reads_trees, window_of
from rlhf.pooled import PooledHead
from rlhf.quick_steps import lay_together, of_known_build
from rlhf.voices import BASE, Voices

FULL_BELOW = 50_000_000  # parameters; `--tuning auto` trains smaller models in full
WIDE = 128  # from this width on a CPU's bf16 pays
LONGEST_TREE = 1024  # tokens of a row that several responses share: attention's cost goes with their square
# Tokens of a row that trees share on a CPU: forward and backward of 64 responses of 17 tokens (mean) behind
# prompts of 28 through a Llama of 5.9M parameters took 617 ms in float32 and 476 in bf16 in rows sorted by
# length, 565 and 368 packed (two cores with AMX); rows of 96, 192 and 256 tokens 403, 361 and 446 in bf16.
ROW = 128
EAGER_TREE = 256  # the same where attention keeps all of them for the backward pass
ROLES = ("policy", "published", "viewer", "reward")  # beside the reference
TRAINED = ("policy", "reward")


def pick_device(name: str) -> torch.device:
    """'auto' is CUDA when there, else MPS, else CPU. Raises ModelError for a device that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(name.split(":")[0], False):
        raise ModelError(f"--device {name} is not there on this machine; use --device auto.")
    return torch.device(name)


def resolve(model: str, stage: str = "sft") -> str:
    """'starter' is the embedded model; anything else is a local folder or a hub id. Raises ModelError."""
    if model == "starter":
        return str(STARTER / stage)
    path = Path(model).expanduser()
    if (path.is_absolute() or model.startswith(".")) and not path.is_dir():
        raise ModelError(f"Model folder '{model}' does not exist; give --model another one, or a hub id.")
    return str(path) if path.is_dir() else model


def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """Tokenizer of a folder or hub id. Raises ModelError."""
    with _one_sentence(model):
        return AutoTokenizer.from_pretrained(model)


def load_causal_lm(
    model: str, device: torch.device, dtype: torch.dtype, in_four_bits: bool = False
) -> PreTrainedModel:
    """Causal LM in eval mode, frozen; its linear layers in 4 bits on demand. Raises ModelError."""
    place = torch.cuda.current_device() if device.type == "cuda" and device.index is None else device
    options = {"quantization_config": four_bit.settings(dtype), "device_map": {"": place}}
    with _one_sentence(model):
        loaded = AutoModelForCausalLM.from_pretrained(model, dtype=dtype, **(options if in_four_bits else {}))
    # else a PAD that is EOS too would keep EOS from learning what it means to have read it
    loaded.get_input_embeddings().padding_idx = None
    if in_four_bits:
        four_bit.quicken(loaded)
    else:
        loaded.to(device)
    return loaded.eval().requires_grad_(False)


def count_parameters(model: str) -> int:
    """Of a folder or hub id, without loading its weights. Raises ModelError."""
    with _one_sentence(model), torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model)).num_parameters()


def pick_bf16(precision: str, device: torch.device, width: int) -> bool:
    """Whether matrix products are taken in bf16. 'auto': where the hardware has units for it, and it pays.

    On a CPU that is AMX. There each new shape costs milliseconds, and products of a tiny model are not what
    takes its time: three rounds of the starter, 160 wide, took 45.4 s with it and 50.3 without (two cores).
    Win rates after them, seeds 20 to 23: .852, .848, .834, .833 with it, .857, .845, .831, .840 without.
    """
    if precision != "auto":
        return precision == "bf16"
    capabilities = getattr(torch.cpu, "get_capabilities", dict)  # torch 2.11 has none
    amx = device.type == "cpu" and capabilities().get("amx_bf16", False)
    return device.type == "cuda" or (amx and width >= WIDE)


def frozen_dtype(device: torch.device, bf16: bool = True) -> torch.dtype:
    """Of weights that are never trained: no float32 copy is needed where all products are in bf16."""
    return torch.bfloat16 if bf16 and device.type == "cuda" else torch.float32


ANOTHER_MODEL = "give --model a folder made by save_pretrained, a hub id, or leave it out for the starter"
ANOTHER_COPY = "restore it from a copy, or use another --run-dir"


@contextmanager
def _one_sentence(model: str, way_out: str = ANOTHER_MODEL) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever a broken folder makes a loader raise, people get one sentence
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"Model '{model}' could not be loaded ({first[:200]}); {way_out}.") from error


def pad_id_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id to pad with; EOS will do without a PAD: what counts is decided by lengths, never by ids."""
    return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0


def eos_ids_of(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> set[int]:
    """Every token that ends a response: chat models often list more than the tokenizer's own EOS."""
    listed = model.generation_config.eos_token_id if model.generation_config else None
    ids = listed if isinstance(listed, list) else [listed]
    return {i for i in [tokenizer.eos_token_id, *ids] if i is not None}


def closing_eos_of(tokenizer: PreTrainedTokenizerBase, eos_ids: set[int]) -> int:
    """The EOS a response is closed with when only its text is known: the one that the policy writes too.

    The chat template shows it, behind a response: for some models it is another than the tokenizer's own.
    """
    if tokenizer.chat_template:
        messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Podium"}]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        behind = tokenizer(text.rpartition("Podium")[2], add_special_tokens=False)["input_ids"]
        shown = [token for token in behind if token in eos_ids]
        if shown:
            return shown[0]
    own = tokenizer.eos_token_id
    return own if own is not None else min(eos_ids)


class Family:
    """What the two families share. `kind` is 'full', 'lora' or 'qlora'."""

    kind: str

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
        self.token_budget = 2048 if self.packs else 8192  # padded tokens that go through a model together
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
        self.pad_id = pad_id_of(tokenizer)
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
        with _one_sentence(str(folder), ANOTHER_COPY):
            saved = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
            self._model(role).load_state_dict(saved.state_dict())


class LoraFamily(Family):
    """One frozen base, with QLoRA in 4 bits; a LoRA adapter per role; the reference is the base without."""

    def __init__(self, reference, tokenizer, device, rank: int, bf16: bool = False):
        super().__init__(reference, tokenizer, device, bf16)
        self.kind = "qlora" if four_bit.in_four_bits(reference) else "lora"
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
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
        config.base_model_name_or_path = self._peft.get_base_model().name_or_path
        config.save_pretrained(folder)
        state = {k: v.contiguous().cpu() for k, v in self.state(role).items()}
        save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        self.tokenizer.save_pretrained(folder)

    def load(self, role: str, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError."""
        with _one_sentence(str(folder), ANOTHER_COPY):
            self.set_state(role, load_peft_weights(str(folder), device=str(self.device)))


def load_family(
    model: str,
    *,
    tuning: str = "auto",
    device: str = "auto",
    lora_rank: int = 16,
    precision: str = "float32",
) -> Family:
    """Load a model and make its family. Weights under training are float32, whatever the precision of
    products. Raises ModelError with one sentence.
    """
    where = pick_device(device)
    if tuning == "qlora" and (refused := four_bit.refusal(where)):
        raise ModelError(refused)
    path = resolve(model)
    tokenizer = load_tokenizer(path)
    with _one_sentence(path):
        width = AutoConfig.from_pretrained(path).get_text_config().hidden_size
    bf16 = pick_bf16(precision, where, width)
    if tuning == "auto":
        tuning = "full" if count_parameters(path) < FULL_BELOW else "lora"
    if tuning == "full":
        return FullFamily(load_causal_lm(path, where, torch.float32), tokenizer, where, bf16)
    base = load_causal_lm(path, where, frozen_dtype(where, bf16), in_four_bits=tuning == "qlora")
    if where.type == "cuda":
        lay_together(base)
    return LoraFamily(base, tokenizer, where, lora_rank, bf16)
