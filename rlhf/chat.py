"""What a model expects around a prompt, and what ends its response: template, system prompt, stop tokens.

Models differ: ChatML, Llama 3, Qwen and Gemma close a turn with a token that is not always the tokenizer's
EOS; Gemma's template refuses a system message; Mistral's wants turns to alternate; some templates begin with
BOS and some tokenizers add one; base models have no template. Here it is made one thing: token ids of a
prompt that a response follows, and the ids that end one.

The system prompt of a run is kept on its tokenizer (`set_system_prompt`): whoever encodes a prompt has it.
"""

from collections.abc import Iterator, Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.conversation import Message
from rlhf.config import ModelError


def set_system_prompt(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    """What stands before every conversation from now on; '': only what the template itself says."""
    tokenizer.podium_system_prompt = text.strip()


def with_system(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[Message]:
    """The messages behind the run's system prompt, unless they begin with one of their own."""
    system = getattr(tokenizer, "podium_system_prompt", "")
    if not system or messages[0]["role"] == "system":
        return list(messages)
    return [{"role": "system", "content": system}, *messages]


def encode_chat(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """Token ids of messages in the chat template, up to where the response begins. Raises ModelError."""
    ids = tokenizer(render(tokenizer, messages), add_special_tokens=False)["input_ids"]
    while len(ids) > 1 and ids[0] == ids[1] == tokenizer.bos_token_id:  # a template that writes it, and a
        ids = ids[1:]  # tokenizer that adds it unasked
    return ids


def encode_plain(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a text that a model without a template goes on with: without the EOS that some add."""
    ids = tokenizer(text)["input_ids"]
    while len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]
    return ids


def render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> str:
    """The messages as the template writes them, nothing left out. Raises ModelError."""
    return shaped_for(tokenizer, messages)[1]


def shaped_for(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> tuple[list[Message], str]:
    """The messages in a shape that the template takes, and as it writes them. Raises ModelError.

    What it refuses, or leaves out, is put otherwise: a system message into the first turn, turns of one role
    behind each other into one. Thinking aloud, where a template can switch it, is off: thoughts would fill
    the tokens a response may have.
    """
    reason, shortened = "", None
    for shaped in _shapes(list(messages)):
        try:
            text = tokenizer.apply_chat_template(
                shaped, add_generation_prompt=True, tokenize=False, enable_thinking=False
            )
        except Exception as error:  # a template raises what it likes
            reason = reason or (str(error).strip().splitlines() or [type(error).__name__])[0]
            continue
        if all(m["content"].strip() in text for m in messages):
            return shaped, text
        shortened = shortened or (shaped, text)
    if shortened is None:
        raise ModelError(
            f"The chat template of '{tokenizer.name_or_path}' refuses a prompt ({reason[:200]}); "
            "correct the template in the model's folder, or give --model another model."
        )
    return shortened


def _shapes(messages: list[Message]) -> Iterator[list[Message]]:
    yield messages
    if messages[0]["role"] == "system" and len(messages) > 1:
        first = messages[1]
        messages = [first | {"content": f"{messages[0]['content']}\n\n{first['content']}"}, *messages[2:]]
        yield messages
    alternate: list[Message] = []
    for message in messages:
        role = "user" if message["role"] == "system" else message["role"]
        if alternate and alternate[-1]["role"] == role:
            alternate[-1] = {"role": role, "content": f"{alternate[-1]['content']}\n\n{message['content']}"}
        else:
            alternate.append({"role": role, "content": message["content"]})
    yield alternate


def behind_a_response(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What the chat template writes behind a response; nothing where there is none, or it refuses."""
    if not tokenizer.chat_template:
        return []
    messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Podium"}]
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False)
    except Exception:  # a template raises what it likes
        return []
    return tokenizer(text.rpartition("Podium")[2], add_special_tokens=False)["input_ids"]


def eos_ids_of(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> set[int]:
    """Every token that ends a response: chat models often have more than the tokenizer's own EOS.

    Those that the generation config lists, and the special one that the template closes a turn with, as far
    as the model knows them.
    """
    listed = model.generation_config.eos_token_id if model.generation_config else None
    ids = listed if isinstance(listed, list) else [listed]
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    closing = [i for i in behind_a_response(tokenizer)[:1] if i in special]
    rows = model.get_input_embeddings().weight.shape[0]
    return {i for i in [tokenizer.eos_token_id, *ids, *closing] if i is not None and i < rows}


def closing_eos_of(tokenizer: PreTrainedTokenizerBase, eos_ids: set[int]) -> int:
    """The EOS a response is closed with when only its text is known: the one that the policy writes too.

    The chat template shows it, behind a response: for some models it is another than the tokenizer's own.
    """
    shown = [token for token in behind_a_response(tokenizer) if token in eos_ids]
    own = tokenizer.eos_token_id
    return shown[0] if shown else own if own in eos_ids or own is not None else min(eos_ids)


def pad_id_of(tokenizer: PreTrainedTokenizerBase, rows: int | None = None) -> int:
    """The id to pad with, of those that the model has embeddings for (rows; None: not known).

    PAD, else EOS, else UNK: any will do, as what counts is decided by lengths, never by ids. So nothing is
    added to the vocabulary and no embedding is resized, and an EOS that pads is learned all the same.
    """
    ids = tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id
    return next((i for i in ids if i is not None and (rows is None or i < rows)), 0)


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
    """Raise ModelError where the tokenizer writes tokens that the model has no embedding for."""
    ids = behind_a_response(tokenizer)
    if tokenizer.chat_template:
        ids = ids + encode_chat(tokenizer, [{"role": "user", "content": "Hello"}])
    unknown = [i for i in ids if i >= rows]
    if unknown:
        raise ModelError(
            f"The chat template writes the token {tokenizer.convert_ids_to_tokens(unknown[0])!r}, number "
            f"{unknown[0]}, and the model knows {rows}; take the tokenizer that belongs to the model, or "
            "resize its embeddings (resize_token_embeddings) before you save it."
        )
