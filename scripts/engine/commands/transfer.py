"""`doit push` and `doit pull`: results to the shared store, and artefacts of the lock from it."""

from doit.exceptions import InvalidCommand

from scripts.engine.build.commit import commit, drop_scratch, fresh_scratch
from scripts.engine.build.differences import other_files
from scripts.engine.build.guard import only_one
from scripts.engine.build.kept import keep, local_store, may_be_kept, shared_store
from scripts.engine.build.promises import refuse_other_than_locked
from scripts.engine.build.record import Cost, is_whole, read_record, write_record
from scripts.engine.commands.graph_command import GraphCommand
from scripts.engine.graph.tasks import UpToDate
from scripts.engine.session import READ_ONLY_VARIABLE, STORE_VARIABLE, only_fetches, remote_place
from scripts.engine.store.local import Store, StoreError, checkout
from scripts.engine.store.manifest import Manifest, fingerprint, make_manifest, read_manifest
from scripts.engine.store.remote import RemoteStore, UntrustedRecord
from scripts.errors import QuantmakeError


def named_store() -> RemoteStore:
    """The store that machines share. Raises InvalidCommand where none is named."""
    place = remote_place()
    if place is None:
        raise InvalidCommand(
            f"no shared store is named: set {STORE_VARIABLE}, or `store` in [tool.quantmake] of "
            "pyproject.toml, to a folder or a URL such as s3://BUCKET/PREFIX"
        )
    return shared_store(place)


def _known(store: RemoteStore, key: str) -> Manifest | None:
    try:
        return store.manifest(key)
    except UntrustedRecord:
        return None


class PushCommand(GraphCommand):
    """Upload what is built and up to date."""

    name = "push"
    doc_purpose = "upload everything that is built to the shared store"

    def _execute(self, pos_args: list[str]) -> int:
        self.dep_manager.close()
        store = named_store()
        if only_fetches():
            raise InvalidCommand(
                f"this machine may only fetch from {store.name}: {READ_ONLY_VARIABLE} is set, or "
                "`store_read_only` in [tool.quantmake] of pyproject.toml"
            )
        sent = failed = 0
        checkers = self.checkers(pos_args or [task.name for task in self.task_list])
        for name, checker in checkers:
            action = checker.action
            built, manifest = read_record(action.target), read_manifest(action.target)
            is_shared = action.stage.shared and may_be_kept(action)
            if built is None or manifest is None or not is_shared:
                continue
            if not is_whole(action.target):
                self.outstream.write(f"  ✗ {name}: it is not what its manifest says; run doit\n")
                failed += 1
                continue
            try:
                there = _known(store, built.key)
                if there is not None and there != manifest:
                    other = "; ".join(other_files(there.files, manifest.files))
                    text = f"{store.name} has other bytes of the same key: {other}"
                    self.outstream.write(f"  ✗ {name}: {text}\n")
                    failed += 1
                    continue
                size = store.put_blobs(manifest, action.target)
                store.put_record(built.key, manifest)
            except (StoreError, OSError) as error:
                self.outstream.write(f"  ✗ {name}: {store.name}: {error}\n")
                return 3
            sent += size
            self.outstream.write(f"  ✓ {name}  ({size / 1e6:,.1f} MB sent)\n")
        self.outstream.write(f"{sent / 1e6:,.1f} MB sent to {store.name}.\n")
        return 1 if failed else 0


class PullCommand(GraphCommand):
    """Fetch what the lock names, without building or looking at the inputs."""

    name = "pull"
    doc_purpose = "fetch the artefacts that the lock names from the store; build nothing"
    doc_usage = "[TARGET ...]"

    def _execute(self, pos_args: list[str]) -> int:
        self.dep_manager.close()
        shared = named_store()
        failed = 0
        for name, checker in self.checkers(pos_args):
            said = self._pull(checker, shared)
            failed += said.startswith("✗")
            self.outstream.write(f"  {said.format(name)}\n")
        return 1 if failed else 0

    def _pull(self, checker: UpToDate, shared: Store) -> str:
        stores = [local_store(checker.action), shared]
        target, lock = checker.action.target, checker.lock
        entry = lock.entry(target) if lock else None
        if lock is None or entry is None:
            return "✗ {}: the lock does not name it; run doit to build it"
        built, manifest = read_record(target), read_manifest(target)
        if built and manifest and fingerprint(target) and lock.matches(target, built.key, manifest):
            return "✓ {}: is there already"
        wrong = []
        with only_one(target):
            out = fresh_scratch(target) / target.name
            try:
                for store in stores:
                    try:
                        if checkout(store, entry["key"], out) is None:
                            continue
                    except (StoreError, OSError) as error:
                        wrong.append(f"{store.name}: {error}")
                        continue
                    manifest = make_manifest(out)
                    refuse_other_than_locked(lock, target, entry["key"], manifest)
                    commit(out, target, manifest)
                    write_record(target, entry["key"], entry["parts"], manifest, Cost())
                    keep(stores[0], entry["key"], manifest, target)
                    return "✓ {}" + f"  (from {store.name})"
            except QuantmakeError as error:
                return f"✗ {{}}: {error}"
            finally:
                drop_scratch(target)
        return "✗ {}: " + ("; ".join(wrong) or "no store has it; run doit to build it")
