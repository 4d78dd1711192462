"""Why a model cannot be loaded, and the way out, in one sentence for people.

transformers and the hub's library say it in paragraphs, wrapped in one another, with addresses; here the
chain of what was raised is looked through for what a person can do something about.
"""

from collections.abc import Iterator
from pathlib import Path

import transformers
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError

ANOTHER_MODEL = "give --model a folder made by save_pretrained, a hub id, or leave it out for the starter"
ANOTHER_COPY = "restore it from a copy, or use another --run-dir"
LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
# What some tokenizer is made of; GPT-2's older ones have the second, SentencePiece's the third.
TOKENIZERS = ("tokenizer.json", "vocab.json", "*.model", "vocab.txt", "tekken.json")


def missing_file(folder: Path) -> str | None:
    """What a local folder lacks of a model; None if it is none, or has all."""
    if not folder.is_dir():
        return None

    def has(*patterns: str) -> bool:
        return any(next(folder.glob(pattern), None) for pattern in patterns)

    if has("config.json"):
        for what, patterns in (("weights", WEIGHTS), ("tokenizer", TOKENIZERS)):
            if not has(*patterns):
                return (
                    f"Model folder '{folder}' has no {what} ({' or '.join(patterns[:2])}); "
                    f"save both model and tokenizer there with save_pretrained, or give --model another one."
                )
    elif has("adapter_config.json"):
        return (
            f"'{folder}' is a LoRA adapter without its model; merge it into its base "
            "(PEFT's merge_and_unload, then save_pretrained), and give that folder to --model."
        )
    else:
        return f"Folder '{folder}' has no config.json, so it is not a model; {ANOTHER_MODEL}."
    return None


def reason_of(model: str, revision: str | None, error: BaseException) -> str | None:
    """What kept a model from being loaded, in one sentence; None if it is nothing known."""
    for raised in _chain(error):
        if said := _of_hub(model, revision, raised) or _of_files(model, raised) or _of_build(model, raised):
            return said
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """What was raised first comes last: so it is looked at from the other end."""
    found = [error]
    while (behind := found[-1].__cause__ or found[-1].__context__) and len(found) < 20:
        found.append(behind)
    return reversed(found)


def _of_hub(model: str, revision: str | None, error: BaseException) -> str | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, GatedRepoError):
        return f"Model '{model}' is gated: ask for access on its page of the hub, then {LOGIN}."
    if isinstance(error, RevisionNotFoundError):
        return f"Model '{model}' has no revision '{revision}'; give --revision a branch, a tag or a commit."
    if isinstance(error, HfHubHTTPError) and status == 401 and "credentials" in f"{error}".lower():
        return f"The hub refused this machine's token, asked for '{model}'; {LOGIN} with a valid one."
    if isinstance(error, RepositoryNotFoundError):
        return f"There is no model '{model}' on the hub, or it is private: check its name, or {LOGIN}."
    if isinstance(error, HfHubHTTPError) and status is not None:
        if status == 403:
            return f"The hub does not let this machine's token read '{model}'; {LOGIN} with one that may."
        return f"The hub answered {status} for '{model}'; try again later, or give --model a local folder."
    if isinstance(error, OfflineModeIsEnabled | LocalEntryNotFoundError | ConnectionError):
        return (
            f"Model '{model}' is not on this machine, and the hub cannot be reached; "
            "connect (is HF_HUB_OFFLINE set?), or give --model a local folder."
        )
    if isinstance(error, HFValidationError):
        return f"'{model}' is neither a folder nor a hub id (owner/name); {ANOTHER_MODEL}."
    return None


def _of_files(model: str, error: BaseException) -> str | None:
    if isinstance(error, SafetensorError) or "EOFError" in type(error).__name__:
        return (
            f"The weights of model '{model}' are damaged or cut off ({_first(error)}); "
            "copy or download them again."
        )
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"Model '{model}' does not fit into memory; try --tuning qlora on a GPU, or a smaller model."
    if isinstance(error, OSError) and "not a valid JSON" in f"{error}":
        return f"The config.json of model '{model}' is not JSON; copy or download it again."
    return None


def _of_build(model: str, error: BaseException) -> str | None:
    if not isinstance(error, ValueError | KeyError | ImportError):
        return None
    text = f"{error}"
    if "trust_remote_code" in text:
        return (
            f"Model '{model}' comes with code of its own, which is run only with --trust-remote-code: "
            "read it first, it can do whatever you can."
        )
    if "does not recognize this architecture" in text:
        kind = text.partition("model type `")[2].partition("`")[0] or "its kind"
        return (
            f"transformers {transformers.__version__} does not know models of the kind '{kind}' ('{model}'); "
            "install a newer one, or give --model another model."
        )
    if "Unrecognized configuration class" in text:
        kind = text.partition("Config'>")[0].rpartition(".")[2] or "model"
        return f"Model '{model}' is a {kind}, which does not go on with a text; give --model a causal LM."
    return None


def _first(error: BaseException) -> str:
    return (f"{error}".strip().splitlines() or [type(error).__name__])[0][:120]
