"""What `python app.py evaluate` can be asked for beside two policies and a scorer (rlhf/standings.py)."""

from dataclasses import dataclass

from rlhf.config import setting


@dataclass(frozen=True)
class EvaluateConfig:
    """Given any of these, `evaluate` measures contenders side by side."""

    policies: str = setting(
        "",
        "Contenders side by side: all, or a list of base, prompted (the base, a good prompt), 0 (SFT), 1 ...",
    )
    against: str = setting("", "Compare all with this contender (0 if not given), or 'all': each with each.")
    judge: str = setting(
        "",
        "Beside the scorer: judge(prompt, a, b) -> 1, .5 or 0, named as a scorer is; or the URL of an "
        "OpenAI-compatible endpoint, which reads the constitution.",
    )
    judge_model: str = setting(
        "",
        "A model's name at that endpoint (empty: the only one there); without --judge, a model in here that "
        "reads the constitution: 'starter', a local folder or a hub id.",
    )
    judge_api_key_env: str = setting("", "Environment variable that holds that endpoint's key.")
    prompt_file: str = setting(
        "", "The base's good prompt, with {prompt} in it; else it is made of examples."
    )
    forgetting: str = setting(
        "", "Text file that should not be forgotten; else the starter's, if it is that."
    )
    lm_eval: str = setting("", "Tasks of lm-eval, by name or as YAML files, with commas between.")
    lm_eval_limit: int = setting(0, "Documents of each of these tasks; 0: all.")
    html: str = setting("", "Write a report to this file.")

    def __post_init__(self) -> None:
        if self.lm_eval_limit < 0:
            raise ValueError(f"--lm-eval-limit is {self.lm_eval_limit}; wanted: 0 or more.")
        if self.judge_api_key_env and not self.asks_endpoint:
            raise ValueError("--judge-api-key-env is of an endpoint; give its URL as --judge.")
        if self.judge_model and self.judge and not self.asks_endpoint:
            raise ValueError(
                f"--judge-model and --judge {self.judge} are two judges; wanted one of them, or the URL "
                "of an endpoint as --judge and its model's name."
            )
        if self.lm_eval_limit and not self.lm_eval:
            raise ValueError("--lm-eval-limit is given without --lm-eval; name its tasks too.")

    @property
    def asks_endpoint(self) -> bool:
        """Whether the judge is a model at an endpoint."""
        return self.judge.startswith(("http://", "https://"))

    @property
    def asked(self) -> bool:
        """Whether any is given."""
        return self != EvaluateConfig()
