"""A policy of a run as others load it: the adapter with its base, or one merged model.

What is exported says what the run's policy says. A policy of full tuning is a plain model already; how
sharply it speaks (`logit_scale`) is in its last norm's weights. An adapter is merged in float32: the product
of its two matrices is added to the base's weights once, not at each token, so logits differ from base and
adapter by rounding alone (TOLERANCE). The sampling that the run shows to annotators (its temperature, and
neither top-k nor top-p nor penalties) is in generation_config.json, in place of what the base model had.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from data.export_files import ExportError, put_in_place
from rlhf import checkpoint, model_card
from rlhf.chat import eos_ids_of, pad_id_of, shaped_for
from rlhf.config import STARTER, ModelError
from rlhf.loading import load_causal_lm, load_tokenizer, name_and_revision
from rlhf.models import Family, load_family
from rlhf.quiet import quiet

CPU = torch.device("cpu")
TOLERANCE = 1e-5  # of float32 logits, relative to the largest of them; held by tests/test_export_policy.py


class Run(Protocol):
    """What is needed of the store."""

    run_dir: Path

    def get_setting(self, key: str, default: Any = None) -> Any: ...
    def policies(self) -> list: ...
    def published(self): ...
    def rounds(self) -> list: ...
    def ranking_counts_through(self, ranking_id: int) -> Mapping[str, int]: ...


def pick_version(run: Run, version: int | None) -> int:
    """The version asked for, or the published one. Raises ExportError."""
    known = sorted(p.version for p in run.policies())
    if not known:
        raise ExportError("This run has no policy yet; start it once with python app.py.")
    if version is None:
        return run.published().version
    if version not in known:
        raise ExportError(f"There is no policy {version}; this run has {', '.join(map(str, known))}.")
    return version


def reference_of(run: Run) -> str:
    """Folder or hub id of the model that the run began with."""
    return next(p.path for p in run.policies() if p.version == 0)


def folder_of(run: Run, version: int, part: str = "policy") -> Path:
    """Where the weights are, of a version above 0. Raises ExportError when they are gone."""
    folder = checkpoint.policy_folder(run.run_dir, version) / part
    if not folder.is_dir():
        raise ExportError(f"The weights of policy {version} are not in {folder}; restore it from a copy.")
    return folder


def is_adapter(folder: Path) -> bool:
    """Whether PEFT wrote it."""
    return (folder / "adapter_config.json").is_file()


def export_policy(
    run: Run,
    out: Path,
    *,
    version: int | None = None,
    merged: bool = True,
    dtype: str = "float32",
    overwrite: bool = False,
) -> str:
    """Write a policy's folder; returns what was written, for a terminal.

    version: None is the published one. merged: one model that loads alone, else the adapter alone. dtype: of
    the merged weights. Raises ExportError or ModelError, in one sentence; then nothing is at `out`.
    """
    version = pick_version(run, version)
    quiet()
    folder = folder_of(run, version) if version else None
    if not merged:
        return _export_adapter(run, out, version, folder, dtype, overwrite)
    model, tokenizer = load_policy(run, version)
    model.to(getattr(torch, dtype))
    model.generation_config = generation_config(run, model, tokenizer)

    def write(aside: Path) -> None:
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        card = _card(run, version, tokenizer, adapter=False, dtype=dtype)
        (aside / "README.md").write_text(card, encoding="utf-8")

    put_model(out, write, overwrite)
    sampling = model.generation_config
    return (
        f"policy {version} as one {type(model).__name__} in {dtype}, in {out}; "
        f"its own sampling is temperature {sampling.temperature:g} over all tokens, as in the run"
    )


def trusts(run: Run) -> bool:
    """Whether the run was started with leave to run code that comes with its model."""
    return bool((run.get_setting("config") or {}).get("trust_remote_code", False))


def load_run(run: Run, device: str) -> Family:
    """The run's family, with nothing in its roles yet. Raises ModelError."""
    settings = run.get_setting("config") or {}
    return load_family(
        run.get_setting("model"),
        tuning=run.get_setting("tuning", "auto"),
        device=device,
        lora_rank=run.get_setting("lora_rank", 16),
        precision="float32",
        lora_targets=run.get_setting("lora_targets", ""),
        system_prompt=settings.get("system_prompt", ""),
        trust_remote_code=trusts(run),
    )


