"""Summary line with the number of skipped tests and the commands that enable them."""

from collections import Counter
from collections.abc import Iterable

INSTALLED_BY = {
    "HAProxy": "apt-get install haproxy",
    "gpg": "apt-get install gpg",
    "systemd": "apt-get install systemd, and run the tests as root",
    "Python 3": "apt-get install python3-venv, or install that Python",
    "make check": "make check",
    "make sbom": "make sbom",
    "root": "run the tests as root",
    "permitted": "run the tests as root",
}
"""Command that enables skipped tests, by a word of their reason; the first match counts."""


def skipped_line(reasons: Iterable[str]) -> str:
    """Return a line with the number of skipped tests by reason, and the commands that install the
    missing programs."""
    parts = []
    for reason, count in Counter(reasons).most_common():
        command = next((INSTALLED_BY[word] for word in INSTALLED_BY if word in reason), "")
        needs = f": {command}" if command and command not in reason else ""
        parts.append(f"{count} ({reason}){needs}")
    return f"Skipped tests: {'; '.join(parts)}"
