"""The embedded service preserves its secret across restarts, and can start without a file for
it."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from asciist.adapters.local_store.link_key import secret_in


def test_the_secret_is_long_and_the_same_at_each_start(tmp_path: Path) -> None:
    path = tmp_path / "data" / "link.key"
    first = secret_in(path)

    assert len(bytes.fromhex(first)) == 32
    assert secret_in(path) == first
    assert path.read_text().strip() == first


def test_only_its_owner_may_read_the_file(tmp_path: Path) -> None:
    previous = os.umask(0o022)
    try:
        secret_in(tmp_path / "link.key")
    finally:
        os.umask(previous)

    assert (tmp_path / "link.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["link.key"]


def test_processes_that_race_get_the_same_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(secret_in, [tmp_path / "link.key"] * 64))

    assert len(set(found)) == 1


def test_an_empty_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "link.key"
    path.touch(mode=0o600)

    assert secret_in(path) == secret_in(path)


@pytest.mark.parametrize(
    "obstacle", ["readable by others", "a symbolic link", "a folder", "no directory"]
)
def test_without_a_file_of_its_own_the_secret_lasts_for_one_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, obstacle: str
) -> None:
    path = tmp_path / "link.key"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("0" * 64)
    elsewhere.chmod(0o600)
    match obstacle:
        case "readable by others":
            path.write_text("0" * 64)
            path.chmod(0o644)
        case "a symbolic link":
            path.symlink_to(elsewhere)
        case "a folder":
            path.mkdir()
        case "no directory":
            path = elsewhere / "link.key"

    with caplog.at_level(logging.WARNING):
        first, second = secret_in(path), secret_in(path)

    assert len({first, second, "0" * 64}) == 3
    assert "their key cannot be kept" in caplog.text
