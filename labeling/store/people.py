"""People: who ranks. A person is a cookie's hash, a name and a kind, human or program."""

import hashlib
from dataclasses import dataclass
from typing import Any

from labeling.store.database import File, StoreError, now

KINDS = ("human", "program")


@dataclass(frozen=True)
class Person:
    id: int
    name: str
    kind: str


class People(File):
    def session(self, token: str) -> Person | None:
        """Whose cookie this is."""
        return self._person("token_hash", hash_token(token))

    def add_person(self, token: str, name: str, kind: str) -> Person:
        """Add somebody. A taken name gets a number: "anna", "anna 2". A known token is that person again."""
        return self._add_person(hash_token(token), name, kind)

    def shared_program(self, name: str = "api") -> Person:
        """The one program that stands for all calls without a cookie. No cookie hashes to its token_hash."""
        # Read first: this is asked at each such call, and only the first one needs to write.
        return self._person("token_hash", f"shared:{name}") or self._add_person(
            f"shared:{name}", name, "program"
        )

    def rename_person(self, person_id: int, name: str) -> Person:
        """Give a person another name, numbered when it is taken."""
        with self.write() as db:
            if self._person("id", person_id) is None:
                raise StoreError(f"There is no person {person_id}.")
            db.execute(
                "update people set name = ? where id = ?", [self._free_name(name, person_id), person_id]
            )
            return self._person("id", person_id)

    def people(self) -> list[dict[str, Any]]:
        """Everybody with `rankings` (standing, without skips), `skips` and `last` (when), busiest first; of a
        judge the `kind` is 'judge'."""
        return self.rows(
            """
            select people.id, people.name, people.created_at,
                   iif(judges.person_id is null, people.kind, 'judge') as kind,
                   count(rankings.id) filter (where rankings.kind = 'ranked') as rankings,
                   count(rankings.id) filter (where rankings.kind = 'skipped') as skips,
                   max(rankings.created_at) as last
            from people left join judges on judges.person_id = people.id left join rankings
              on rankings.person_id = people.id and rankings.withdrawn_at is null
            group by people.id order by rankings desc, people.id
            """
        )

    def _add_person(self, token_hash: str, name: str, kind: str) -> Person:
        if kind not in KINDS:
            raise StoreError(f"A person is human or program, not {kind!r}.")
        with self.write():
            known = self._person("token_hash", token_hash)
            if known:
                return known
            name = self._free_name(name)
            person_id = self.insert("people", token_hash=token_hash, name=name, kind=kind, created_at=now())
            return Person(person_id, name, kind)

    def _person(self, column: str, value: Any) -> Person | None:
        found = self.row(f"select id, name, kind from people where {column} = ?", [value])
        return Person(**found) if found else None

    def _free_name(self, name: str, person_id: int = -1) -> str:
        taken = {row["name"] for row in self.rows("select name from people where id <> ?", [person_id])}
        free, number = name, 1
        while free in taken:
            number += 1
            free = f"{name} {number}"
        return free


def hash_token(token: str) -> str:
    """What is kept of a cookie: who reads the file cannot act as its people."""
    return hashlib.sha256(token.encode()).hexdigest()
