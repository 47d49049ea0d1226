"""Modelfiles: their TEMPLATE writes what the model's own writes, or there is none."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from scripts.cards.chat_template import conversations, render
from scripts.cards.modelfile import write_modelfile
from tests.cards.go_template import execute, ollama
from tests.tiny import CHAT_TEMPLATE, SPECIAL, tiny_lines, tiny_tokenizer

_EACH = "{% for message in messages %}"
_END = "{% endfor %}{% if add_generation_prompt %}"
EXACT = {
    "chatml": CHAT_TEMPLATE,
    "chatml with a system message of its own": (
        f"{_EACH}{{% if loop.first and messages[0].role != 'system' %}}<|im_start|>system\n"
        "You count the herons.<|im_end|>\n{% endif %}"
        "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
        f"{_END}<|im_start|>assistant\n{{% endif %}}"
    ),
    "a text of its own for each role": (
        f"{_EACH}{{% if message.role == 'system' %}}{{{{ message.content + '\n\n' }}}}"
        "{% elif message.role == 'user' %}{{ 'Q: ' + message.content + '\n' }}"
        "{% else %}{{ 'A: ' + message.content + eos_token + '\n' }}{% endif %}"
        f"{_END}{{{{ 'A:' }}}}{{% endif %}}"
    ),
    "a text at the start": "<|endoftext|>" + CHAT_TEMPLATE,
}
REFUSED = {
    "trimmed": (
        CHAT_TEMPLATE.replace("message['content']", "message['content'].strip()"),
        "it does more with some messages than to write them between texts",
    ),
    "tools": (
        "{% if tools %}{{ tools | tojson }}{% endif %}" + CHAT_TEMPLATE,
        "it reads more than the messages: tools",
    ),
    "no system": (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        + CHAT_TEMPLATE,
        "it refuses a conversation of system, user: no system role",
    ),
    "only the last": (
        "{{ messages[-1]['content'] }}",
        "it leaves out or moves a message",
    ),
    "an action of Go": (
        CHAT_TEMPLATE.replace("'<|im_start|>' +", "'{' + '{<|im_start|>' +"),
        "a Modelfile can't hold its text '{{<|im_start|>",
    ),
    "dates": (
        "{{ strftime_now('%d') }}" + CHAT_TEMPLATE,
        "it reads more than the messages: strftime_now",
    ),
}


def make_base(folder: Path, template: str | None, **changes: Any) -> Any:
    """A folder with the tiny tokenizer; the tokenizer."""
    tokenizer = tiny_tokenizer(tiny_lines(50))
    tokenizer.chat_template = template
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "eos_token_id": 2}))
    return tokenizer


def template_of(modelfile: str) -> str:
    """The TEMPLATE of a Modelfile, as its parser reads it."""
    found = re.search(r'^TEMPLATE """(.*?)"""$', modelfile, re.DOTALL | re.MULTILINE)
    assert found is not None, modelfile
    return found[1]


@pytest.mark.parametrize("name", EXACT)
def test_template_of_go_writes_what_the_models_own_writes(name: str, tmp_path: Path) -> None:
    tokenizer = make_base(tmp_path, EXACT[name])
    template = template_of(write_modelfile(tmp_path, "model.gguf", "Tiny, Q4_0"))
    for contents in (["a", "b", "c", "d"], ["{{ .x }}", " two\n\nlines ", "Ä 🦦", '"q"']):
        for messages in conversations(contents):
            assert ollama(template, messages) == render(tokenizer, messages)


def test_modelfile_as_a_whole(tmp_path: Path) -> None:
    make_base(tmp_path, CHAT_TEMPLATE)
    text = write_modelfile(tmp_path, "model.gguf", "Tiny, Q4_0")
    head, _, rest = text.partition("TEMPLATE")
    assert head == (
        "# Tiny, Q4_0, for Ollama: ollama create NAME -f, and the path of this file\n"
        "FROM ./model.gguf\n"
        "# It writes what the model's own chat template writes.\n"
    )
    assert rest.endswith('"""\nPARAMETER stop "<|im_end|>"\nPARAMETER stop "<|im_start|>"\n')


def test_bos_that_the_runtime_puts_there_is_left_out(tmp_path: Path) -> None:
    """A tokenizer that begins each text with BOS, and a template that writes it too."""
    from tokenizers.processors import TemplateProcessing

    bos = SPECIAL[0]
    tokenizer = make_base(tmp_path, "{{ bos_token }}" + CHAT_TEMPLATE, bos_token=bos)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, 0)]
    )
    tokenizer.save_pretrained(tmp_path)
    template = template_of(write_modelfile(tmp_path, "model.gguf", "Tiny"))
    assert bos not in template
    messages = [{"role": "user", "content": "a"}]
    whole = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert bos + ollama(template, messages) == whole


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_sure_to_be_the_same_is_left_to_ollama(name: str, tmp_path: Path) -> None:
    template, reason = REFUSED[name]
    make_base(tmp_path, template)
    text = write_modelfile(tmp_path, "model.gguf", "Tiny")
    assert "TEMPLATE " not in text.replace("# No TEMPLATE", "")
    assert "# Ollama takes the one in the file, tokenizer.chat_template, where it knows it." in text
    assert reason in text
    assert 'PARAMETER stop "<|im_end|>"\n' in text
    assert all(line.startswith(("#", "FROM ", "PARAMETER ")) for line in text.splitlines())


def test_model_without_a_chat_template(tmp_path: Path) -> None:
    make_base(tmp_path, None)
    text = write_modelfile(tmp_path, "model.gguf", "Tiny")
    assert "# No TEMPLATE: the model has no chat template, it goes on with a text.\n" in text
    assert text.endswith('PARAMETER stop "<|im_end|>"\n')


def test_evaluator_knows_its_limits() -> None:
    assert execute('{{ if eq .A "b" }}1{{ else }}2{{ end }}{{ $.A }}', {"A": "b"}) == "1b"
    for unknown in ("{{ .A | len }}", "{{- .A }}", "{{ if .A }}", "{{ end }}", "{{ len .A }}"):
        with pytest.raises(ValueError, match=r"known here|closes nothing|has no end"):
            execute(unknown, {"A": "b"})
