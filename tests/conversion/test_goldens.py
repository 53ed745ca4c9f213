"""The art of the examples is the same on every machine and in every release with the same
ENGINE_VERSION."""

import json
from pathlib import Path

import pytest

from asciist.conversion import ENGINE_VERSION
from tests.conversion import goldens

RECORDED = json.loads(goldens.FILE.read_text())


QUICK = ("camera.png", "cat.jpg", "moon.gif")


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(image, id=image.name, marks=[] if image.name in QUICK else pytest.mark.slow)
        for image in goldens.images()
    ],
)
def test_art_equals_the_recorded_art_of_this_engine_version(image: Path) -> None:
    recorded = RECORDED["art"].get(image.name, {})
    now = goldens.digests_of(image)
    changed = [name for name, digest in recorded.items() if now.get(name) != digest]

    assert not changed, "raise ENGINE_VERSION, then run python -m tests.conversion.goldens"
    assert now == recorded, "some art is not recorded yet: run python -m tests.conversion.goldens"


def test_the_goldens_are_those_of_the_examples() -> None:
    assert [*RECORDED["art"]] == [image.name for image in goldens.images()]
    assert set(QUICK) < set(RECORDED["art"])


def test_the_goldens_have_this_engine_version() -> None:
    assert RECORDED["engine"] == ENGINE_VERSION


def test_changed_art_is_not_recorded_for_the_same_version(monkeypatch: pytest.MonkeyPatch) -> None:
    other = {image: dict.fromkeys(arts, "0" * 64) for image, arts in RECORDED["art"].items()}
    monkeypatch.setattr(goldens, "digests", lambda: other)

    with pytest.raises(SystemExit, match="first raise ENGINE_VERSION"):
        goldens.main()
