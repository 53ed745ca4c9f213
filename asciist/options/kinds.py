"""Kinds of options: how to parse, check, encode in a storage key, and describe a value."""

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Protocol

from asciist.errors import BadOptionError, sentences
from asciist.limits import Limits

Schema = dict[str, Any]
"""A JSON Schema."""

AUTO: Final = "auto"
"""Value of an option that the conversion chooses itself."""

BoolOrAuto = bool | Literal["auto"]


class Kind(Protocol):
    """Interface of a kind. The methods that read a value from a request raise BadOptionError if its
    form is wrong.

    `name` is the option's name, for error messages and keys.
    """

    def holds(self, value: object) -> bool:
        """Return whether a value in a message has the type of this kind. It may be out of range."""

    def from_text(self, name: str, text: str, limits: Limits) -> Any:
        """Read the value from a query parameter, a form field or a URL."""

    def from_json(self, name: str, value: object, limits: Limits) -> Any:
        """Read the value from a JSON body."""

    def check(self, name: str, value: Any, limits: Limits) -> None:
        """Raise BadOptionError if the value is out of range."""

    def key_pattern(self, name: str, default: Any) -> str:
        """Return the regular expression of the value's part of a storage key, with one group for
        the value."""

    def to_key(self, name: str, value: Any) -> str:
        """Return the part of a storage key for a value other than the default."""

    def from_key(self, text: str) -> Any:
        """Read the value from the group of `key_pattern`. Raises ValueError."""

    def schema(self, limits: Limits) -> Schema:
        """Return the JSON Schema of the value."""


@dataclass(frozen=True, kw_only=True)
class Integer:
    """A whole number between two bounds."""

    minimum: int
    maximum: Callable[[Limits], int]

    # int() also takes spaces, underscores, and digits without end, in quadratic time.
    _TEXT: ClassVar[re.Pattern[str]] = re.compile(r"[+-]?[0-9]{1,9}")

    def holds(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)  # true is an int in Python

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
        return BadOptionError(
            sentences.not_a_whole_number(name, self.minimum, self.maximum(limits))
        )


class _Text:
    """Base of kinds with text values."""

    def holds(self, value: object) -> bool:
        return isinstance(value, str)

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
    """Regular expression that also matches unknown names in a key; empty to match only the
    choices."""

    def check(self, name: str, value: str, limits: Limits) -> None:
        if value not in self.choices:
            raise BadOptionError(sentences.not_one_of(name, self.choices))

    def key_pattern(self, name: str, default: str) -> str:
        others = "|".join(choice for choice in self.choices if choice != default)
        return f"({self.key_pattern_of_any or others})"

    def to_key(self, name: str, value: str) -> str:
        return value

    def from_key(self, text: str) -> str:
        return text

    def schema(self, limits: Limits) -> Schema:
        return {"type": "string", "enum": list(self.choices)}


@dataclass(frozen=True, kw_only=True)
class Flag:
    """True or false, or `auto` if the kind allows it; false by default."""

    has_auto: bool = False
    key: str = ""
    """Encoding of true in a storage key; empty for the name of the option.

    The longest key has room for one more character.
    """

    _VALUES: ClassVar[dict[str, BoolOrAuto]] = {
        # `?invert` has no value, a ticked box in a form "on"
        **dict.fromkeys(("", "true", "1", "yes", "on"), True),
        **dict.fromkeys(("false", "0", "no", "off"), False),
        AUTO: AUTO,
    }

    def holds(self, value: object) -> bool:
        return isinstance(value, bool) or (self.has_auto and value == AUTO)

    def from_text(self, name: str, text: str, limits: Limits) -> BoolOrAuto:
        return self.from_json(name, self._VALUES.get(text.lower()), limits)

    def from_json(self, name: str, value: object, limits: Limits) -> BoolOrAuto:
        self.check(name, value, limits)
        return AUTO if value == AUTO else value is True

    def check(self, name: str, value: object, limits: Limits) -> None:
        if not self.holds(value):
            raise BadOptionError(sentences.not_a_truth_value(name, or_auto=self.has_auto))

    def key_pattern(self, name: str, default: BoolOrAuto) -> str:
        return f"({name}(?:-{AUTO})?)" if self.has_auto else f"({self.key or name})"

    def to_key(self, name: str, value: BoolOrAuto) -> str:
        return f"{name}-{AUTO}" if value == AUTO else self.key or name

    def from_key(self, text: str) -> BoolOrAuto:
        return AUTO if text.endswith(f"-{AUTO}") else True

    def schema(self, limits: Limits) -> Schema:
        return {"enum": [False, True, AUTO]} if self.has_auto else {"type": "boolean"}


