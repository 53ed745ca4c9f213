"""The `asciist` command. Art goes to standard output and nothing else does; messages go to standard error."""

from asciist.cli.commands import SERVER_ENVIRONMENT, main

__all__ = ["SERVER_ENVIRONMENT", "main"]
