"""A terminal's screen, limited to the escape codes of animations."""

import re
from typing import Final

_PIECE: Final = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])|(\n)|([^\x1b\n])")


class Screen:
    """Cells with their colours. Moving the cursor off the screen, or scrolling, is an error."""

    def __init__(self, columns: int, rows: int) -> None:
        self.cells = [[(" ", "")] * columns for _ in range(rows)]
        self.row = self.column = 0
        self.colour = ""
        self.written = 0

    def write(self, text: str) -> None:
        """Process text with cursor positions, colours and newlines. Anything else fails."""
        assert _PIECE.sub("", text) == ""
        for parameters, command, newline, character in _PIECE.findall(text):
            if character:
                self.cells[self.row][self.column] = (character, self.colour)
                self.column += 1
                self.written += 1
            elif newline:
                self.row, self.column = self.row + 1, 0
            elif command == "H":
                row, column = map(int, parameters.split(";"))
                self.row, self.column = min(row, len(self.cells)) - 1, column - 1
            elif command == "m":
                self.colour = self._after(parameters)
            else:
                assert (parameters, command) == ("2", "J")
                self.cells = [[(" ", "")] * len(line) for line in self.cells]

    def _after(self, parameters: str) -> str:
        """Return the colours after a code, as `foreground|background`."""
        foreground, _, background = self.colour.partition("|")
        for code in re.findall(r"[34]8;2;\d+;\d+;\d+|[34]8;5;\d+|\d+", parameters):
            if code == "0":
                foreground = background = ""
            elif code.startswith(("4", "10")):
                background = code
            else:
                foreground = code
        return f"{foreground}|{background}" if foreground or background else ""
