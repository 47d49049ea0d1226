"""doit's state in SQLite, saved as each task ends rather than at the end of the run."""

from pathlib import Path
from typing import Any

from doit.dependency import SqliteDB

# `Dependency.save_success` of doit 0.37 sets this entry of a task last.
_LAST_ENTRY = "deps:"


class PerTaskDB(SqliteDB):
    """doit's own SQLite backend, with one transaction per task: `kill -9` forgets none."""

    def __init__(self, name: str, codec: Any, *, module_name: str | None = None) -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        super().__init__(name, codec, module_name=module_name)

    def set(self, task_id: str, dependency: str, value: Any) -> None:
        """Keep a value; the task's last one commits them all."""
        super().set(task_id, dependency, value)
        if dependency == _LAST_ENTRY:
            self._save()

    def remove(self, task_id: str) -> None:
        """Forget a task at once."""
        super().remove(task_id)
        self._conn.commit()

    def _save(self) -> None:
        for task_id in self._dirty:
            row = (task_id, self.codec.encode(self._cache[task_id]))
            self._conn.execute("insert or replace into doit values (?,?)", row)
        self._conn.commit()
        self._dirty.clear()
