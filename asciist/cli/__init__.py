"""The `asciist` command. It prints art, or JSON, on standard output and messages on standard
error."""

from asciist.cli.commands import SERVER_ENVIRONMENT, main

__all__ = ["SERVER_ENVIRONMENT", "main"]