@dataclass(frozen=True, kw_only=True)
class Colour(_Text):
    """A colour, `#rrggbb` in lower case, or `auto`. Also read as `rrggbb`, `#rgb`, `rgb` and by its
    name in CSS."""

    _HEXADECIMAL: ClassVar[re.Pattern[str]] = re.compile(r"#?([0-9a-f]{3}|[0-9a-f]{6})")
    _VALUE: ClassVar[re.Pattern[str]] = re.compile(rf"{AUTO}|#[0-9a-f]{{6}}")

    def from_text(self, name: str, text: str, limits: Limits) -> str:
        colour = text.lower()
        if match := self._HEXADECIMAL.fullmatch(colour):
            digits = match[1] if len(match[1]) == 6 else "".join(2 * digit for digit in match[1])
            return f"#{digits}"
        return AUTO if colour == AUTO else self._named(name, colour)

    def from_json(self, name: str, value: object, limits: Limits) -> str:
        return self.from_text(name, super().from_json(name, value, limits), limits)

    def check(self, name: str, value: str, limits: Limits) -> None:
        if not self._VALUE.fullmatch(value):
            raise BadOptionError(sentences.not_a_colour(name))

    def key_pattern(self, name: str, default: str) -> str:
        return rf"{name}-([0-9a-f]{{6}})"

    def to_key(self, name: str, value: str) -> str:
        return f"{name}-{value[1:]}"

    def from_key(self, text: str) -> str:
        return f"#{text}"

    def schema(self, limits: Limits) -> Schema:
        return {"type": "string", "pattern": "^([A-Za-z]{3,20}|#?[0-9A-Fa-f]{3}|#?[0-9A-Fa-f]{6})$"}

    def _named(self, name: str, colour: str) -> str:
        from PIL import ImageColor  # noqa: PLC0415 - only the names need Pillow

        if colour not in ImageColor.colormap:
            raise BadOptionError(sentences.not_a_colour(name))
        return f"#{bytes(ImageColor.getrgb(colour)[:3]).hex()}"


@dataclass(frozen=True, kw_only=True)
class Characters(_Text):
    """Printable characters, each one terminal column wide, in a limited number of bytes."""

    max_bytes: int

    _MAX_HEXADECIMAL_BYTES: ClassVar[int] = 48
    """Maximum bytes encoded in hexadecimal in a key; more are in base64, so that a file name can
    hold every option."""

    def check(self, name: str, value: str, limits: Limits) -> None:
        if not value:
            return
        # The first comparison limits the length of the text that is encoded.
        if (
            len(value) > self.max_bytes
            or len(value.encode("utf-8", "surrogatepass")) > self.max_bytes
        ):
            raise BadOptionError(sentences.too_many_characters(name, self.max_bytes))
        if not all(map(fills_one_column, value)):
            raise BadOptionError(sentences.not_one_column_wide(name))

    def key_pattern(self, name: str, default: str) -> str:
        return rf"({name}-(?:[0-9a-f]{{2}})+|{name}64-[A-Za-z0-9_-]+)"

    def to_key(self, name: str, value: str) -> str:
        code = value.encode()
        if len(code) <= self._MAX_HEXADECIMAL_BYTES:
            return f"{name}-{code.hex()}"
        return f"{name}64-{base64.urlsafe_b64encode(code).decode().rstrip('=')}"

    def from_key(self, text: str) -> str:
        form, _, code = text.partition("-")
        padded = code + "=" * (-len(code) % 4)
        value = (
            base64.urlsafe_b64decode(padded) if form.endswith("64") else bytes.fromhex(code)
        ).decode()
        if self.to_key(form.removesuffix("64"), value) != text:
            raise ValueError("the other notation is the one for this length")
        return value

    def schema(self, limits: Limits) -> Schema:
        return {
            "type": "string",
            "maxLength": self.max_bytes,
            "pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$",
        }


# a terminal adds them to the syllable before them
_HANGUL_VOWELS_AND_FINALS: Final = ("\u1160", "\u11ff")
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
