"""The HTTP contract, row by row."""

import base64
import hashlib
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from markupsafe import escape
from werkzeug.test import TestResponse

from asciist.adapters.embedded import EmbeddedMetrics
from asciist.conversion import STYLES, ConversionOptions, convert
from asciist.limits import Limits
from asciist.protocol.artifacts import digest_of
from asciist.protocol.messages import NO_TRACE, Trace
from asciist.protocol.requester import Requester, ServedArt
from asciist.settings import Settings
from asciist.telemetry import metrics
from asciist.wiring import WebProcess, build_web_process
from devtools.hostile import png_of_header
from service import create_app

BROWSER = {"User-Agent": "Mozilla/5.0", "Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
BOMB = png_of_header(2**14, 2**14)


def art(image: bytes, width: int, **options: Any) -> str:
    return convert(image, ConversionOptions(width=width, **options), Limits())


def payload(image: bytes, **fields: Any) -> dict[str, Any]:
    return {"image": base64.b64encode(image).decode(), **fields}


def multipart(image: bytes) -> dict[str, Any]:
    """A form with one file, as a client would write it."""
    head = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="cat.jpg"\r\n\r\n'
    return {"data": head + image + b"\r\n--edge--\r\n", "content_type": "multipart/form-data; boundary=edge"}


def message(response: TestResponse) -> str:
    """The one sentence of an error, in whichever form; checks what every error must keep to."""
    text = response.get_json()["error"] if response.is_json else response.get_data(as_text=True).rstrip("\n")
    assert response.headers["Cache-Control"] == "no-store"
    assert "\n" not in text
    assert not re.search(r"Traceback|flask|werkzeug|gunicorn|pillow|PIL|obstore|python|/tmp|\.py", text, re.IGNORECASE)
    return text


class TestConvert:
    def test_json_in_json_out_without_a_newline_at_its_end(self, client: FlaskClient, cat: bytes) -> None:
        response = client.post("/", json=payload(cat, width=80))

        assert response.status_code == 200
        assert response.get_json() == {"art": art(cat, 80)}
        assert not response.get_json()["art"].endswith("\n")

    def test_raw_bytes_in_text_out_with_a_newline_at_its_end(self, client: FlaskClient, cat: bytes) -> None:
        for send, path in ((client.post, "/"), (client.put, "/"), (client.put, "/cat.jpg")):
            response = send(f"{path}?width=30", data=cat)
            assert response.status_code == 200
            assert response.content_type == "text/plain; charset=utf-8"
            assert response.get_data(as_text=True) == art(cat, 30) + "\n"

    @pytest.mark.parametrize("name", ["a/b/cat.jpg", "//cat.jpg", "healthz", "static/page.css", "%0A", "%00", "..", "Ü"])
    def test_put_takes_any_name(self, client: FlaskClient, cat: bytes, name: str) -> None:
        assert client.put(f"/{name}?width=30", data=cat).get_data(as_text=True) == art(cat, 30) + "\n"

    def test_a_multipart_form(self, client: FlaskClient, cat: bytes) -> None:
        response = client.post("/", data={"image": (BytesIO(cat), "cat.jpg"), "width": "30"})
        assert response.get_data(as_text=True) == art(cat, 30) + "\n"

        response = client.post("/", data={"image": (BytesIO(cat), "cat.jpg"), "width": ""})
        assert response.get_data(as_text=True) == art(cat, 80) + "\n"

    def test_the_width_is_80_unless_said_otherwise(self, client: FlaskClient, cat: bytes) -> None:
        assert client.post("/", data=cat).get_data(as_text=True) == art(cat, 80) + "\n"

    @pytest.mark.parametrize(
        "content_type",
        ["", "image/png", "text/html", "application/x-www-form-urlencoded", "application/octet-stream", "nonsense"],
    )
    def test_the_bytes_decide_and_not_the_content_type(self, client: FlaskClient, cat: bytes, content_type: str) -> None:
        response = client.post("/?width=20", data=cat, content_type=content_type)

        assert response.get_data(as_text=True) == art(cat, 20) + "\n"

    @pytest.mark.parametrize("content_type", ["", "application/x-www-form-urlencoded", "application/problem+json"])
    def test_json_is_json_under_any_content_type(self, client: FlaskClient, cat: bytes, content_type: str) -> None:
        response = client.post("/", data=json.dumps(payload(cat, width=20)), content_type=content_type)

        assert response.get_json() == {"art": art(cat, 20)}

    def test_base64_may_be_wrapped_and_may_be_a_data_url(self, client: FlaskClient, cat: bytes) -> None:
        for image in (base64.encodebytes(cat).decode(), "data:image/jpeg;base64," + base64.b64encode(cat).decode()):
            assert client.post("/", json={"image": image, "width": 20}).get_json() == {"art": art(cat, 20)}

    def test_a_whole_number_may_be_written_with_a_fraction_of_zero(self, client: FlaskClient, cat: bytes) -> None:
        assert client.post("/", json=payload(cat, width=20.0)).get_json() == {"art": art(cat, 20)}

    @pytest.mark.parametrize(
        "options",
        [
            {"style": "ramp"},
            {"style": "braille"},
            {"style": "blocks"},
            {"style": "ramp", "invert": True},
            {"style": "ramp", "chars": " .oO+&%"},
            {"style": "ramp", "chars": "^@%"},
            {"style": "ramp", "chars": " ░▒▓█", "invert": True, "color": "ansi"},
            {"style": "blocks", "color": "ansi"},
            {"color": "html"},
        ],
    )
    def test_options_are_query_parameters_form_fields_and_json_keys(
        self, client: FlaskClient, cat: bytes, options: dict[str, Any]
    ) -> None:
        expected = {"art": art(cat, 20, **options)}
        json_please = {"Accept": "application/json"}
        fields = {"width": "20", **options} | ({"invert": "true"} if "invert" in options else {})

        assert client.post("/", json=payload(cat, width=20, **options)).get_json() == expected
        for response in (
            client.post("/", query_string=fields, data=cat, headers=json_please),
            client.put("/cat.jpg", query_string=fields, data=cat, headers=json_please),
            client.post("/", data={"image": (BytesIO(cat), "cat.jpg"), **fields}, headers=json_please),
        ):
            assert response.get_json() == expected

    @pytest.mark.parametrize(
        ("text", "inverted"),
        [(text, True) for text in ("", "true", "True", "1", "yes", "on", "ON")]
        + [(text, False) for text in ("false", "FALSE", "0", "no", "off")],
    )
    def test_invert_may_be_said_in_many_ways(self, client: FlaskClient, cat: bytes, text: str, inverted: bool) -> None:
        expected = art(cat, 20, invert=inverted) + "\n"

        assert client.post("/", query_string={"width": "20", "invert": text}, data=cat).text == expected
        form = {"image": (BytesIO(cat), "cat.jpg"), "width": "20", "invert": text}
        assert client.post("/", data=form).text == expected

    def test_invert_needs_no_value(self, client: FlaskClient, cat: bytes) -> None:
        assert client.post("/?width=20&invert", data=cat).text == art(cat, 20, invert=True) + "\n"

    def test_an_option_of_null_is_not_chosen(self, client: FlaskClient, cat: bytes) -> None:
        nothing = {"style": None, "invert": None, "chars": None, "color": None}

        assert client.post("/", json=payload(cat, width=20, **nothing)).get_json() == {"art": art(cat, 20)}

    def test_an_option_that_there_is_not_is_ignored(self, client: FlaskClient, cat: bytes) -> None:
        assert client.post("/?width=20&digest=x&limits=y", data=cat).text == art(cat, 20) + "\n"
        assert client.post("/", json=payload(cat, width=20, check=1)).get_json() == {"art": art(cat, 20)}


class TestForms:
    @pytest.mark.parametrize("accept", ["", "*/*", "image/png", "application/json;q=0, text/plain;q=0"])
    def test_without_a_choice_json_gets_json_and_all_else_gets_text(self, client: FlaskClient, cat: bytes, accept: str) -> None:
        assert client.post("/", json=payload(cat, width=9), headers={"Accept": accept}).is_json
        assert client.post("/?width=9", data=cat, headers={"Accept": accept}).mimetype == "text/plain"

    @pytest.mark.parametrize("form", ["application/json", "text/plain", "text/html"])
    def test_accept_chooses(self, client: FlaskClient, cat: bytes, form: str) -> None:
        accept = {"Accept": f"{form}, */*;q=0.1"}
        for response in (
            client.post("/", json=payload(cat, width=9), headers=accept),
            client.post("/?width=9", data=cat, headers=accept),
            client.post("/?width=9", data=b"nonsense", headers=accept),
            client.post("/", json=[], headers=accept),
            client.get("/nowhere", headers=accept),
        ):
            assert response.mimetype == form
            assert "Accept" in response.vary

    def test_a_browser_gets_a_page_with_the_art_escaped_and_no_script_inline(self, client: FlaskClient, cat: bytes) -> None:
        response = client.post("/", data={"image": (BytesIO(cat), "cat.jpg"), "width": "30"}, headers=BROWSER)
        page, policy = response.text, response.headers["Content-Security-Policy"]

        assert str(escape(art(cat, 30))) in page
        assert re.findall(r"<script[^>]*>(.*?)</script>", page) == [""]
        assert " style=" not in page
        assert not re.search(r"\son\w+=", page)
        assert "default-src 'none'; script-src 'self';" in policy
        assert "unsafe" not in policy
        (style,) = re.findall("<style>(.*?)</style>", page)
        assert f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'" in policy

    def test_a_page_is_asked_for_again_and_what_it_loads_is_not(self, client: FlaskClient, cat: bytes) -> None:
        made = client.post("/?width=30", data=cat)
        page = client.get(made.headers["Content-Location"], headers=BROWSER)
        assert page.headers["Cache-Control"] == "no-cache"
        assert (
            client.get(made.headers["Content-Location"], headers=BROWSER | {"If-None-Match": page.headers["ETag"]}).status_code
            == 304
        )

        loaded = re.findall(r'(?:src|href|data-sample)="(/static/[^"]+\?v=[0-9a-f]{12})"', page.text)
        assert [re.split(r"[/?]", address)[2] for address in loaded] == ["icon.svg", "page.css", "page.js", "coffee.webp"]
        ages = dict.fromkeys(loaded, 31_536_000) | {"/static/mono.woff2": 3600}
        for address, age in ages.items():
            with client.get(address) as file:
                assert file.headers["Cache-Control"] == f"public, max-age={age}"
        assert client.get("/static/nothing.js").status_code == 404

    def test_who_has_a_link_does_not_tell_it_to_others(self, client: FlaskClient) -> None:
        assert client.get("/", headers=BROWSER).headers["Referrer-Policy"] == "same-origin"

    @pytest.mark.parametrize("accept", ["text/plain", "text/html", "*/*"])
    def test_coloured_html_is_the_answer_itself(self, client: FlaskClient, cat: bytes, accept: str) -> None:
        made = client.post("/?width=30&color=html&style=ramp&chars=%3Cb%3E%26", data=cat, headers={"Accept": accept})

        assert made.content_type == "text/html; charset=utf-8"
        assert made.text == art(cat, 30, style="ramp", color="html", chars="<b>&") + "\n"
        assert "&lt;</b>" in made.text
        assert made.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'unsafe-inline';")
        assert client.get(made.headers["Content-Location"], headers={"Accept": accept}).data == made.data
        error = client.post("/?width=0&color=html", data=cat)
        assert (error.status_code, error.mimetype) == (400, "text/plain")

    def test_coloured_html_is_art_in_json(self, client: FlaskClient, cat: bytes) -> None:
        response = client.post("/", json=payload(cat, width=30, color="html"))

        assert response.is_json
        assert response.get_json() == {"art": art(cat, 30, color="html")}

    def test_a_page_shows_art_without_a_terminals_codes(self, client: FlaskClient, cat: bytes) -> None:
        page = client.post("/?width=30&color=ansi", data=cat, headers={"Accept": "text/html"})
        text = client.post("/?width=30&color=ansi", data=cat)

        assert str(escape(art(cat, 30))) in page.text
        assert "\x1b" not in page.text
        assert "\x1b[38;2;" in text.text

    def test_the_form_remembers_what_was_chosen(self, client: FlaskClient, cat: bytes) -> None:
        form = {"image": (BytesIO(cat), "cat.jpg"), "width": "33", "style": "braille", "invert": "on"}
        page = client.post("/", data=form, headers=BROWSER).text

        assert 'value="33"' in page
        assert "<option selected>braille</option>" in page
        assert 'name="invert" checked' in page
        assert '<div id="stage" class="light">' in page  # art for a light background is shown on one
        assert "checked" not in client.get("/", headers=BROWSER).text

    def test_a_browser_is_told_of_an_error_on_the_page(self, client: FlaskClient) -> None:
        response = client.post("/", data={"image": (BytesIO(b"x"), "<b>.jpg"), "width": "30"}, headers=BROWSER)

        assert response.status_code == 400
        assert "unknown image format" in response.get_data(as_text=True)

    def test_the_front_is_a_page_for_browsers_and_usage_for_curl(self, client: FlaskClient) -> None:
        for headers, form in (
            (BROWSER, "text/html"),
            ({"User-Agent": "curl/8.0", "Accept": "*/*"}, "text/plain"),
            ({"User-Agent": "Mozilla/5.0", "Accept": "*/*"}, "text/html"),
            ({"User-Agent": "Mozilla/5.0", "Accept": "text/plain"}, "text/plain"),
            ({"User-Agent": "curl/8.0", "Accept": "text/html"}, "text/html"),
        ):
            response = client.get("/", headers=headers)
            assert (response.status_code, response.mimetype) == (200, form)
            assert {"accept", "user-agent"} <= set(response.vary.as_set())

    def test_the_usage_names_the_host_it_was_asked_at(self, client: FlaskClient) -> None:
        assert "curl -T cat.jpg http://art.example\n" in client.get("/", headers={"Host": "art.example"}).text
        behind = {"Host": "art.example", "X-Forwarded-Proto": "https"}
        assert "curl -T cat.jpg https://art.example\n" in client.get("/", headers=behind).text
        behind["X-Forwarded-Proto"] = "javascript"
        assert "curl -T cat.jpg http://art.example\n" in client.get("/", headers=behind).text

    def test_the_usage_is_short_and_names_every_option(self, client: FlaskClient) -> None:
        usage = client.get("/").text

        assert len(usage.splitlines()) <= 20
        assert all(f"\n    {field.name} " in usage for field in fields(ConversionOptions))
        assert all(style in usage for style in STYLES)


class TestStoredArt:
    def test_a_conversion_names_the_permanent_address_of_its_art(self, client: FlaskClient, cat: bytes) -> None:
        made = client.post("/?width=30", data=cat)
        stored = client.get(made.headers["Content-Location"])

        assert stored.get_data() == made.get_data()
        assert client.get(made.headers["Content-Location"], headers={"Accept": "application/json"}).get_json() == {
            "art": art(cat, 30)
        }

    def test_the_second_answer_comes_from_the_store(self, client: FlaskClient, cat: bytes, embedded: WebProcess) -> None:
        first, second = (client.post("/?width=30", data=cat) for _ in range(2))

        assert first.headers["Cache-Status"] == "asciist; fwd=miss; stored"
        assert second.headers["Cache-Status"] == "asciist; hit"
        assert first.get_data() == second.get_data()
        recorded = embedded.metrics
        assert isinstance(recorded, EmbeddedMetrics)
        assert recorded.total(f"{metrics.CONVERSION_DURATION} (values)") == 1

    def test_art_is_cacheable_and_carries_a_strong_etag(self, client: FlaskClient, cat: bytes) -> None:
        address = client.post("/?width=30", data=cat).headers["Content-Location"]
        stored = client.get(address)
        etag, is_weak = stored.get_etag()

        assert not is_weak
        assert "public" in stored.headers["Cache-Control"]
        unchanged = client.get(address, headers={"If-None-Match": f'"{etag}"'})
        assert (unchanged.status_code, unchanged.get_data()) == (304, b"")
        assert unchanged.get_etag() == (etag, False)
        assert client.get(address, headers={"If-None-Match": '"other"'}).status_code == 200
        assert client.get(address, headers={"Accept": "application/json"}).get_etag() != (etag, False)

    def test_head_has_the_headers_alone(self, client: FlaskClient, cat: bytes) -> None:
        address = client.post("/?width=30", data=cat).headers["Content-Location"]

        assert client.head(address).headers["ETag"] == client.get(address).headers["ETag"]
        assert client.head(address).get_data() == b""

    @pytest.mark.parametrize(
        "path",
        [
            f"/{'0' * 64}/width/80",
            f"/{'0' * 64}/style/ramp/width/80",
            f"/{'0' * 63}/width/80",
            f"/{'A' * 64}/width/80",
            f"/{'0' * 64}/image",
            "/nowhere",
            "/../../etc/passwd",
        ],
    )
    def test_what_is_not_stored_is_not_found(self, client: FlaskClient, path: str) -> None:
        response = client.get(path)

        assert response.status_code == 404
        assert message(response)

    @pytest.mark.parametrize(
        ("query", "variant"),
        [
            ("style=braille", "braille"),
            ("style=ramp&invert", "ramp.invert"),
            ("style=ramp&color=ansi&chars=%20%E2%96%88&invert=1", "ramp.invert.ansi.chars-20e29688"),
            ("style=blocks&color=html", "blocks.html"),
        ],
    )
    def test_the_address_names_the_options(self, client: FlaskClient, cat: bytes, query: str, variant: str) -> None:
        made = client.post(f"/?width=30&{query}", data=cat)
        address = made.headers["Content-Location"]

        assert address.endswith(f"/style/{variant}/width/30")
        assert client.get(address).data == made.data
        assert client.get(address.replace("/30", "/31")).status_code == 404

    @pytest.mark.parametrize(
        ("variant", "sentence"),
        [
            ("oil", "style must be one of: "),
            ("oil.invert", "style must be one of: "),
            ("ramp.ansi.invert", "invalid options in the URL"),
            ("ramp.chars-", "invalid options in the URL"),
            ("ramp.chars-ff", "invalid options in the URL"),
            ("%20", "invalid options in the URL"),
            ("ramp.chars-0a", "chars must be printable characters"),
            ("ramp.chars-" + "2e" * 101, "chars must be at most 100 bytes"),
            ("braille.chars-2e", "chars cannot be used with the style"),
        ],
    )
    def test_options_that_there_are_not_are_a_bad_option(self, client: FlaskClient, variant: str, sentence: str) -> None:
        response = client.get(f"/{'0' * 64}/style/{variant}/width/80")

        assert response.status_code == 400
        assert message(response).startswith(sentence)

    @pytest.mark.parametrize("width", ["0", "1001", "x", "1.5"])
    def test_a_width_that_there_is_not_is_a_bad_option(self, client: FlaskClient, width: str) -> None:
        response = client.get(f"/{'0' * 64}/width/{width}")

        assert (response.status_code, message(response)) == (400, "width must be a whole number from 1 to 1000")


class TestStoredImage:
    """POST /{sha256}/image: other art of an image that was sent before."""

    def test_it_is_converted_without_being_sent_again(self, client: FlaskClient, cat: bytes) -> None:
        digest = digest_of(cat)
        client.post("/?width=9", data=cat)
        made = client.post(f"/{digest}/image?width=30&style=braille&invert")

        assert made.text == art(cat, 30, style="braille", invert=True) + "\n"
        assert made.headers["Cache-Status"] == "asciist; fwd=miss; stored"
        assert client.get(made.headers["Content-Location"]).data == made.data
        assert client.post(f"/{digest}/image", headers={"Accept": "application/json"}).get_json() == {"art": art(cat, 80)}

    def test_one_that_was_never_sent_is_asked_for(self, client: FlaskClient) -> None:
        response = client.post(f"/{64 * '0'}/image?width=30")

        assert (response.status_code, message(response)) == (404, "image not found or expired: upload it again")

    @pytest.mark.parametrize("query", ["width=0", "width=x", "style=oil", "invert=2", "color=cmyk", "style=blocks&chars=x"])
    def test_a_wrong_option_is_told(self, client: FlaskClient, cat: bytes, query: str) -> None:
        client.post("/?width=9", data=cat)

        assert client.post(f"/{digest_of(cat)}/image?{query}").status_code == 400

    @pytest.mark.parametrize("digest", ["0" * 63, "A" * 64])
    def test_what_is_no_digest_is_no_address(self, client: FlaskClient, digest: str) -> None:
        assert client.post(f"/{digest}/image").status_code == 405  # PUT knows every name

    def test_nobody_gets_the_image_itself(self, client: FlaskClient, cat: bytes) -> None:
        client.post("/?width=9", data=cat)

        assert client.get(f"/{digest_of(cat)}/image").status_code == 404


class TestErrors:
    @pytest.mark.parametrize("width", [0, -1, 1001, 1e9, 10**40, "80", "", 80.5, None, True, [80], {"a": 1}])
    def test_a_wrong_width_in_json(self, client: FlaskClient, cat: bytes, width: object) -> None:
        response = client.post("/", json=payload(cat, width=width))

        assert (response.status_code, message(response)) == (400, "width must be a whole number from 1 to 1000")
        assert response.get_json().keys() == {"error"}

    @pytest.mark.parametrize("width", ["0", "-1", "1001", "1e9", "9" * 50, "80.5", "", "x", "0x50", "٨٠", "80 "])
    def test_a_wrong_width_in_a_url(self, client: FlaskClient, cat: bytes, width: str) -> None:
        response = client.post("/", query_string={"width": width}, data=cat)

        assert (response.status_code, message(response)) == (400, "width must be a whole number from 1 to 1000")

    @pytest.mark.parametrize(
        ("query", "sentence"),
        [
            ("invert=maybe", "invert must be true or false"),
            ("invert=2", "invert must be true or false"),
            ("color=cmyk", "color must be one of: none, ansi, html"),
            ("style=oil", "style must be one of: "),
            ("style=ramp&chars=%00", "chars must be printable characters"),
            ("style=ramp&chars=%E6%BC%A2", "chars must be printable characters"),
            ("style=ramp&chars=^%20.:-=%2B*%23%25@", "chars excludes every character of the style"),
            ("style=blocks&chars=x", "chars cannot be used with the style blocks, which draws fixed patterns"),
        ],
    )
    def test_a_wrong_option_in_a_url(self, client: FlaskClient, cat: bytes, query: str, sentence: str) -> None:
        response = client.post(f"/?width=20&{query}", data=cat)

        assert response.status_code == 400
        assert message(response).startswith(sentence)

    def test_no_width_in_json(self, client: FlaskClient, cat: bytes) -> None:
        response = client.post("/", json=payload(cat))

        assert (response.status_code, response.get_json()) == (400, {"error": "no width provided"})

    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            ("", "the body is not valid JSON"),
            ("{", "the body is not valid JSON"),
            ('{"width": NaN, "image": ""}', "the body is not valid JSON"),
            ("[" * 100_000, "the body is not valid JSON"),
            ('{"a": ' * 100_000, "the body is not valid JSON"),
            ('"\\ud800', "the body is not valid JSON"),
            (b"\xff\xfe\x00", "the body is not valid JSON"),
            ("1" * 5000, "the body is not valid JSON"),
            ("[]", "the JSON body must be an object"),
            ("null", "the JSON body must be an object"),
            ('"text"', "the JSON body must be an object"),
            ('{"width": 80}', "no image provided"),
            ('{"width": 80, "image": ""}', "no image provided"),
            ('{"width": 80, "image": null}', "no image provided"),
            ('{"width": 80, "image": 5}', "image must be a base64 string"),
            ('{"width": 80, "image": "not base64!"}', "image is not valid base64"),
            ('{"width": 80, "image": "YWJ"}', "image is not valid base64"),
            ('{"width": 80, "image": "YWJ="}', "unknown image format"),
            ('{"width": 80, "image": "größer"}', "image is not valid base64"),
            ('{"width": 80, "style": 1, "image": "YWJj"}', "style must be text"),
            ('{"width": 80, "style": "oil", "image": "YWJj"}', "style must be one of: "),
            ('{"width": 80, "invert": "true", "image": "YWJj"}', "invert must be true or false"),
            ('{"width": 80, "invert": 1, "image": "YWJj"}', "invert must be true or false"),
            ('{"width": 80, "color": false, "image": "YWJj"}', "color must be text"),
            ('{"width": 80, "color": "", "image": "YWJj"}', "color must be one of: none, ansi, html"),
            ('{"width": 80, "chars": [" ", "#"], "image": "YWJj"}', "chars must be text"),
            (r'{"width": 80, "style": "ramp", "chars": "\u001b[2J", "image": "YWJj"}', "chars must be printable characters"),
            (r'{"width": 80, "style": "ramp", "chars": "\ud800", "image": "YWJj"}', "chars must be printable characters"),
        ],
    )
    def test_json_that_is_wrong(self, client: FlaskClient, body: str | bytes, sentence: str) -> None:
        response = client.post("/", data=body, content_type="application/json")

        assert response.status_code == 400
        assert message(response).startswith(sentence)

    def test_an_image_that_says_it_is_json(self, client: FlaskClient, cat: bytes) -> None:
        response = client.post("/", data=cat, content_type="application/json")

        assert (response.status_code, message(response)) == (400, "the body is not valid JSON")

    @pytest.mark.parametrize(
        ("data", "content_type"),
        [
            (b"", ""),
            (b"", "application/octet-stream"),
            (b"", "multipart/form-data"),
            (b"no boundary in here", "multipart/form-data"),
            (b"--x\r\nbroken", "multipart/form-data; boundary=x"),
            (b"--x--\r\n", "multipart/form-data; boundary=x"),
        ],
    )
    def test_no_image(self, client: FlaskClient, data: bytes, content_type: str) -> None:
        response = client.post("/", data=data, content_type=content_type)

        assert (response.status_code, message(response)) == (400, "no image provided")

    def test_what_is_no_image(self, client: FlaskClient, cat: bytes) -> None:
        for image, sentence in (
            (b"GIF90a", "unknown image format: send JPEG, PNG, GIF, WebP or BMP"),
            (cat[:2000], "the image is damaged and cannot be decoded"),
            (cat[:-9000], "the image is damaged and cannot be decoded"),
            (BOMB, "too many pixels: 16384x16384 is 268.4 megapixels, and the limit for this kind of PNG is 33.3"),
        ):
            response = client.post("/", data=image)
            assert (response.status_code, message(response)) == (400, sentence)

    def test_one_byte_over_the_limit_is_too_large_in_every_wrapping(self, client: FlaskClient, cat: bytes) -> None:
        limit = Limits().max_image_bytes
        exactly, over = cat.ljust(limit, b"\0"), cat.ljust(limit + 1, b"\0")
        sentence = "the image is too large: the limit is 10 MB"

        for image, status in ((exactly, 200), (over, 413)):
            for response in (
                client.post("/?width=9", data=image),
                client.put("/cat.jpg?width=9", data=image),
                client.post("/", json=payload(image, width=9)),
                client.post("/?width=9", **multipart(image)),
                client.post(
                    "/?width=9",
                    input_stream=BytesIO(image),
                    headers={"Transfer-Encoding": "chunked"},
                    environ_overrides={"wsgi.input_terminated": True},
                ),
            ):
                assert response.status_code == status
                assert status == 200 or message(response) == sentence

    def test_a_body_far_over_the_limit_is_not_read(self, client: FlaskClient) -> None:
        class Unread(BytesIO):
            def read(self, *_: object) -> bytes:
                raise AssertionError("the body was read")

        response = client.post("/", input_stream=Unread(), environ_overrides={"CONTENT_LENGTH": "5000000000"})

        assert response.status_code == 413

    def test_a_body_shorter_than_its_content_length(self, client: FlaskClient, cat: bytes) -> None:
        response = client.post("/", input_stream=BytesIO(cat), environ_overrides={"CONTENT_LENGTH": str(len(cat) + 100)})

        assert (response.status_code, message(response)) == (400, "the request body is shorter than its Content-Length")

    def test_a_compressed_body(self, client: FlaskClient, cat: bytes) -> None:
        response = client.post("/", data=cat, headers={"Content-Encoding": "gzip"})

        assert response.status_code == 415
        assert "Content-Encoding" in message(response)

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [("POST", "/cat.jpg", {"GET", "HEAD", "OPTIONS", "PUT"}), ("DELETE", "/", {"GET", "HEAD", "OPTIONS", "POST", "PUT"})],
    )
    def test_a_method_that_an_address_does_not_take(
        self, client: FlaskClient, method: str, path: str, allowed: set[str]
    ) -> None:
        response = client.open(path, method=method)

        assert response.status_code == 405
        assert set(response.allow) == allowed
        assert message(response)

    def test_many_form_parts_are_refused(self, client: FlaskClient) -> None:
        response = client.post("/", data={f"field{number}": "x" for number in range(100)} | {"a": (BytesIO(b"x"), "x")})

        assert response.status_code == 413


