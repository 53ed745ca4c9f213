"""A row of the table of conversion options: all properties of an option except its name, type and
default."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from asciist.limits import Limits
from asciist.options.kinds import Kind, Schema


@dataclass(frozen=True, kw_only=True)
class Option:
    """One row of the table."""

    name: str
    """Name of the query parameter, form field, JSON key, message field and command option."""
    kind: Kind
    default: Any
    summary: str
    """Short description, in lower case, for the usage text and `--help`."""
    description: str
    """Full description, for the OpenAPI document and the reference."""
    label: str
    """Label of the control on the page."""
    section: str = ""
    """Title of the collapsible section of the page that holds the control; empty if the control is
    always visible."""
    placeholder: str = ""
    """Placeholder of a text field on the page."""
    hint: str = ""
    """A line under a text field on the page."""
    checkbox_value: str = ""
    """Form value of an option that the page offers as a checkbox."""
    script_value: str = ""
    """Value that the page's script sends instead of `checkbox_value`."""
    page_choices: Mapping[str, str] = field(default_factory=dict)
    """Label of each form value of an option that the page offers as a list; the first is the
    default."""
    is_slider: bool = False
    """True for a number that the page offers as a slider."""
    short_flag: str = ""
    """One-letter option of the command, such as `-w`."""
    required_in_json: bool = False
    message_version: int
    """First version of the conversion request message that contains the option."""
    newer_values: Mapping[str, int] = field(default_factory=dict)
    """First version of the message that supports a value, for values newer than the option.

    A worker of an older release leaves such a message to a worker of a newer one.
    """

    def version_of(self, value: Any) -> int:
        """Return the first version of the message in which the option may have `value`."""
        return (
            self.newer_values.get(value, self.message_version)
            if isinstance(value, str)
            else self.message_version
        )

    @property
    def newest_version(self) -> int:
        """First version of the message in which the option may have any of its values."""
        return max([self.message_version, *self.newer_values.values()])

    def schema(self, limits: Limits, *, with_default: bool = True) -> Schema:
        """Return the JSON Schema of the option, without its description."""
        return self.kind.schema(limits) | ({"default": self.default} if with_default else {})


def row(kind: Kind, **metadata: Any) -> dict[str, Any]:
    """Return the metadata of a field of `ConversionOptions`."""
    return {"kind": kind, **metadata}
