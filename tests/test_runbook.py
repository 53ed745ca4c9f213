"""The runbook has a heading for each alarm, every link in it leads somewhere, and its commands speak of what is deployed."""

import re
import subprocess
from pathlib import Path

import pytest

from observability.alarms import ALARMS, AlarmText

ROOT = Path(__file__).parent.parent
RUNBOOK = (ROOT / "docs/runbook.md").read_text()
PROSE = re.sub(r"^ *```sh\n.*?^ *```$", "", RUNBOOK, flags=re.DOTALL | re.MULTILINE)
BLOCKS = [body for _, body in re.findall(r"^( *)```sh\n(.*?)^ *```$", RUNBOOK, re.DOTALL | re.MULTILINE)]
SCRIPT = "\n".join(BLOCKS)

OF_LOGS = {
    *("@timestamp", "@message", "@logStream"),  # what CloudWatch adds to every line
    *("timestamp", "level", "logger", "message", "exc_info"),
    *(name for row in re.findall(r"^\| (?:web|worker) \|.*$", RUNBOOK, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)),
    "request_id",
}
WORDS_OF_QUERIES = {
    *(
        "fields",
        "filter",
        "stats",
        "sort",
        "limit",
        "by",
        "as",
        "and",
        "or",
        "like",
        "in",
        "desc",
        "count",
        "sum",
        "avg",
        "max",
    ),
    *("n", "ms", "ms_a_megapixel"),  # names that queries give
}


def anchors(text: str) -> set[str]:
    """Of all headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_alarm_has_its_heading_and_every_heading_its_alarm_in_the_same_order() -> None:
    assert re.findall(r"^## (.*)$", PROSE, re.MULTILINE) == [text.title for text in ALARMS]


@pytest.mark.parametrize("text", ALARMS, ids=lambda text: text.title)
def test_the_description_of_every_alarm_leads_to_its_heading(text: AlarmText) -> None:
    address, _, anchor = text.description("docs/runbook.md").rpartition(" ")[2].partition("#")

    assert (ROOT / address).read_text() == RUNBOOK
    assert anchor in anchors(PROSE)


@pytest.mark.parametrize("text", ALARMS, ids=lambda text: text.title)
def test_every_heading_says_what_users_feel_how_to_make_sure_and_what_to_do(text: AlarmText) -> None:
    section = RUNBOOK.partition(f"\n## {text.title}\n")[2].partition("\n## ")[0].partition("\n# ")[0]

    assert re.search(r"^\*\*Users", section.strip())
    assert "**Make sure**" in section
    assert re.search(r"^\*\*Do\*\*", section, re.MULTILINE)
    assert re.search(r"^1\. ", section, re.MULTILINE)


def test_every_link_to_a_heading_leads_to_one() -> None:
    for address, anchor in re.findall(r"\]\(([\w./-]*)#([\w-]+)\)", PROSE):
        target = ROOT / "docs" / address if address else ROOT / "docs/runbook.md"
        assert anchor in anchors(target.read_text()), f"{address}#{anchor}"


def test_the_commands_are_a_script_that_a_shell_can_read() -> None:
    assert len(BLOCKS) > 20
    read = subprocess.run(["bash", "-n"], input=SCRIPT, capture_output=True, text=True, check=False)
    assert (read.returncode, read.stderr) == (0, "")


def test_the_variables_that_commands_use_are_set_in_what_is_pasted_first() -> None:
    used = set(re.findall(r"\$(\w+)|\$\{(\w+)", SCRIPT))
    names = {name or braced for name, braced in used if not (name or braced).isdigit()} - {"RANDOM"}

    for name in names:
        assert re.search(rf"(?:^|[\s(]){name}=|\bfor {name} in|\blocal {name}\b", SCRIPT), name


def test_queries_of_logs_ask_for_keys_that_lines_have() -> None:
    queries = re.findall(r"""ask "[^"]*" '([^']*)'""", SCRIPT)
    assert len(queries) > 8
    for query in queries:
        words = re.sub(r'"[^"]*"|/[^/]*/', "", query)
        assert set(re.findall(r"@?[A-Za-z_]\w*", words)) <= OF_LOGS | WORDS_OF_QUERIES, query
