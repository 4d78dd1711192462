"""What annotators are asked: the guidelines with their versions, and the form."""

from dataclasses import dataclass
from typing import Any

from labeling.form import GUIDELINES, Form, check_guidelines
from labeling.store.database import now
from labeling.store.worker import Worker


@dataclass(frozen=True)
class Guidelines:
    version: int  # 0: as delivered
    text: str  # Markdown
    created_at: float | None


class Instructions(Worker):
    def guidelines(self, version: int | None = None) -> Guidelines | None:
        """One version, the newest if not said; None if there is none such."""
        found = self.row(
            """
            select version, text, created_at from guidelines
            where version = coalesce(?, (select max(version) from guidelines))
            """,
            [version],
        )
        if found:
            return Guidelines(**found)
        return Guidelines(0, GUIDELINES, None) if version in (None, 0) else None

    def guidelines_version(self) -> int:
        """The newest version's number."""
        return self.value("select coalesce(max(version), 0) from guidelines")

    def guideline_versions(self) -> list[dict[str, Any]]:
        """All versions, newest first: `version`, `text`, `created_at`, `by`, and how many `rankings` stand
        that were made under it. The delivered one is the last."""
        made_under = """(select count(*) from rankings
            where guidelines = {} and withdrawn_at is null) as rankings"""
        return self.rows(
            f"""
            select version, text, guidelines.created_at, people.name as by, {made_under.format("version")}
            from guidelines left join people on people.id = person_id
            union all select 0, ?, null, null, {made_under.format("0")} order by version desc
            """,
            [GUIDELINES],
        )

    def add_guidelines(self, text: str, person_id: int | None = None) -> Guidelines:
        """Write a new version; the same text again is the same version. Raises ValueError."""
        text = check_guidelines(text)
        with self.write():
            known = self.guidelines()
            if known.text.strip() == text:
                return known
            self.insert(
                "guidelines",
                version=known.version + 1,
                text=text,
                person_id=person_id,
                created_at=now(),
            )
            return self.guidelines()

    def form(self) -> Form:
        """What annotators may say beside the order."""
        return Form.from_dict(self.get_setting("form", {}))

    def put_form(self, form: Form) -> None:
        """Change it for tasks that are shown from now on; what was said under other names stays."""
        with self.write():
            self.put_setting("form", form.as_dict())
            self.put_setting("form_changes", self.form_changes() + 1)

    def form_changes(self) -> int:
        """How often it was changed: a page that has seen another number asks again."""
        return self.get_setting("form_changes", 0)
