"""The Modelfile of a GGUF file, for `ollama create`: FROM, TEMPLATE, PARAMETER stop.

A TEMPLATE is one of Go's (text/template), executed with .System and .Messages of a .Role and a
.Content. Without one, Ollama takes the file's tokenizer.chat_template where it knows it. So that
is left to it unless the two are sure to write the same. https://docs.ollama.com/modelfile
"""

from pathlib import Path
from typing import Any

from scripts.cards.chat_template import NotExact, Wrapped, wrapped

_QUOTE = '"""'


def write_modelfile(base: Path, file: str, title: str) -> str:
    """The Modelfile that stands beside `file`, for a model whose tokenizer is that of `base`."""
    from scripts.texts import load_tokenizer

    tokenizer = load_tokenizer(base)
    lines = [
        f"# {title}, for Ollama: ollama create NAME -f, and the path of this file",
        f"FROM ./{file}",
    ]
    found: Wrapped | None = None
    if not tokenizer.chat_template:
        lines.append("# No TEMPLATE: the model has no chat template, it goes on with a text.")
    else:
        try:
            found = wrapped(tokenizer)
            lines += [
                "# It writes what the model's own chat template writes.",
                f"TEMPLATE {_QUOTE}{go_template(found)}{_QUOTE}",
            ]
        except NotExact as reason:
            lines += [
                "# No TEMPLATE: the model's own is not sure to be the same as one for Ollama.",
                f"# {_in_one_line(str(reason))}",
                "# Ollama takes the one in the file, tokenizer.chat_template, where it knows it.",
            ]
    lines += [f"PARAMETER stop {_quoted(text)}" for text in stops(tokenizer, base, found)]
    return "\n".join(lines) + "\n"


def go_template(template: Wrapped) -> str:
    """The same as a template of Go. Raises NotExact for a text that a Modelfile can't hold."""
    for text in template.texts():
        # The parser of Modelfiles drops what Go does not print; `{{` would begin an action.
        kept = all(one.isprintable() or one in "\n\t" for one in text)
        if not kept or "{{" in text or '"' in text:
            raise NotExact(f"a Modelfile can't hold its text {text!r}")
    default = f"{{{{ if not .System }}}}{template.default}{{{{ end }}}}" if template.default else ""
    branches = [
        f'{{{{ {"else " if place else ""}if eq .Role "{role}" }}}}{before}{{{{ .Content }}}}{after}'
        for place, (role, (before, after)) in enumerate(template.around.items())
    ]
    each = f"{{{{ range .Messages }}}}{''.join(branches)}{{{{ end }}}}{{{{ end }}}}"
    return f"{template.start}{default}{each}{template.answer}"


def stops(tokenizer: Any, base: Path, template: Wrapped | None) -> list[str]:
    """The special tokens that end an answer, then those that stand around messages: a model that
    writes one of these has begun a turn that is not its own."""
    from scripts.evaluation.reference import stop_tokens

    special = {
        number: str(token.content)
        for number, token in sorted(tokenizer.added_tokens_decoder.items())
        if token.special
    }
    ends = [special[number] for number in stop_tokens(base) if number in special]
    texts = [*(text for pair in template.around.values() for text in pair)] if template else []
    around = [token for token in special.values() if any(token in text for text in texts)]
    return list(dict.fromkeys(token for token in (*ends, *around) if token.strip()))


def _quoted(text: str) -> str:
    return f"{_QUOTE}{text}{_QUOTE}" if '"' in text else f'"{text}"'


def _in_one_line(text: str) -> str:
    return " ".join(text.split())
