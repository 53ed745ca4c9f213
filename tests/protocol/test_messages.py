"""Messages between releases: the current and the previous request version are read, and all others
are rejected."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asciist.art import still
from asciist.art.codec import encode
from asciist.conversion import ConversionOptions
from asciist.errors import MalformedMessageError
from asciist.options import COLORS, OPTIONS
from asciist.protocol.messages import ConversionReply, ConversionRequest
from tests.art.drawn import animation
from tools.testing.drawing import text_of

REQUEST = ConversionRequest(
    correlation_id="a",
    digest="0" * 64,
    options=ConversionOptions(width=80, style="ramp", invert=True, chars=" ░█"),
    deadline=1.5,
    reply_to="embedded:x",
)
VERSION_1 = {
    "version": 1,
    "correlation_id": "a",
    "key": f"{'0' * 64}/image",
    "width": 80,
    "style": "ramp",
    "deadline": 1.5,
    "reply_to": "embedded:x",
}


@given(
    st.builds(
        ConversionOptions,
        width=st.integers(),
        style=st.text(),
        invert=st.sampled_from([False, True, "auto"]),
        chars=st.text(),
        color=st.text(),
        paint=st.text(),
        shapes=st.text(),
    )
)
def test_every_option_survives_a_round_trip(options: ConversionOptions) -> None:
    request = ConversionRequest(
        correlation_id="a", digest="0" * 64, options=options, deadline=1.5, reply_to="embedded:x"
    )

    assert ConversionRequest.from_json(request.to_json()) == request


def test_a_request_of_version_1_is_read() -> None:
    request = ConversionRequest.from_json(json.dumps(VERSION_1))

    assert request.options == ConversionOptions(width=80, style="ramp")
    assert request.correlation_id == "a"


def test_options_that_version_1_lacks_are_ignored_in_it() -> None:
    request = ConversionRequest.from_json(json.dumps(VERSION_1 | {"invert": True, "color": "html"}))

    assert request.options == ConversionOptions(width=80, style="ramp")


def test_only_a_repeat_tells_its_attempt() -> None:
    """Nothing changes for an older release, which ignores the field."""
    repeat = replace(REQUEST, attempt=2)

    assert "attempt" not in json.loads(REQUEST.to_json())
    assert json.loads(repeat.to_json()) == json.loads(REQUEST.to_json()) | {"attempt": 2}
    assert ConversionRequest.from_json(repeat.to_json()) == repeat


def test_a_reply_tells_which_message_it_answers() -> None:
    for reply in (REQUEST.reply(art="@"), replace(REQUEST, attempt=3).reply(rejection="no")):
        assert ConversionReply.from_json(reply.to_json()) == reply
    assert "attempt" not in json.loads(REQUEST.reply(art="@").to_json())
    assert replace(REQUEST, attempt=3).reply().attempt == 3


@pytest.mark.parametrize("attempt", ["2", 2.5, None, True])
def test_an_attempt_that_is_not_a_whole_number_is_rejected(attempt: object) -> None:
    with pytest.raises(MalformedMessageError, match="attempt"):
        ConversionRequest.from_json(
            json.dumps(json.loads(REQUEST.to_json()) | {"attempt": attempt})
        )


def test_unknown_fields_are_ignored() -> None:
    """A later release can therefore add an optional field without a new version."""
    request = ConversionRequest.from_json(json.dumps(json.loads(REQUEST.to_json()) | {"new": 1}))
    reply = ConversionReply.from_json(
        '{"version":1,"correlation_id":"a","outcome":"done","art":"@","new":1}'
    )

    assert (request, reply.art) == (REQUEST, "@")


def test_requests_and_replies_have_separate_versions() -> None:
    assert json.loads(REQUEST.to_json())["version"] == 2
    assert json.loads(ConversionReply(correlation_id="a", art="@").to_json())["version"] == 1
    assert json.loads(ConversionReply(correlation_id="a", rejection="no").to_json())["version"] == 1


def test_a_message_has_the_options_of_its_version_only() -> None:
    fields = json.loads(REQUEST.to_json()).keys()
    newer = json.loads(replace(REQUEST, options=replace(REQUEST.options, height=9)).to_json())

    assert {"width", "style", "invert", "color", "chars"} == fields & OPTIONS.keys()
    assert newer.keys() & OPTIONS.keys() == OPTIONS.keys() - {"animate"}
    assert newer["version"] == 3


def test_an_animation_needs_a_worker_that_draws_its_frames() -> None:
    """A worker of version 3 would store the art of a still image under the key of the animation."""
    animated = replace(REQUEST, options=replace(REQUEST.options, animate=True))

    assert json.loads(animated.to_json())["version"] >= 4
    assert ConversionRequest.from_json(animated.to_json()) == animated


def test_only_options_of_a_newer_release_need_a_newer_version() -> None:
    """A worker of the previous release can therefore read every other request."""
    chosen_by_image = replace(REQUEST, options=replace(REQUEST.options, invert="auto"))

    assert json.loads(chosen_by_image.to_json()).items() >= {"version": 3, "invert": "auto"}.items()
    with pytest.raises(MalformedMessageError, match="invalid invert: 'auto'"):
        ConversionRequest.from_json(json.dumps(json.loads(REQUEST.to_json()) | {"invert": "auto"}))


def test_a_reply_has_the_polarity_only_if_it_was_chosen() -> None:
    for invert in (False, True):
        reply = REQUEST.reply(art="@", invert=invert)
        assert ConversionReply.from_json(reply.to_json()) == reply
        assert json.loads(reply.to_json())["invert"] is invert
    assert "invert" not in json.loads(REQUEST.reply(art="@").to_json())


@pytest.mark.parametrize(
    "newer", [{"paint": "text"}, {"shapes": "quadrants"}, {"height": 9}, {"fit": "cover"}]
)
def test_a_value_that_older_releases_do_not_know_needs_version_3(newer: dict[str, str]) -> None:
    """A worker of an older release leaves the message to another one, instead of refusing the
    value."""
    request = replace(REQUEST, options=replace(REQUEST.options, **newer))

    assert json.loads(request.to_json())["version"] == 3
    assert ConversionRequest.from_json(request.to_json()) == request


@pytest.mark.parametrize(
    "newer", [{"color": color} for color in COLORS if color != "none"] + [{"animate": True}]
)
def test_a_request_for_art_with_more_than_characters_needs_version_5(
    newer: dict[str, object],
) -> None:
    """A worker of an older release would reply with text in one form."""
    request = replace(REQUEST, options=replace(REQUEST.options, **newer))  # type: ignore[arg-type]

    assert json.loads(request.to_json())["version"] == 5
    assert ConversionRequest.from_json(request.to_json()) == request


@pytest.mark.parametrize("color", [color for color in COLORS if color != "none"])
def test_an_older_web_tier_gets_text_in_the_form_of_its_request(color: str) -> None:
    art = still("@", is_light=True, colours=b"\x80\x40\x00")
    newer = json.loads(replace(REQUEST, options=replace(REQUEST.options, color=color)).to_json())
    older = newer | {"version": 4}

    reply = ConversionRequest.from_json(json.dumps(older)).reply(art=encode(art))
    coded = ConversionRequest.from_json(json.dumps(newer)).reply(art=encode(art))

    assert reply.art == text_of(art, color)
    assert coded.art == encode(art)


def test_an_older_web_tier_gets_the_first_frame_of_an_animation() -> None:
    options = replace(REQUEST.options, animate=True)
    older = json.loads(replace(REQUEST, options=options).to_json()) | {"version": 4}

    reply = ConversionRequest.from_json(json.dumps(older)).reply(
        art=encode(animation(("a", 10), ("b", 10)))
    )

    assert reply.art == "a"


@pytest.mark.parametrize("version", [0, 6, "2", None, [2]])
def test_an_unknown_version_is_rejected(version: object) -> None:
    reply = ConversionReply(correlation_id="a", art="@")
    with pytest.raises(MalformedMessageError, match="this release reads 1, 2, 3, 4, 5"):
        ConversionRequest.from_json(
            json.dumps(json.loads(REQUEST.to_json()) | {"version": version})
        )
    with pytest.raises(MalformedMessageError, match="this release reads 1"):
        ConversionReply.from_json(json.dumps(json.loads(reply.to_json()) | {"version": version}))


@pytest.mark.parametrize(
    "change",
    [
        {"invert": 1},
        {"invert": "true"},
        {"invert": None},
        {"chars": None},
        {"chars": 5},
        {"color": True},
        {"width": True},
    ],
)
def test_an_option_of_the_wrong_type_is_rejected(change: dict[str, object]) -> None:
    with pytest.raises(MalformedMessageError, match=next(iter(change))):
        ConversionRequest.from_json(json.dumps(json.loads(REQUEST.to_json()) | change))


@pytest.mark.parametrize("name", ["invert", "chars", "color", "width", "style"])
def test_a_missing_option_is_rejected(name: str) -> None:
    fields = json.loads(REQUEST.to_json())
    del fields[name]

    with pytest.raises(MalformedMessageError, match=f"invalid {name}: None"):
        ConversionRequest.from_json(json.dumps(fields))
