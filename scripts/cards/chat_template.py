"""A chat template (Jinja) as what stands around each message, where it is no more than that.

It is found by rendering: what the tokenizer writes around known contents is taken apart, put
together again, and compared with what it writes of other conversations. Whatever differs anywhere,
or reads more than the messages, is refused with the reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Messages = Sequence[Mapping[str, str]]

_KNOWN = {"messages", "add_generation_prompt", "bos_token", "eos_token", "unk_token", "pad_token"}
_KNOWN |= {"raise_exception", "namespace", "range"}
_PLAIN = ("Tell me of herons.", "They fish at dawn.", "And the otters?", "Answer in one line.")
_AWKWARD = (
    "  two lines,\n\n and spaces at both ends ",
    '{{ .Content }} {% raw %} "quoted" \\n <b>',
    "<think>\nso\n</think>\n\nÄ 漢字 🦦",
    "\n",
)


class NotExact(Exception):
    """The template can't be told by what stands around each message; the text says why."""


@dataclass(frozen=True)
class Wrapped:
    """A conversation is `start`, then each message between the two texts of its role, then
    `answer`, which the model goes on from. `default` follows `start` where no system message does.
    """

    start: str
    default: str
    around: Mapping[str, tuple[str, str]]
    answer: str

    def render(self, messages: Messages) -> str:
        """The conversation, up to where the model answers."""
        has_system = any(message["role"] == "system" for message in messages)
        parts = [self.start, "" if has_system else self.default]
        for message in messages:
            before, after = self.around[message["role"]]
            parts += [before, message["content"], after]
        return "".join([*parts, self.answer])

    def texts(self) -> list[str]:
        """All that it writes beside the contents."""
        around = [text for pair in self.around.values() for text in pair]
        return [self.start, self.default, *around, self.answer]


def conversations(contents: Sequence[str] = _PLAIN) -> list[list[dict[str, str]]]:
    """Conversations of one and of several turns, with a system message and without, also such as
    end with an answer to go on with. They take four contents in turn."""
    roles = ("user", "assistant") * 3
    turns = [
        {"role": role, "content": contents[place % len(contents)]}
        for place, role in enumerate(roles)
    ]
    system = {"role": "system", "content": contents[-1]}
    return [[*first, *turns[:count]] for first in ([], [system]) for count in (1, 2, 3, 6)]


def render(tokenizer: Any, messages: Messages, *, answers: bool = True) -> str:
    """What the tokenizer's own template writes, without a BOS that the runtime puts before a text.

    Raises NotExact where the template refuses the conversation.
    """
    from scripts.texts import bos_of

    try:
        text: str = tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=answers
        )
    except Exception as error:  # a template raises what it likes
        roles = ", ".join(message["role"] for message in messages)
        raise NotExact(f"it refuses a conversation of {roles}: {error}") from None
    return text if bos_of(tokenizer) is None else text.removeprefix(tokenizer.bos_token)


def wrapped(tokenizer: Any) -> Wrapped:
    """The tokenizer's template as what stands around each message. Raises NotExact."""
    _refuse_what_reads_more(tokenizer.chat_template)
    found = _taken_apart(tokenizer)
    for contents in (_PLAIN, _AWKWARD, _AWKWARD[::-1]):
        for messages in conversations(contents):
            if found.render(messages) != render(tokenizer, messages):
                raise NotExact("it does more with some messages than to write them between texts")
    return found


def _refuse_what_reads_more(template: object) -> None:
    """A template that can do more with what a runtime may hand it, such as tools."""
    from jinja2 import Environment, TemplateError, meta

    if not isinstance(template, str):
        raise NotExact("there are several, by name")
    try:
        tree = Environment(extensions=["jinja2.ext.loopcontrols"]).parse(template)
    except TemplateError as error:
        raise NotExact(f"it can't be read: {error}") from None
    more = sorted(meta.find_undeclared_variables(tree) - _KNOWN)
    if more:
        raise NotExact(f"it reads more than the messages: {', '.join(more)}")


def _taken_apart(tokenizer: Any) -> Wrapped:
    """What stands around the contents of a few conversations; it holds for these alone."""
    user, answer, again, system = _PLAIN
    asked = [{"role": "user", "content": user}]
    answered = [*asked, {"role": "assistant", "content": answer}]
    long = [*answered, {"role": "user", "content": again}]
    told = [{"role": "system", "content": system}, *asked]
    head, after_user = _cut(render(tokenizer, asked, answers=False), user)
    prompt = _without(render(tokenizer, asked), head + user + after_user)
    *_, after_assistant = _cut(render(tokenizer, answered, answers=False), user, answer)
    _, middle, joint, _ = _cut(render(tokenizer, long, answers=False), user, answer, again)
    before_user = _without(joint, after_assistant)
    system_head, system_joint, _ = _cut(render(tokenizer, told, answers=False), system, user)
    if not head.endswith(before_user) or not system_joint.endswith(before_user):
        raise NotExact("the first message stands between other texts than later ones")
    first = head[: len(head) - len(before_user)]
    # What comes before a first message stands before a system message too, or in its place.
    start = first if system_head.startswith(first) else ""
    around = {
        "system": (
            system_head.removeprefix(start),
            system_joint[: len(system_joint) - len(before_user)],
        ),
        "user": (before_user, after_user),
        "assistant": (_without(middle, after_user), after_assistant),
    }
    return Wrapped(start, first.removeprefix(start), around, prompt)


def _cut(text: str, *contents: str) -> list[str]:
    """What stands before, between and after the contents, which come in this order."""
    parts = []
    for content in contents:
        before, found, text = text.partition(content)
        if not found:
            raise NotExact("it leaves out or moves a message")
        parts.append(before)
    return [*parts, text]


def _without(text: str, start: str) -> str:
    if not text.startswith(start):
        raise NotExact("what it writes of a message depends on what follows")
    return text[len(start) :]
