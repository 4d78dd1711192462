"""Who may rank, and what is known of them."""

import pytest

from labeling.store import StoreError


def test_a_person_is_known_by_their_token_and_the_token_is_not_kept(store, tmp_path):
    person = store.add_person("a secret", "anna", "human")
    assert store.session("a secret") == person
    assert store.session("another secret") is None
    assert store.add_person("a secret", "somebody else", "program") == person
    store.close()
    assert b"a secret" not in b"".join(path.read_bytes() for path in tmp_path.glob("labels.db*"))


def test_names_are_made_unique(store):
    names = [store.add_person(f"token {i}", "anna", "human").name for i in range(3)]
    assert names == ["anna", "anna 2", "anna 3"]
    third = store.session("token 2")
    assert store.rename_person(third.id, "anna").name == "anna 3"
    assert store.rename_person(third.id, "carl").name == "carl"


def test_there_is_one_shared_program(store):
    shared = store.shared_program()
    assert shared == store.shared_program()
    assert (shared.name, shared.kind) == ("api", "program")
    assert store.session("shared:api") is None


def test_a_person_is_human_or_program(store):
    with pytest.raises(StoreError, match="human or program"):
        store.add_person("token", "hal", "computer")
