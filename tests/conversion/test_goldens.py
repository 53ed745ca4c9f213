"""The art of the examples is the same on every machine and in every release with the same ENGINE_VERSION."""

import json

import pytest

from asciist.conversion import ENGINE_VERSION
from tests.conversion import goldens

RECORDED = json.loads(goldens.FILE.read_text())


def test_art_equals_the_recorded_art_of_this_engine_version() -> None:
    now = goldens.digests()
    changed = {
        f"{image}: {name}"
        for image, arts in RECORDED["art"].items()
        for name, digest in arts.items()
        if now[image].get(name) != digest
    }

    assert not changed, "raise ENGINE_VERSION, then run python -m tests.conversion.goldens"
    assert now == RECORDED["art"], "some art is not recorded yet: run python -m tests.conversion.goldens"


def test_the_goldens_have_this_engine_version() -> None:
    assert RECORDED["engine"] == ENGINE_VERSION


def test_changed_art_is_not_recorded_for_the_same_version(monkeypatch: pytest.MonkeyPatch) -> None:
    other = {image: dict.fromkeys(arts, "0" * 64) for image, arts in RECORDED["art"].items()}
    monkeypatch.setattr(goldens, "digests", lambda: other)

    with pytest.raises(SystemExit, match="first raise ENGINE_VERSION"):
        goldens.main()