def load_policy(run: Run, version: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The whole model in float32 on the CPU, an adapter merged into its base. Raises ModelError, or
    ExportError."""
    trusted = trusts(run)
    if version == 0:
        source = reference_of(run)
        model = load_causal_lm(source, CPU, torch.float32, trust_remote_code=trusted)
        return model, load_tokenizer(source, trusted)
    folder = folder_of(run, version)
    tokenizer = load_tokenizer(str(folder), trusted)
    if not is_adapter(folder):
        return load_causal_lm(str(folder), CPU, torch.float32, trust_remote_code=trusted), tokenizer
    from peft import PeftModel

    base = load_causal_lm(reference_of(run), CPU, torch.float32, trust_remote_code=trusted)
    try:
        return PeftModel.from_pretrained(base, folder).merge_and_unload(safe_merge=True), tokenizer
    except Exception as error:  # damaged, of another base: one sentence, whatever PEFT says
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"The adapter in {folder} could not be merged ({first[:200]}).") from error


def generation_config(
    run: Run, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> GenerationConfig:
    """As the run samples: every token that ends a response there ends it here, and nothing cuts the
    distribution. top_k 0: left out, it is 50."""
    settings = run.get_setting("config") or {}
    return GenerationConfig(
        do_sample=True,
        temperature=settings.get("temperature", 0.8),
        top_k=0,
        top_p=1.0,
        max_new_tokens=settings.get("max_new_tokens", 96),
        eos_token_id=sorted(eos_ids_of(tokenizer, model)),
        pad_token_id=pad_id_of(tokenizer, model.get_input_embeddings().weight.shape[0]),
        bos_token_id=tokenizer.bos_token_id,
    )


def _export_adapter(
    run: Run, out: Path, version: int, folder: Path | None, dtype: str, overwrite: bool
) -> str:
    if folder is None:
        raise ExportError("Policy 0 is the model that the run began with: it has no adapter.")
    if not is_adapter(folder):
        raise ExportError(f"Policy {version} was tuned in full and has no adapter; leave out --adapter.")
    if dtype != "float32":
        raise ExportError("--dtype is of a merged model; an adapter stays as it was trained.")
    base = reference_of(run)
    tokenizer = load_tokenizer(str(folder), trusts(run))

    def write(aside: Path) -> None:
        shutil.copytree(folder, aside, dirs_exist_ok=True)
        config = aside / "adapter_config.json"
        known = json.loads(config.read_text(encoding="utf-8"))
        # where it is today: a project may have been moved
        known["base_model_name_or_path"], known["revision"] = name_and_revision(base)
        config.write_text(json.dumps(known, indent=2), encoding="utf-8")
        card = _card(run, version, tokenizer, adapter=True, dtype=dtype)
        (aside / "README.md").write_text(card, encoding="utf-8")

    put_model(out, write, overwrite)
    return f"policy {version} as an adapter of {base}, in {out}"


def put_model(out: Path, write: Callable[[Path], None], overwrite: bool) -> None:
    """Have `write` fill a folder that is at `out` when it is whole. safetensors has errors of its own."""
    from safetensors import SafetensorError

    with put_in_place(out, overwrite) as aside:
        try:
            aside.mkdir()
            write(aside)
            checkpoint.open_to_all(aside)
        except SafetensorError as error:  # a full disk, most often
            raise OSError(str(error)) from error


def is_hub_id(model: str) -> bool:
    """Whether others find it by this name."""
    return model.count("/") == 1 and not model.startswith((".", "~", "/")) and not Path(model).exists()


def hub_id(run: Run) -> str:
    """What the run began with, for a card's header; '' for a model that is not on the hub."""
    reference = reference_of(run)
    return name_and_revision(reference)[0] if is_hub_id(reference) else ""


def describe_base(run: Run) -> tuple[str, bool]:
    """What the run began with, as a card calls it, and whether it is the starter. No path of this machine."""
    model = run.get_setting("model") or reference_of(run)
    if model == "starter" or Path(reference_of(run)).resolve().is_relative_to(STARTER):
        return "Podium's starter", True
    return (model if is_hub_id(model) else Path(model).name), False


def _card(run: Run, version: int, tokenizer: PreTrainedTokenizerBase, adapter: bool, dtype: str) -> str:
    base, starter = describe_base(run)
    settings = run.get_setting("config") or {}
    line = model_card.line_of(run.policies(), version)
    rounds = {r.id: r for r in run.rounds()}
    tuning = run.get_setting("tuning") or "full"
    methods = sorted({rounds[p.round_id].method for p in line if p.round_id in rounds})
    temperature, longest = settings.get("temperature", 0.8), settings.get("max_new_tokens", 96)
    hub = hub_id(run)
    asked = settings.get("system_prompt", "").strip()
    system = f"\n\nBefore each conversation stood this system prompt:\n\n```\n{asked}\n```" if asked else ""
    what = f"A LoRA adapter of {base}" if adapter else f"A {dtype} model that descends from {base}"
    quantised = (
        "\n\nIt was trained on a base in 4 bits; with the base in full precision it says almost the same, "
        "not exactly."
        if tuning == "qlora"
        else ""
    )
    head = model_card.header(
        "peft" if adapter else "transformers",
        "text-generation",
        hub,
        methods,
        "apache-2.0" if starter else "",
    )
    return f"""{head}
# Policy {version} of a Podium run

{what}, tuned by rankings of its own responses ({tuning} tuning).{quantised}

## Sampling

Annotators saw it, and it was trained, at **temperature {temperature:g}** over all tokens: no top-k, no
top-p, no penalties, {longest} tokens at most. {_where_sampling_is(adapter)}
How sharply it speaks was learned at that temperature; at another one it is another policy.{system}

```python
{_example(tokenizer, adapter, f"temperature={temperature:g}, max_new_tokens={longest}", asked)}
```

## Lineage

{model_card.lineage(line, rounds, run.ranking_counts_through)}

{model_card.lineage_notes()}

## Licence

{model_card.licence(base, starter)}

Exported by Podium {model_card.podium_version()}.
"""


def _where_sampling_is(adapter: bool) -> str:
    if adapter:
        return "An adapter carries no generation_config.json, so say so yourself, as below."
    return "generation_config.json says so."


def _example(tokenizer: PreTrainedTokenizerBase, adapter: bool, sampling: str, system: str) -> str:
    load = (
        "from peft import AutoPeftModelForCausalLM\nfrom transformers import AutoTokenizer\n\n"
        'model = AutoPeftModelForCausalLM.from_pretrained("FOLDER")'
        if adapter
        else "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'model = AutoModelForCausalLM.from_pretrained("FOLDER")'
    )
    messages = [{"role": "user", "content": "Hello"}]
    if system and tokenizer.chat_template:
        messages, _ = shaped_for(tokenizer, [{"role": "system", "content": system}, *messages])
    ask = (
        f"messages = {json.dumps(messages, ensure_ascii=False)}\n"
        'inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", '
        "return_dict=True)"
        if tokenizer.chat_template
        else 'inputs = tokenizer("Hello\\n", return_tensors="pt")  # a line break ends the prompt'
    )
    how = f", do_sample=True, {sampling}, top_k=0, top_p=1.0" if adapter else ""
    return (
        f'{load}\ntokenizer = AutoTokenizer.from_pretrained("FOLDER")\n{ask}\n'
        f'written = model.generate(**inputs{how})[0, inputs["input_ids"].shape[1] :]\n'
        "print(tokenizer.decode(written, skip_special_tokens=True))"
    )
