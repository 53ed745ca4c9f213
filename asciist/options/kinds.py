"""The kinds of options: how to read a value from text or JSON, check it, write it into a storage key, and describe it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol

from asciist.errors import BadOptionError, sentences
from asciist.limits import Limits

Schema = dict[str, Any]
"""A JSON Schema."""


class Kind(Protocol):
    """Interface of a kind. The methods that read a value from a request raise BadOptionError if its form is wrong.

    `name` is the option's name, for error messages and keys.
    """

    python_type: ClassVar[type]
    """Python type of the value, in `ConversionOptions` and in messages."""

    def from_text(self, name: str, text: str, limits: Limits) -> Any:
        """Read the value from a query parameter, a form field or a URL."""

    def from_json(self, name: str, value: object, limits: Limits) -> Any:
        """Read the value from a JSON body."""

    def check(self, name: str, value: Any, limits: Limits) -> None:
        """Raise BadOptionError if the value is out of range."""

    def key_pattern(self, name: str, default: Any) -> str:
        """Return the regular expression of the value's part of a storage key, with one group around the value."""

    def to_key(self, name: str, value: Any) -> str:
        """Return the part of a storage key for a value that is not the default."""

    def from_key(self, text: str) -> Any:
        """Read the value from the group of `key_pattern`. Raises ValueError."""

    def schema(self, limits: Limits) -> Schema:
        """Return the JSON Schema of the value."""


@dataclass(frozen=True, kw_only=True)
class Integer:
    """A whole number between two bounds."""

    minimum: int
    maximum: Callable[[Limits], int]
    python_type: ClassVar[type] = int

    _TEXT: ClassVar[re.Pattern[str]] = re.compile(r"[+-]?[0-9]{1,9}")

    def from_text(self, name: str, text: str, limits: Limits) -> int:
        if not self._TEXT.fullmatch(text):
            raise self._error(name, limits)
        return int(text)

    def from_json(self, name: str, value: object, limits: Limits) -> int:
        if isinstance(value, float) and value.is_integer():
            return int(value)  # JSON has one kind of number: 80.0 is 80
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._error(name, limits)
        return value

    def check(self, name: str, value: int, limits: Limits) -> None:
        if not self.minimum <= value <= self.maximum(limits):
            raise self._error(name, limits)

    def key_pattern(self, name: str, default: int) -> str:
        return rf"{name}-(-?[0-9]+)"

    def to_key(self, name: str, value: int) -> str:
        return f"{name}-{value}"

    def from_key(self, text: str) -> int:
        return int(text)

    def schema(self, limits: Limits) -> Schema:
        return {"type": "integer", "minimum": self.minimum, "maximum": self.maximum(limits)}

    def _error(self, name: str, limits: Limits) -> BadOptionError:
        return BadOptionError(sentences.not_a_whole_number(name, self.minimum, self.maximum(limits)))


class _Text:
    """Reading of a kind whose values are text."""

    python_type: ClassVar[type] = str

    def from_text(self, name: str, text: str, limits: Limits) -> str:
        return text

    def from_json(self, name: str, value: object, limits: Limits) -> str:
        if not isinstance(value, str):
            raise BadOptionError(sentences.not_text(name))
        return value


@dataclass(frozen=True, kw_only=True)
class Choice(_Text):
    """One of several names, each of lower-case letters and digits."""

    choices: Sequence[str]
    key_pattern_of_any: str = ""
    """Regular expression of the value in a key that matches unknown names too; empty to match only the choices."""

    def check(self, name: str, value: str, limits: Limits) -> None:
        if value not in self.choices:
            raise BadOptionError(sentences.not_one_of(name, self.choices))

    def key_pattern(self, name: str, default: str) -> str:
        return f"({self.key_pattern_of_any or '|'.join(choice for choice in self.choices if choice != default)})"

    def to_key(self, name: str, value: str) -> str:
        return value

    def from_key(self, text: str) -> str:
        return text

    def schema(self, limits: Limits) -> Schema:
        return {"type": "string", "enum": list(self.choices)}


@dataclass(frozen=True, kw_only=True)
class Flag:
    """True or false; false by default."""

    python_type: ClassVar[type] = bool

    _VALUES: ClassVar[dict[str, bool]] = {
        **dict.fromkeys(("", "true", "1", "yes", "on"), True),  # `?invert` has no value, a ticked box in a form "on"
        **dict.fromkeys(("false", "0", "no", "off"), False),
    }

    def from_text(self, name: str, text: str, limits: Limits) -> bool:
        return self.from_json(name, self._VALUES.get(text.lower()), limits)

    def from_json(self, name: str, value: object, limits: Limits) -> bool:
        if not isinstance(value, bool):
            raise BadOptionError(sentences.not_a_truth_value(name))
        return value

    def check(self, name: str, value: bool, limits: Limits) -> None:
        """Do nothing: both values are valid."""

    def key_pattern(self, name: str, default: bool) -> str:
        return f"({name})"

    def to_key(self, name: str, value: bool) -> str:
        return name

    def from_key(self, text: str) -> bool:
        return True

    def schema(self, limits: Limits) -> Schema:
        return {"type": "boolean"}


@dataclass(frozen=True, kw_only=True)
class Characters(_Text):
    """Printable characters, each one terminal column wide, in a limited number of bytes."""

    max_bytes: int

    def check(self, name: str, value: str, limits: Limits) -> None:
        if not value:
            return
        # The first comparison limits the length of the text that is encoded.
        if len(value) > self.max_bytes or len(value.encode("utf-8", "surrogatepass")) > self.max_bytes:
            raise BadOptionError(sentences.too_many_characters(name, self.max_bytes))
        if not all(map(fills_one_column, value)):
            raise BadOptionError(sentences.not_one_column_wide(name))

    def key_pattern(self, name: str, default: str) -> str:
        return rf"{name}-((?:[0-9a-f]{{2}})+)"

    def to_key(self, name: str, value: str) -> str:
        return f"{name}-{value.encode().hex()}"

    def from_key(self, text: str) -> str:
        return bytes.fromhex(text).decode()

    def schema(self, limits: Limits) -> Schema:
        return {"type": "string", "maxLength": self.max_bytes, "pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$"}


_HANGUL_VOWELS_AND_FINALS: Final = ("\u1160", "\u11ff")  # a terminal adds them to the syllable before them
_REPLACEMENT_CHARACTER: Final = "\ufffd"  # a decoder's substitute for bytes that are not UTF-8


def fills_one_column(character: str) -> bool:
    """Return whether a terminal shows the character in one column, from left to right.

    Unicode Standard Annexes 9 (direction) and 11 (width).
    """
    if character.isascii() or not character.isprintable():
        return character.isprintable()
    import unicodedata  # noqa: PLC0415 - few requests need it

    first, last = _HANGUL_VOWELS_AND_FINALS
    return not (
        unicodedata.category(character).startswith("M")
        or unicodedata.east_asian_width(character) in ("W", "F")
        or unicodedata.bidirectional(character) in ("R", "AL", "AN")
        or first <= character <= last
        or character == _REPLACEMENT_CHARACTER
    )
