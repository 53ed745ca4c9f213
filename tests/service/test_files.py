"""Files of art by suffix and by Accept, and previews of its links."""

import io
import json
import re
from html.parser import HTMLParser

import pytest
from flask.testing import FlaskClient
from PIL import Image

from asciist.art.forms import FORMS
from asciist.conversion import ConversionOptions
from tools.testing.drawing import convert

CRAWLERS = [
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Twitterbot/1.0",
    "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
    "WhatsApp/2.23.20.0",
    "TelegramBot (like TwitterBot)",
    "http.rb/5.1.1 (Mastodon/4.2.1; +https://mastodon.example/)",
]


def permalink(client: FlaskClient, image: bytes, query: str = "width=40") -> str:
    answer = client.put(f"/?{query}", data=image)
    assert answer.status_code == 200
    return answer.headers["Content-Location"]


class Tags(HTMLParser):
    """The `meta` tags of a page, by property or name."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.values: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name = given.get("property") or given.get("name")
        if tag == "meta" and name:
            self.values[name] = given["content"] or ""


@pytest.mark.parametrize("suffix", [suffix for suffix in FORMS if suffix != "json"])
@pytest.mark.parametrize("query", ["width=40", "width=40&style=blocks&color=html"])
def test_each_suffix_gives_a_file_that_caches_keep(
    client: FlaskClient, cat: bytes, suffix: str, query: str
) -> None:
    url = f"{permalink(client, cat, query)}.{suffix}"
    answer = client.get(url, headers={"Accept": "application/json"})

    assert (answer.status_code, answer.content_type) == (200, FORMS[suffix].content_type)
    assert answer.headers["Content-Location"] == url
    assert answer.headers["Cache-Control"] == "public, max-age=86400"
    assert "Accept," not in answer.headers.get("Vary", "")
    assert client.get(url, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    assert client.head(url).headers["Content-Length"] == str(len(answer.data))
    encoded = client.get(url, headers={"Accept-Encoding": "gzip"}).headers.get("Content-Encoding")
    assert encoded == (None if suffix.endswith("png") or len(answer.data) < 1000 else "gzip")


def test_the_suffix_json_gives_what_accept_would(client: FlaskClient, cat: bytes) -> None:
    url = permalink(client, cat, "width=40&invert=auto")

    assert (
        client.get(f"{url}.json").data
        == client.get(url, headers={"Accept": "application/json"}).data
    )


def test_files_have_the_art_without_and_with_its_colours(client: FlaskClient, cat: bytes) -> None:
    coloured, plain = (
        permalink(client, cat, "width=40&paint=text&color=ansi"),
        permalink(client, cat),
    )
    escaped = client.get(coloured).text

    assert client.get(f"{coloured}.ansi").text == escaped
    assert client.get(f"{coloured}.txt").text == re.sub(r"\x1b\[[0-9;]*m", "", escaped)
    assert (
        client.get(f"{plain}.txt").text
        == client.get(f"{plain}.ansi").text
        == client.get(plain).text
    )
    assert "<form" not in client.get(f"{plain}.html").text


def test_a_recipient_can_have_any_form_of_a_link_without_a_conversion(
    client: FlaskClient, cat: bytes
) -> None:
    links = {
        color: permalink(client, cat, f"width=40&invert=false&color={color}")
        for color in ("ansi", "ansi256", "ansi16", "html")
    }
    expected = {
        color: convert(cat, ConversionOptions(width=40, color=color)) + "\n" for color in links
    }

    for color in list(links)[1:]:
        again = client.put(f"/?width=40&invert=false&color={color}", data=cat)
        assert again.headers["Cache-Status"].startswith("asciist; hit")
        assert again.text == expected[color]
    for link in links.values():
        for suffix in ("ansi", "ansi256", "ansi16", "html"):
            answer = client.get(f"{link}.{suffix}")
            assert answer.headers["Cache-Status"].startswith("asciist; hit")
            assert answer.text == expected[suffix]


@pytest.mark.parametrize("suffix", ["svg", "html"])
def test_a_document_of_the_service_can_do_nothing(
    client: FlaskClient, cat: bytes, suffix: str
) -> None:
    for answer in (
        client.get(f"{permalink(client, cat)}.{suffix}"),
        client.get(f"{permalink(client, cat)}.{suffix}"),
    ):
        assert "sandbox" in answer.headers["Content-Security-Policy"].split("; ")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("accept", "suffix"), [("image/png", "png"), ("image/svg+xml", "svg"), ("image/*", "png")]
)
def test_accept_gives_pictures_too(
    client: FlaskClient, cat: bytes, accept: str, suffix: str
) -> None:
    converted = client.put("/?width=40", data=cat, headers={"Accept": accept})
    url = converted.headers["Content-Location"]
    stored = client.get(url, headers={"Accept": accept})

    assert converted.headers["Cache-Control"] == "no-store"
    assert converted.data == stored.data == client.get(f"{url}.{suffix}").data
    assert stored.headers["Content-Location"] == url
    assert "Accept" in stored.headers["Vary"]


def test_a_picture_that_cannot_be_drawn_is_a_406_with_a_sentence(
    client: FlaskClient, cat: bytes
) -> None:
    url = permalink(client, cat, "width=40&style=ramp&chars=%20%D0%B6")

    for answer in (
        client.get(f"{url}.png"),
        client.get(f"{url}.svg"),
        client.get(url, headers={"Accept": "image/png"}),
    ):
        assert answer.status_code == 406
        assert answer.text.startswith("no picture of this art: the font lacks the character ж")
    page = client.get(url, headers={"Accept": "text/html"})
    assert "og:image" not in Tags(page.text).values


@pytest.mark.parametrize("path", ["{}.gif", "{}.PNG", "{}.png.png", "{}.card"])
def test_an_unknown_suffix_is_an_error_with_the_known_ones(
    client: FlaskClient, cat: bytes, path: str
) -> None:
    answer = client.get(path.format(permalink(client, cat)))

    assert answer.status_code == 400
    assert answer.text.startswith(
        "art has no file with this suffix: use one of .png, .svg, .card.png"
    )


def test_a_file_of_deleted_art_is_gone(client: FlaskClient, cat: bytes) -> None:
    uploaded = client.put("/?width=40", data=cat)
    url = f"{uploaded.headers['Content-Location']}.png"
    assert client.get(url).status_code == client.get(url).status_code == 200

    client.delete(re.findall("<(.*)>", uploaded.headers["Link"])[0])
    assert client.get(url).status_code == 404


def test_a_file_is_made_once(client: FlaskClient, cat: bytes) -> None:
    url = permalink(client, cat)
    first = client.get(f"{url}.png")
    kept = client.application.config["renderings"]

    assert len(kept._kept) == 1
    assert client.get(f"{url}.png", headers={"Origin": "https://other.example"}).data == first.data
    assert len(kept._kept) == 1


@pytest.mark.parametrize("query", ["width=80", "fbclid=1&color=ansi", "style"])
def test_a_file_takes_no_options_but_a_shared_link_may_have_parameters(
    client: FlaskClient, cat: bytes, query: str
) -> None:
    url = permalink(client, cat)
    client.get(f"{url}.png")
    answer = client.get(f"{url}.png?{query}")

    assert answer.status_code == 400
    assert answer.text.startswith("a file of art has no options")
    for link in (url, f"{url}.png"):
        assert client.get(f"{link}?fbclid=1&size=2").data == client.get(link).data


def test_a_link_has_a_preview_with_an_absolute_url(client: FlaskClient, cat: bytes) -> None:
    url = permalink(client, cat)
    tags = Tags(
        client.get(
            url,
            headers={"Accept": "text/html", "Host": "art.example", "X-Forwarded-Proto": "https"},
        ).text
    ).values

    assert tags["og:url"] == f"https://art.example{url}"
    assert tags["og:image"] == tags["twitter:image"] == f"https://art.example{url}.card.png"
    assert tags["og:image:alt"] == "ASCII art, 40 columns wide and 13 lines high"
    assert tags["twitter:card"] == "summary_large_image"
    assert {"og:title", "og:description", "og:type"} <= set(tags)
    card = Image.open(io.BytesIO(client.get(f"{url}.card.png").data))
    assert card.size == (int(tags["og:image:width"]), int(tags["og:image:height"])) == (1200, 630)
    assert card.get_format_mimetype() == tags["og:image:type"]


@pytest.mark.parametrize("query", ["width=40", "width=40&color=html"])
def test_programs_that_show_previews_get_the_page(
    client: FlaskClient, cat: bytes, query: str
) -> None:
    url = permalink(client, cat, query)
    for accept in ({}, {"Accept": "*/*"}):
        text = client.get(url, headers=accept)
        assert "og:image" not in Tags(text.text).values
        assert "User-Agent" in text.headers["Vary"]
        for agent in CRAWLERS:
            page = client.get(url, headers={**accept, "User-Agent": agent})
            assert Tags(page.text).values["og:image"].endswith(".card.png"), agent
            assert "User-Agent" in page.headers["Vary"]


def test_a_program_that_shows_previews_gets_the_form_that_it_asks_for(
    client: FlaskClient, cat: bytes
) -> None:
    answer = client.get(
        permalink(client, cat),
        headers={"Accept": "application/json", "User-Agent": "Twitterbot/1.0"},
    )

    assert json.loads(answer.text)["art"]
    assert "User-Agent" not in answer.headers["Vary"]