class TestFaultsOfOurs:
    def test_a_store_that_fails_is_503_without_its_name(
        self, client: FlaskClient, cat: bytes, embedded: WebProcess, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert client.get("/readyz").status_code == 200
        (embedded.settings.data_dir / "readiness").mkdir()  # where a file is looked for
        for path in embedded.settings.data_dir.iterdir():
            path.rmdir()
        embedded.settings.data_dir.rmdir()
        embedded.settings.data_dir.write_text("a file where the directory was")

        response = client.post("/", data=cat)

        assert (response.status_code, message(response)) == (503, "the service is temporarily unavailable")
        assert int(response.headers["Retry-After"]) > 0
        assert str(embedded.settings.data_dir) in caplog.text  # for the log alone
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200

    def test_a_service_without_workers_is_alive_and_not_ready(self, client: FlaskClient, embedded: WebProcess) -> None:
        embedded.close()

        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503

    def test_what_there_is_no_room_for_is_turned_away_with_a_time_to_come_back(self, tmp_path: Path, cat: bytes) -> None:
        process = build_web_process(Settings(data_dir=tmp_path, metrics="none", max_requests_in_flight=1))
        recorded = process.metrics
        assert isinstance(recorded, EmbeddedMetrics)
        holding, answering = threading.Event(), threading.Event()

        class SlowRequester(Requester):
            def __init__(self) -> None:
                """Holds the only place until it is told to answer."""

            def convert(self, image: bytes, options: ConversionOptions, trace: Trace = NO_TRACE) -> ServedArt:
                holding.set()
                answering.wait(30)
                return process.requester.convert(image, options, trace)

        app = create_app(settings=process.settings, requester=SlowRequester(), metrics=recorded, is_ready=process.is_ready)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(app.test_client().post, "/", data=cat)
            assert holding.wait(30)
            second = app.test_client().post("/", json=payload(cat, width=9))
            health = app.test_client().get("/healthz")
            answering.set()
            assert first.result().status_code == 200
        process.close()

        assert (second.status_code, message(second)) == (503, "the service is busy: try again in a moment")
        assert int(second.headers["Retry-After"]) > 0
        assert health.status_code == 200
        assert recorded.total(metrics.REQUESTS_SHED) == 1

    def test_art_that_does_not_come_in_time_is_a_504(self, tmp_path: Path, cat: bytes) -> None:
        process = build_web_process(Settings(data_dir=tmp_path, metrics="none", request_timeout=1))
        assert process.responder
        process.responder.stop(5)  # and nobody works
        app = create_app(
            settings=process.settings, requester=process.requester, metrics=process.metrics, is_ready=process.is_ready
        )
        response = app.test_client().post("/", data=cat)
        process.close()

        assert (response.status_code, message(response)) == (504, "the art was not ready in time: try again")

    def test_an_error_that_nobody_thought_of_says_nothing_about_itself(
        self, client: FlaskClient, cat: bytes, embedded: WebProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError("/secret/path in PIL")

        monkeypatch.setattr(embedded.requester, "convert", fail)
        response = client.post("/", data=cat)

        assert (response.status_code, message(response)) == (500, "internal error")


def test_every_answer_but_to_probes_is_counted_and_timed_by_its_status(
    client: FlaskClient, cat: bytes, embedded: WebProcess
) -> None:
    client.get("/")
    client.post("/", data=cat)
    client.post("/", data=b"nonsense")
    client.get("/nowhere")
    client.get("/healthz")
    client.get("/readyz")

    recorded = embedded.metrics
    assert isinstance(recorded, EmbeddedMetrics)
    for status, number in (("200", 2), ("400", 1), ("404", 1)):
        assert recorded.total(metrics.REQUESTS, status=status) == number
        assert recorded.total(f"{metrics.REQUEST_DURATION} (values)", status=status) == number
    assert recorded.total(metrics.CONVERSION_PIXELS, format="jpeg") == 451 * 300


def test_no_answer_may_be_sniffed_into_something_else(client: FlaskClient, cat: bytes) -> None:
    for response in (client.get("/"), client.post("/", data=cat), client.post("/", data=b"<script>"), client.get("/x")):
        assert response.headers["X-Content-Type-Options"] == "nosniff"
