"""A store in an empty folder, and two annotators of it."""

import pytest

from labeling.store import open_store


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path, create=True, migrate=True) as store:
        store.add_reference("models/sft", "starter")
        yield store


@pytest.fixture
def anna(store):
    return store.add_person("anna's token", "anna", "human").id


@pytest.fixture
def ben(store):
    return store.add_person("ben's token", "ben", "program").id
