"""The runbook has a section for each alarm, its links and panel titles exist, and its commands are
valid shell."""

import re
import subprocess
from pathlib import Path

import pytest

from operations.observability.alarms import (
    ALARMS,
    BUDGET_BURNS,
    BUDGET_BURNS_FAST,
    SLOW_ANSWERS,
    Alarm,
    Urgency,
)
from operations.observability.panels import MEASURED, SECTIONS
from tests.emulated.alarm_table import ROWS
from tests.emulated.fault_proxy import Fault
from tests.emulated.test_brownouts import SERVICES, TIERS, fault_in_the_runbook

ROOT = Path(__file__).parent.parent
RUNBOOK = (ROOT / "docs/runbook.md").read_text()
PROSE = re.sub(r"^ *```sh\n.*?^ *```$", "", RUNBOOK, flags=re.DOTALL | re.MULTILINE)
BLOCKS = [
    body for _, body in re.findall(r"^( *)```sh\n(.*?)^ *```$", RUNBOOK, re.DOTALL | re.MULTILINE)
]
SCRIPT = "\n".join(BLOCKS)

LOG_FIELDS = {
    *("@timestamp", "@message", "@logStream"),  # added to every line by CloudWatch
    *("timestamp", "level", "logger", "message", "exc_info"),
    *(
        name
        for row in re.findall(r"^\| (?:web|worker) \|.*$", RUNBOOK, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    ),
    "request_id",
}
QUERY_WORDS = {
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
    *("n", "ms", "ms_a_megapixel"),  # names defined in queries
}


def anchors(text: str) -> set[str]:
    """Return GitHub's anchors of all headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_sections_are_the_alarms_in_the_same_order() -> None:
    assert re.findall(r"^## (.*)$", PROSE, re.MULTILINE) == [alarm.title for alarm in ALARMS]


@pytest.mark.parametrize("alarm", ALARMS, ids=lambda alarm: alarm.title)
def test_the_description_of_every_alarm_links_to_its_section(alarm: Alarm) -> None:
    address, _, anchor = alarm.description("docs/runbook.md").rpartition(" ")[2].partition("#")

    assert (ROOT / address).read_text() == RUNBOOK
    assert anchor in anchors(PROSE)


@pytest.mark.parametrize("urgency", Urgency)
def test_the_urgency_of_every_alarm_is_listed(urgency: Urgency) -> None:
    (row,) = re.findall(rf"^\| {urgency.value} \| (.*) \|$", RUNBOOK, re.MULTILINE)
    assert row.split("; ") == [alarm.title for alarm in ALARMS if alarm.urgency is urgency]


def section(alarm: Alarm) -> str:
    return RUNBOOK.partition(f"\n## {alarm.title}\n")[2].partition("\n## ")[0].partition("\n# ")[0]


@pytest.mark.parametrize("alarm", ALARMS, ids=lambda alarm: alarm.title)
def test_every_section_has_symptom_impact_check_fix_and_verify_in_this_order(alarm: Alarm) -> None:
    parts = re.findall(r"^\*\*(\w+)\*\*", section(alarm), re.MULTILINE)

    assert parts == ["Symptom", "Impact", "Check", "Fix", "Verify"]
    assert re.search(r"^1\. ", section(alarm), re.MULTILINE)


@pytest.mark.parametrize("alarm", [BUDGET_BURNS_FAST, BUDGET_BURNS], ids=lambda alarm: alarm.title)
def test_the_symptom_of_an_alarm_on_the_error_budget_is_its_rule(alarm: Alarm) -> None:
    symptom = section(alarm).partition("**Impact**")[0]

    assert alarm.minimum
    assert f"more than {alarm.threshold:g}% of requests" in symptom
    assert f"at least {alarm.minimum.events}" in symptom


def test_the_symptom_of_slow_answers_has_their_minimum() -> None:
    assert SLOW_ANSWERS.minimum
    assert f"at least {SLOW_ANSWERS.minimum.events} answers" in section(SLOW_ANSWERS)


def test_every_panel_and_section_that_is_mentioned_is_on_the_dashboard() -> None:
    titles = {
        MEASURED.title,
        *(s.question for s in SECTIONS),
        *(panel.title for s in SECTIONS for panel in s.panels),
    }
    quoted = set(re.findall(r'"([^"]+)"', " ".join(PROSE.split())))

    assert len(quoted) > 15
    # an error message, and a mark in a panel
    assert quoted - titles == {"the service is busy", "slow"}


def test_log_messages_exist_in_the_code() -> None:
    code = "\n".join(
        path.read_text()
        for folder in ("asciist", "service")
        for path in (ROOT / folder).rglob("*.py")
    )
    row = next(row for row in RUNBOOK.splitlines() if row.startswith("| worker |"))
    messages = {
        *re.findall(r"`([^`]+)`", row.split("|")[2]),
        *re.findall(r'message = "([^"]+)"', SCRIPT),
    }

    assert {message for message in messages if f'"{message}"' not in code} == set()
    assert "the service is busy" in code


def test_every_link_to_a_heading_is_valid() -> None:
    for address, anchor in re.findall(r"\]\(([\w./-]*)#([\w-]+)\)", PROSE):
        target = ROOT / "docs" / address if address else ROOT / "docs/runbook.md"
        assert anchor in anchors(target.read_text()), f"{address}#{anchor}"


def test_the_commands_are_a_valid_shell_script() -> None:
    assert len(BLOCKS) > 20
    parsed = subprocess.run(
        ["bash", "-n"], input=SCRIPT, capture_output=True, text=True, check=False
    )
    assert (parsed.returncode, parsed.stderr) == (0, "")


def test_the_variables_in_commands_are_set_in_commands() -> None:
    used = set(re.findall(r"\$(\w+)|\$\{(\w+)", SCRIPT))
    names = {name or braced for name, braced in used if not (name or braced).isdigit()} - {"RANDOM"}

    for name in names:
        assert re.search(rf"(?:^|[\s(]){name}=|\bfor {name} in|\blocal {name}\b", SCRIPT), name


def test_log_queries_use_fields_that_log_lines_have() -> None:
    queries = re.findall(r"""ask "[^"]*" '([^']*)'""", SCRIPT)
    assert len(queries) > 8
    for query in queries:
        words = re.sub(r'"[^"]*"|/[^/]*/', "", query)
        assert set(re.findall(r"@?[A-Za-z_]\w*", words)) <= LOG_FIELDS | QUERY_WORDS, query


def test_every_fault_in_the_table_is_caused_by_a_test_and_fires_alarms_that_exist() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "tests/emulated").glob("test_*.py"))
    tested = set(re.findall(r'\bROWS\["([^"]+)"\]', sources))
    tested |= {
        fault_in_the_runbook(tier, service, fault)
        for tier in TIERS
        for service in SERVICES
        for fault in Fault
    }

    assert tested == ROWS.keys()
    assert set().union(*(row.fires | row.may_fire for row in ROWS.values())) <= {
        alarm.title for alarm in ALARMS
    }
