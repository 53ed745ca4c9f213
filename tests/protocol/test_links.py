"""A link gives access to one thing, to everyone who has it and to nobody else."""

import re
import secrets
from itertools import islice

import pytest

from asciist.errors import ArtifactNotFoundError
from asciist.options import ConversionOptions
from asciist.protocol.artifacts import options_of_variant
from asciist.protocol.links import CODE_PATTERN, Links, code_as_read, parts_of
from tests.clock import Clock

DIGEST = secrets.token_hex(32)
OPTIONS = ConversionOptions(width=80)
OLD, NEW = "o" * 32, "n" * 32


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000_000)


@pytest.fixture
def links(clock: Clock) -> Links:
    return Links([OLD], valid_seconds=60, clock=clock)


def name_in(path: str) -> str:
    return path.split("/")[1]


def capability_in(path: str) -> str:
    return path.split("/")[2]


@pytest.mark.parametrize(
    ("options", "end"),
    [
        (OPTIONS, "/width/80"),
        (ConversionOptions(width=9, style="ramp", invert=True), "/style/ramp.invert/width/9"),
    ],
)
def test_a_name_of_art_leads_to_its_image(
    links: Links, options: ConversionOptions, end: str
) -> None:
    path = links.art_path(DIGEST, options)

    assert path == f"/{name_in(path)}{end}"
    assert links.digest_of_art(name_in(path), options) == DIGEST
    assert links.art_path(DIGEST, options) == path


@pytest.mark.parametrize(
    "other", [ConversionOptions(width=1000), ConversionOptions(width=80, style="ramp")]
)
def test_a_name_gives_access_to_no_other_art_of_the_image(
    links: Links, other: ConversionOptions
) -> None:
    name = name_in(links.art_path(DIGEST, OPTIONS))

    with pytest.raises(ArtifactNotFoundError):
        links.digest_of_art(name, other)
    assert name_in(links.art_path(DIGEST, other)) != name


def test_a_name_does_not_contain_the_digest_and_cannot_be_made_without_the_key(
    links: Links,
) -> None:
    name = name_in(links.art_path(DIGEST, OPTIONS))

    assert DIGEST not in name
    assert name != name_in(Links([NEW], valid_seconds=60).art_path(DIGEST, OPTIONS))
    for forged in (
        DIGEST,
        "A" * 64,
        name[:-1] + ("A" if name[-1] != "A" else "B"),
        name.swapcase(),
        name_in(Links([NEW], valid_seconds=60).art_path(DIGEST, OPTIONS)),
    ):
        with pytest.raises(ArtifactNotFoundError):
            links.digest_of_art(forged, OPTIONS)


def test_a_capability_leads_to_its_image_until_it_expires(links: Links, clock: Clock) -> None:
    capability = capability_in(links.image_path(DIGEST))
    clock.now += 60
    assert links.digest_of_image(capability) == DIGEST

    clock.now += 1
    with pytest.raises(ArtifactNotFoundError):
        links.digest_of_image(capability)


def test_names_of_art_and_capabilities_do_not_pass_for_each_other(links: Links) -> None:
    capability, name = (
        capability_in(links.image_path(DIGEST)),
        name_in(links.art_path(DIGEST, OPTIONS)),
    )

    for text in (name, name + "AAAAAAAA", "", "é" * 72, "=" * 72):
        with pytest.raises(ArtifactNotFoundError):
            links.digest_of_image(text)
    with pytest.raises(ArtifactNotFoundError):
        links.digest_of_art(capability[:64], OPTIONS)


def test_links_outlive_a_change_of_the_key_for_as_long_as_the_old_one_is_kept(
    clock: Clock, links: Links
) -> None:
    name, capability = (
        name_in(links.art_path(DIGEST, OPTIONS)),
        capability_in(links.image_path(DIGEST)),
    )
    rotated, afterwards = (
        Links(keys, valid_seconds=60, clock=clock) for keys in ([NEW, OLD], [NEW])
    )

    assert rotated.digest_of_art(name, OPTIONS) == rotated.digest_of_image(capability) == DIGEST
    assert rotated.art_path(DIGEST, OPTIONS) == afterwards.art_path(DIGEST, OPTIONS)
    with pytest.raises(ArtifactNotFoundError):
        afterwards.digest_of_art(name, OPTIONS)
    with pytest.raises(ArtifactNotFoundError):
        afterwards.digest_of_image(capability)


def test_the_name_of_an_image_in_logs_depends_on_the_key(links: Links) -> None:
    assert links.image_id(DIGEST) == links.image_id(DIGEST)
    assert links.image_id(DIGEST) not in (
        DIGEST[:16],
        Links([NEW], valid_seconds=60).image_id(DIGEST),
    )


def test_the_codes_of_a_path_are_the_same_each_time_and_cannot_be_made_without_the_key(
    links: Links,
) -> None:
    path, other = (links.art_path(DIGEST, ConversionOptions(width=width)) for width in (80, 81))
    first, second = islice(links.codes(path), 2)

    assert re.fullmatch(CODE_PATTERN, first)
    assert list(islice(links.codes(path), 2)) == [first, second]
    others = [links.codes(other), Links([NEW], valid_seconds=60).codes(path)]
    assert len({first, second, *map(next, others)}) == 4


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("7xfc-m5zm-q0z9", "7xfc-m5zm-q0z9"),
        ("7XFCM5ZMQOZ9", "7xfc-m5zm-q0z9"),
        ("IlL1-oO00-0000", "1111-0000-0000"),
        ("7xfc-m5zm-q0zu", None),
        ("7xfc-m5zm-q0z", None),
        ("", None),
    ],
)
def test_a_code_may_be_written_as_it_was_heard(written: str, code: str | None) -> None:
    assert code_as_read(written) == code


@pytest.mark.parametrize(
    "options", [OPTIONS, ConversionOptions(width=9, style="ramp", invert=True)]
)
def test_a_path_has_the_parts_of_its_link(links: Links, options: ConversionOptions) -> None:
    name, variant, width = parts_of(links.art_path(DIGEST, options))

    assert options_of_variant(variant, int(width)) == options
    assert links.digest_of_art(name, options) == DIGEST
