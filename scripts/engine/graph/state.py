"""doit's state in SQLite, saved as each task ends rather than at the end of the run."""

import sqlite3
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from doit.dependency import DatabaseException, SqliteDB
from doit.exceptions import InvalidCommand

# `Dependency.save_success` of doit 0.37 sets this entry of a task last.
_LAST_ENTRY = "deps:"
# Without the type that it was declared with, so that one broken entry costs no other.
_ALL = "select task_id, cast(task_data as text) as text from doit"
_REPLACE = "insert or replace into doit values (?,?)"


class PerTaskDB(SqliteDB):
    """doit's own SQLite backend, with one transaction per task: `kill -9` forgets none."""

    _is_told = False
    _texts: dict[str, str] | None = None

    def __init__(self, name: str, codec: Any, *, module_name: str | None = None) -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        super().__init__(name, codec, module_name=module_name)

    def _sqlite3(self, name: str) -> Any:
        """Open the file; one that is corrupt is put aside, and records tell what is built.

        Raises InvalidCommand where it can't be opened, or another program holds it.
        """
        try:
            connection = super()._sqlite3(name)
            if connection.execute("pragma quick_check").fetchone()["quick_check"] == "ok":
                return connection
            connection.close()
        except (sqlite3.DatabaseError, DatabaseException) as error:
            cause = error if isinstance(error, sqlite3.Error) else error.__context__
            if isinstance(cause, sqlite3.OperationalError):
                raise InvalidCommand(
                    f"the state file {name} can't be used now ({cause}): another program holds it, "
                    "or it may not be written. Run doit again once it is free."
                ) from None
        aside = Path(f"{name}.corrupt")
        Path(name).replace(aside)
        Path(f"{name}-journal").unlink(missing_ok=True)
        sys.stderr.write(
            f"warning: the state file {name} is corrupt; it was put aside as {aside}. What is "
            "built is looked up in the records, nothing is built twice.\n"
        )
        return super()._sqlite3(name)

    def _get_task_data(self, task_id: str) -> Any:
        """What is known of a task; an entry that can't be read counts as none. All entries come by
        one query: thousands of them would be most of what a no-op takes."""
        try:
            if self._texts is None:
                rows = self._conn.execute(_ALL)
                self._texts = {row["task_id"]: row["text"] for row in rows}
            data = self.codec.decode(self._texts[task_id]) if task_id in self._texts else {}
        except (ValueError, TypeError, sqlite3.DatabaseError):
            return {}
        return data if isinstance(data, dict) else {}

    def set(self, task_id: str, dependency: str, value: Any) -> None:
        """Keep a value; the task's last one commits them all."""
        super().set(task_id, dependency, value)
        if dependency == _LAST_ENTRY:
            self._save()

    def remove(self, task_id: str) -> None:
        """Forget a task at once."""
        super().remove(task_id)
        self._conn.commit()
        self._texts = None

    def remove_all(self) -> None:
        """Forget all tasks."""
        super().remove_all()
        self._texts = None

    def _save(self) -> None:
        for task_id in self._dirty:
            row = (task_id, self.codec.encode(self._cache[task_id]))
            self._write(partial(self._conn.execute, _REPLACE, row))
        self._write(self._conn.commit)
        self._dirty.clear()

    def _write(self, work: Callable[[], object]) -> None:
        """A full disk costs the state, which the records make up for, and no build."""
        try:
            work()
        except sqlite3.OperationalError as error:
            if not self._is_told:
                sys.stderr.write(
                    f"warning: the state file can't be written ({error}). What is built is looked "
                    "up in the records by the next run, which takes it a moment longer.\n"
                )
            self._is_told = True
