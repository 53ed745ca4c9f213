"""Runs the command as `python -m asciist.cli`."""

from asciist.cli import main

main()
