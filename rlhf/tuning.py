"""Which tuning a model gets here: what is asked for, or the first that fits into memory."""

import torch

from rlhf import four_bit
from rlhf.config import ModelError
from rlhf.needs import Sizes, Work, free_memory, gigabytes, needs, token_budgets

FULL_BELOW = 50_000_000  # parameters; `--tuning auto` trains smaller models in full


def pick_tuning(
    model: str, sizes: Sizes, tuning: str, device: torch.device, bf16: bool, work: Work | None
) -> tuple[str, int]:
    """'full', 'lora' or 'qlora', and how many tokens may go through the model together, as many as fit.

    'auto' is the first tuning that fits, in full for small models only. Raises ModelError where none does, or
    what is asked for cannot be had.
    """
    if tuning == "qlora" and (refused := four_bit.refusal(device)):
        raise ModelError(refused)
    free = free_memory(device) if work else None
    budgets = token_budgets(device.type)

    def takes(kind: str, budget: int = budgets[-1]) -> float:
        parts = needs(sizes, kind, device.type, bf16, work, budget)
        return sum(size for name, size in parts.items() if name != "process")  # which is there already

    def fits(kind: str, budget: int = budgets[-1]) -> bool:
        return free is None or takes(kind, budget) <= free

    possible = ["full", "lora", *(["qlora"] if four_bit.refusal(device) is None else [])]
    if tuning == "auto":
        small = sizes.parameters < FULL_BELOW
        tuning = next((kind for kind in possible[0 if small else 1 :] if fits(kind)), possible[-1])
    if fits(tuning):
        return tuning, next(budget for budget in budgets if fits(tuning, budget))
    others = [kind for kind in possible[possible.index(tuning) + 1 :] if fits(kind)]
    way_out = f"try --tuning {others[0]}" if others else "try a smaller model, or a lower --ppo-episodes"
    raise ModelError(
        f"Model '{model}' with --tuning {tuning} needs about {gigabytes(takes(tuning))} and "
        f"{gigabytes(free)} are free on {device.type}; {way_out} (--no-memory-check tries it all the same)."
    )
