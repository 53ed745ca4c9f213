"""The same bytes give the same art, on every machine and until the engine's version changes."""

import json

import pytest

from asciist.conversion import ENGINE_VERSION
from tests.conversion import goldens

RECORDED = json.loads(goldens.FILE.read_text())


def test_art_is_what_it_was_when_the_engine_got_its_version() -> None:
    now = goldens.digests()
    changed = {
        f"{image}: {name}"
        for image, arts in RECORDED["art"].items()
        for name, digest in arts.items()
        if now[image].get(name) != digest
    }

    assert not changed, "raise ENGINE_VERSION, then python -m tests.conversion.goldens"
    assert now == RECORDED["art"], "not recorded yet: python -m tests.conversion.goldens"


def test_the_goldens_are_those_of_this_engine() -> None:
    assert RECORDED["engine"] == ENGINE_VERSION


def test_changed_art_cannot_be_recorded_for_the_same_version(monkeypatch: pytest.MonkeyPatch) -> None:
    other = {image: dict.fromkeys(arts, "0" * 64) for image, arts in RECORDED["art"].items()}
    monkeypatch.setattr(goldens, "digests", lambda: other)

    with pytest.raises(SystemExit, match="raise ENGINE_VERSION"):
        goldens.main()
