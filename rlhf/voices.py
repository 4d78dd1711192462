"""Several adapters in one batch: each row of what goes through the base is spoken by an adapter of its own.

The task queue shows responses of the policy beside some of the reference, and the before/after page shows
several policies side by side. Row by row they read the same frozen base, so they can share its passes: PEFT
mixes adapters within a batch (its `adapter_names`), and so do the steps of `quick_steps`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from peft.tuners.lora.layer import LoraLayer

BASE = "__base__"  # what PEFT calls a row without an adapter


class Voices:
    """Which adapter speaks in which row. names: one a row, an adapter's or `BASE`."""

    def __init__(self, layers: Sequence[LoraLayer], names: Sequence[str]):
        self.layers, self.names = layers, list(names)

    def only(self, rows: Sequence[int]) -> "Voices":
        """Of these rows."""
        return Voices(self.layers, [self.names[row] for row in rows])

    @contextmanager
    def speaking(self) -> Iterator[None]:
        """Whatever goes through the base here has just these rows."""
        name = partial(_name, self.names)
        hooks = [layer.register_forward_pre_hook(name, with_kwargs=True) for layer in self.layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _name(names: list[str], _layer, arguments: tuple, options: dict) -> tuple[tuple, dict]:
    return arguments, options | {"adapter_names": names}
