"""Tasks made ahead of the annotators: prompts, and what the published policy says to them."""

import random
import time
import traceback

from labeling.store import NewResponse, Prompt, Store, StoreError
from rlhf.config import WorkerConfig
from rlhf.drafts import Draft, draw_drafts
from rlhf.prompts import readable
from rlhf.schedule import LARGEST_FILL, least_tasks, next_fill, next_rest
from rlhf.worker_models import Models


class Tasks:
    """Makes tasks, and knows when the next ones are worth a try."""

    def __init__(self, store: Store, config: WorkerConfig, models: Models):
        self.store, self.config, self.models = store, config, models
        self.fills = 0  # in a row, until now
        self.rest = self.rest_until = 0.0  # after a fill that made no task
        self.known_to_fit: set[int] = set()  # ids of prompts that the model can read

    @property
    def resting(self) -> bool:
        return time.monotonic() < self.rest_until

    def claimable(self) -> int:
        """How many of the published policy are on nobody's screen."""
        return self.store.claimable_tasks(self.models.version)

    def fill_below(self, least: int) -> None:
        """Fill while fewer than these are claimable."""
        if self.claimable() < least and not self.resting:
            self.fill()
        else:
            self.fills = 0

    def fill(self) -> int:
        """Make a few tasks to judge the published policy by; return how many."""
        version = self.models.version
        count = next_fill(self.config.open_tasks - self.claimable(), self.fills)
        self.fills += 1
        made = self.add(version, *self._draw(count, version, "published"))
        self.rest = next_rest(self.rest, made)
        self.rest_until = time.monotonic() + self.rest
        return made

    def first_of(self, version: int) -> tuple[list[Prompt], list[list[Draft]], int] | None:
        """What `add` takes, of the policy that is about to be published: they come with it, or whoever is
        fast would go on ranking what the last one has said. None if they cannot be drawn; the next fill
        will say why.
        """
        try:
            return self._draw(min(least_tasks(self.config.open_tasks), LARGEST_FILL), version, "policy")
        except StoreError:
            raise
        except Exception:  # whatever it is, the policy has passed, and is not thrown away for this
            traceback.print_exc()
            return None

    def add(self, version: int, prompts: list[Prompt], drafts: list[list[Draft]], seed: int) -> int:
        """Tasks to judge this policy by; once there are enough, those of others go. Returns how many."""
        settings, made = {**vars(self.models.sampling), "seed": seed}, 0
        for number, (prompt, found) in enumerate(zip(prompts, drafts, strict=True)):
            if len(found) < 2:  # nothing to choose between
                self.store.pass_over(prompt.id, version)
                continue
            responses = [
                NewResponse(d.text, d.tokens, d.finished, settings, 0 if d.role == "reference" else version)
                for d in found
            ]
            wanted = 2 if random.Random(f"overlap {seed + number}").random() < self.config.overlap else 1
            self.store.add_task(prompt.id, version, responses, seed=seed + number, wanted=wanted)
            made += 1
        if self.store.claimable_tasks(version) >= least_tasks(self.config.open_tasks):
            self.store.retire_tasks(other_than=version)
        return made

    def readable(self, prompts: list[Prompt]) -> list[Prompt]:
        """Those that the model can read; of what is imported while it runs, the others are asked no more."""
        family, limit = self.models.family, self.models.prompt_limit
        new = [p for p in prompts if p.id not in self.known_to_fit]
        self.known_to_fit |= {p.id for p in new if readable(family, p.text, limit)}
        long = [p.id for p in new if p.id not in self.known_to_fit]
        if long:
            self.store.leave_out(long)
        return [p for p in prompts if p.id in self.known_to_fit]

    def _draw(self, count: int, version: int, role: str) -> tuple[list[Prompt], list[list[Draft]], int]:
        """Prompts, what this policy, which has this role, says to them, and the seed of that."""
        config, models = self.config, self.models
        prompts = self.readable(self.store.next_prompts(count, version, config.seed))
        # with a count that grows: a prompt that comes round again gets other responses
        seed = hash((config.seed, version, self.store.prompts_used())) & 0x7FFFFFFF
        beside = min(config.reference_responses, config.responses // 2) if version else 0
        texts, wanted = [p.text for p in prompts], config.responses
        return prompts, draw_drafts(models.family, texts, wanted, beside, models.sampling, seed, role), seed
