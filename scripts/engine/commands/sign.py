"""`doit sign --key KEY.pem [TARGET …]`: sign the artefacts that are built, for others to check."""

from pathlib import Path

from doit.exceptions import InvalidCommand

from scripts.engine.build.record import is_whole
from scripts.engine.commands.graph_command import GraphCommand, option
from scripts.engine.store.manifest import read_manifest
from scripts.engine.store.signatures import sign


class SignCommand(GraphCommand):
    """Sign what is built and whole."""

    name = "sign"
    doc_purpose = "sign the artefacts and their statements of provenance with a key of yours"
    doc_usage = "--key KEY.pem [TARGET ...]"
    cmd_options = (option("key", "", "a private key on an elliptic curve, as PEM"),)

    def _execute(self, key: str, pos_args: list[str]) -> int:
        self.dep_manager.close()
        if not key:
            raise InvalidCommand(
                "doit sign needs --key KEY.pem; make one: openssl ecparam -name prime256v1 -genkey "
                "-noout -out KEY.pem"
            )
        failed = 0
        for name, checker in self.checkers(pos_args):
            target = checker.action.target
            if read_manifest(target) is None:
                said = f"✗ {name}: it is not built; run doit first"
            elif not is_whole(target):
                said = f"✗ {name}: it is not what its manifest says; run doit"
            else:
                written = ", ".join(path.name for path in sign(target, Path(key)))
                said = f"✓ {name}  ({written})"
            failed += said.startswith("✗")
            self.outstream.write(f"  {said}\n")
        return 1 if failed else 0
