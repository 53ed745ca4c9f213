"""The line about skipped tests."""

from tests.skipping import skipped_line


def test_the_line_counts_reasons_and_names_commands() -> None:
    reasons = ["gpg is not installed", "make sbom has not been run", "gpg is not installed"]

    assert skipped_line([*reasons, "port 27244 is in use"]) == (
        "Skipped tests: 2 (gpg is not installed): apt-get install gpg;"
        " 1 (make sbom has not been run); 1 (port 27244 is in use)"
    )


def test_a_command_that_the_reason_names_is_not_repeated() -> None:
    reason = "HAProxy is not installed: apt-get install haproxy"

    assert skipped_line([reason]) == f"Skipped tests: 1 ({reason})"
