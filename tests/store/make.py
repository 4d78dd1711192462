"""What the tests of the store put into it."""

from labeling.store import NewPolicy, NewResponse


def add_task(store, text="a prompt", version=0, responses=4, **how):
    store.add_prompts([(text, "train")], "test")
    prompt = next(p for p in store.prompts() if p.text == text)
    new = [
        NewResponse(f"{text}, response {i}", 5, i % 2 == 0, {"temperature": 0.8}) for i in range(responses)
    ]
    return store.add_task(prompt.id, version, new, **how)


def add_version(store):
    """A policy made by a round, published."""
    round_ = store.begin_round({})
    version = store.next_version()
    store.end_round(round_.id, "published", None, {}, NewPolicy(version, f"policies/{version}", "starter"))
    return version


def rank(store, person, nonce, ranks=(1, 2, 3, 4)):
    """Claim a task and rank it."""
    task = store.claim_task(person)
    return store.add_ranking(person, task.id, nonce, None if ranks is None else list(ranks))
