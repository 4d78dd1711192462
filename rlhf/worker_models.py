"""What the worker has in memory: the models of a run, and which policy is the published one."""

from pathlib import Path

import torch

from labeling.store import Store
from rlhf import checkpoint
from rlhf.config import WorkerConfig
from rlhf.generate import SamplingConfig
from rlhf.loading import same_model
from rlhf.memory import give_back
from rlhf.models import ModelError, load_family, resolve
from rlhf.needs import Work
from rlhf.prompts import load_prompts, prompt_limit
from rlhf.reward_model import RewardModel
from rlhf.sft_model import base_of
from rlhf.viewer import Viewer


class Models:
    """`family` and `reward_model`, `viewer` to show what they write, `version` of the published policy."""

    def __init__(self, store: Store, run_dir: Path, config: WorkerConfig):
        """Load models and prompts. Raises ModelError, ValueError or StoreError with one sentence."""
        self.store, self.run_dir, self.config = store, run_dir, config
        self.sampling = SamplingConfig(temperature=config.temperature, max_new_tokens=config.max_new_tokens)
        made_with = store.get_setting("model")
        if made_with is not None and not same_model(made_with, config.source):
            raise ModelError(
                f"Run directory {self.run_dir} was made with --model {made_with}, not {config.source}; "
                "use another --run-dir for another model."
            )
        torch.manual_seed(config.seed)
        self.family = load_family(
            config.source,
            tuning=self._tuning(),
            device=config.device,
            lora_rank=config.lora_rank,
            precision=config.precision,
            lora_targets=config.lora_targets,
            system_prompt=config.system_prompt,
            trust_remote_code=config.trust_remote_code,
            work=self._work() if config.memory_check else None,
        )
        self._check_tuning()
        self.prompt_limit = limit = prompt_limit(self.family, config, self.sampling)
        prompts = load_prompts(self.family, config, limit, store.imported_prompts())
        store.add_reference(resolve(config.source), made_with or config.source)
        store.put_setting("model", made_with or config.source)
        store.put_setting("tuning", self.family.kind)
        store.put_setting("lora_rank", config.lora_rank)
        store.put_setting("lora_targets", config.lora_targets)
        store.put_setting("base", self.base_model())
        checkpoint.clean(self.run_dir, [p.version for p in store.policies()])
        store.use_prompts(prompts, config.prompts or "starter")
        store.fail_running_samples("The worker ended while it wrote this.")
        self.reward_model = RewardModel(self.family)
        self.viewer = Viewer(
            self.family,
            self.reward_model,
            self.base_model(),
            self.sampling,
            self.run_dir,
            limit,
        )
        self.load_policy(store.published().version)
        self.load_scores()
        give_back()  # what reading the models has used

    def _tuning(self) -> str:
        """What 'auto' was when the run was made; how much memory is free now must not change that."""
        made_with = self.store.get_setting("tuning")
        return made_with if made_with and self.config.tuning == "auto" else self.config.tuning

    def _work(self) -> Work:
        """What memory must do for."""
        config = self.config
        return Work(episodes=config.ppo_episodes, response=config.max_new_tokens)

    def _check_tuning(self) -> None:
        """Adapters of another kind or size could not be loaded."""
        tuning, rank, targets = (
            self.store.get_setting(name) for name in ("tuning", "lora_rank", "lora_targets")
        )
        for made_with, now, option in (
            (tuning, self.family.kind, "tuning"),
            (rank if tuning != "full" else None, self.config.lora_rank, "lora-rank"),
            (targets if tuning != "full" else None, self.config.lora_targets, "lora-targets"),
        ):
            if made_with not in (None, now):
                raise ModelError(
                    f"Run directory {self.run_dir} was made with --{option} {made_with}, not {now}; "
                    f"use --{option} {made_with} or another --run-dir."
                )

    def base_model(self) -> str:
        """Folder or hub id of the model before SFT, or ''."""
        if self.config.base_model:
            return self.config.base_model
        return resolve("starter", "base") if self.config.model == "starter" else base_of(self.config.model)

    def load_policy(self, version: int) -> None:
        """Bring a policy into memory as the published one."""
        if version == 0:
            self.family.copy("reference", "published")
        else:
            self.family.load("published", checkpoint.policy_folder(self.run_dir, version) / "policy")
        self.version = version

    def load_scores(self) -> None:
        """Bring the newest reward model that can be read into memory, if there is one."""
        self.viewer.scores_ready = False
        versions = sorted((p.version for p in self.store.policies() if p.version), reverse=True)
        folders = [checkpoint.policy_folder(self.run_dir, version) / "reward" for version in versions]
        for version, folder in zip(versions, folders, strict=True):
            if not folder.is_dir():  # of demonstrations, made before there was a reward model
                continue
            try:
                self.reward_model.load(folder)
            except Exception as error:  # damaged, or of another Podium: all but scores goes on
                print(f"The reward model of policy {version} cannot be read: {error}", flush=True)
            else:
                self.viewer.scores_ready = True
                return
