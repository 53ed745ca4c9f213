"""The HTTP contract: requests, response formats, stored art and errors."""

import base64
import hashlib
import html
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from markupsafe import escape
from PIL import Image
from werkzeug.test import TestResponse

from asciist import wiring
from asciist.adapters.embedded import EmbeddedMetrics, EmbeddedReplies
from asciist.adapters.threads import ThreadedCalls
from asciist.conversion import STYLES, ConversionOptions
from asciist.errors import ArtifactNotFoundError, UnavailableError
from asciist.limits import Limits
from asciist.options import COLORS, OPTIONS
from asciist.protocol.links import CODE_PATTERN
from asciist.protocol.messages import NO_TRACE, Trace
from asciist.protocol.requester import Requester
from asciist.protocol.served import ServedArt
from asciist.settings import Settings
from asciist.telemetry import metrics
from asciist.wiring import WebProcess, build_web_process
from service import create_app
from tests.links import image_path
from tests.waiting import wait_until
from tools.testing.drawing import convert
from tools.testing.hostile import png_of_header
from tools.testing.images import encoded

BROWSER = {"User-Agent": "Mozilla/5.0", "Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
BOMB = png_of_header(2**14, 2**14)


def art(image: bytes, width: int, **options: Any) -> str:
    return convert(image, ConversionOptions(width=width, **options), Limits())


def payload(image: bytes, **fields: Any) -> dict[str, Any]:
    return {"image": base64.b64encode(image).decode(), **fields}


def multipart(image: bytes) -> dict[str, Any]:
    """Return the body and the content type of a form whose only field is the file `image`."""
    head = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="cat.jpg"\r\n\r\n'
    return {
        "data": head + image + b"\r\n--edge--\r\n",
        "content_type": "multipart/form-data; boundary=edge",
    }


def error_message(response: TestResponse) -> str:
    """Return the message of an error in any format, after the checks that apply to every error."""
    text = (
        response.get_json()["error"]
        if response.is_json
        else response.get_data(as_text=True).rstrip("\n")
    )
    assert response.headers["Cache-Control"] == "no-store"
    assert "\n" not in text
    assert not re.search(
        r"Traceback|flask|werkzeug|gunicorn|pillow|PIL|obstore|python|/tmp|\.py",
        text,
        re.IGNORECASE,
    )
    return text


class TestConvert:
    def test_a_json_request_gets_json_without_a_final_newline(
        self, client: FlaskClient, cat: bytes
    ) -> None:
        response = client.post("/", json=payload(cat, width=80))

        assert response.status_code == 200
        assert response.get_json()["art"] == art(cat, 80)
        assert not response.get_json()["art"].endswith("\n")

    def test_raw_bytes_get_text_with_a_final_newline(self, client: FlaskClient, cat: bytes) -> None:
        for send, path in ((client.post, "/"), (client.put, "/"), (client.put, "/cat.jpg")):
            response = send(f"{path}?width=30", data=cat)
            assert response.status_code == 200
            assert response.content_type == "text/plain; charset=utf-8"
            assert response.get_data(as_text=True) == art(cat, 30) + "\n"

    @pytest.mark.parametrize(
        "name", ["a/b/cat.jpg", "//cat.jpg", "healthz", "static/page.css", "%0A", "%00", "..", "Ü"]
    )
    def test_put_accepts_any_name(self, client: FlaskClient, cat: bytes, name: str) -> None:
        assert (
            client.put(f"/{name}?width=30", data=cat).get_data(as_text=True) == art(cat, 30) + "\n"
        )

    def test_a_multipart_form_gets_text_and_an_empty_width_means_the_default(
        self, client: FlaskClient, cat: bytes
    ) -> None:
        response = client.post("/", data={"image": (BytesIO(cat), "cat.jpg"), "width": "30"})
        assert response.get_data(as_text=True) == art(cat, 30) + "\n"

        response = client.post("/", data={"image": (BytesIO(cat), "cat.jpg"), "width": ""})
        assert response.get_data(as_text=True) == art(cat, 80) + "\n"

    def test_the_default_width_is_80(self, client: FlaskClient, cat: bytes) -> None:
        assert client.post("/", data=cat).get_data(as_text=True) == art(cat, 80) + "\n"

    @pytest.mark.parametrize(
        "content_type",
        [
            "",
            "image/png",
            "text/html",
            "application/x-www-form-urlencoded",
            "application/octet-stream",
            "nonsense",
        ],
    )
    def test_an_image_is_recognized_by_its_bytes_under_any_content_type(
        self, client: FlaskClient, cat: bytes, content_type: str
    ) -> None:
        response = client.post("/?width=20", data=cat, content_type=content_type)

        assert response.get_data(as_text=True) == art(cat, 20) + "\n"

    @pytest.mark.parametrize(
        "content_type", ["", "application/x-www-form-urlencoded", "application/problem+json"]
    )
    def test_json_is_recognized_under_any_content_type(
        self, client: FlaskClient, cat: bytes, content_type: str
    ) -> None:
        response = client.post(
            "/", data=json.dumps(payload(cat, width=20)), content_type=content_type
        )

        assert response.get_json()["art"] == art(cat, 20)

    def test_base64_with_line_breaks_and_data_urls_are_accepted(
        self, client: FlaskClient, cat: bytes
    ) -> None:
        for image in (
            base64.encodebytes(cat).decode(),
            "data:image/jpeg;base64," + base64.b64encode(cat).decode(),
        ):
            assert client.post("/", json={"image": image, "width": 20}).get_json()["art"] == art(
                cat, 20
            )

    def test_a_json_width_of_20_0_is_a_whole_number(self, client: FlaskClient, cat: bytes) -> None:
        assert client.post("/", json=payload(cat, width=20.0)).get_json()["art"] == art(cat, 20)

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
            {"color": "html", "invert": False},
        ],
    )
    def test_options_are_query_parameters_form_fields_and_json_keys(
        self, client: FlaskClient, cat: bytes, options: dict[str, Any]
    ) -> None:
        expected = art(cat, 20, **options)
        accept_json = {"Accept": "application/json"}
        fields = {"width": "20", **options} | (
            {"invert": str(options["invert"]).lower()} if "invert" in options else {}
        )

        assert (
            client.post("/", json=payload(cat, width=20, **options)).get_json()["art"] == expected
        )
        for response in (
            client.post("/", query_string=fields, data=cat, headers=accept_json),
            client.put("/cat.jpg", query_string=fields, data=cat, headers=accept_json),
            client.post(
                "/", data={"image": (BytesIO(cat), "cat.jpg"), **fields}, headers=accept_json
            ),
        ):
            assert response.get_json()["art"] == expected

    def test_options_in_the_query_count_where_a_form_or_json_lacks_them(
        self, client: FlaskClient, cat: bytes
    ) -> None:
        query = "/?style=ramp&invert=true&width=30"
        form = {"image": (BytesIO(cat), "cat.jpg"), "width": "20", "invert": "false"}
        for response in (
            client.post(
                query,
                json=payload(cat, width=20, invert=False, style=None),
                headers={"Accept": "text/plain"},
            ),
            client.post(query, data=form),
        ):
            assert response.text == art(cat, 20, style="ramp") + "\n"
        assert error_message(client.post("/?style=oil", json=payload(cat, width=20))).startswith(
            "style must be one of: "
        )
        assert error_message(client.post("/?width=20", json=payload(cat))) == "no width provided"

    @pytest.mark.parametrize(
        ("text", "inverted"),
        [(text, True) for text in ("", "true", "True", "1", "yes", "on", "ON")]
        + [(text, False) for text in ("false", "FALSE", "0", "no", "off")],
    )
    def test_invert_accepts_several_spellings_of_true_and_false(
        self, client: FlaskClient, cat: bytes, text: str, inverted: bool
    ) -> None:
        expected = art(cat, 20, invert=inverted) + "\n"

        assert (
            client.post("/", query_string={"width": "20", "invert": text}, data=cat).text
            == expected
        )
        form = {"image": (BytesIO(cat), "cat.jpg"), "width": "20", "invert": text}
        assert client.post("/", data=form).text == expected

    def test_an_answer_says_what_was_chosen_for_the_image(self, client: FlaskClient) -> None:
        drawings = {}
        for ground in (255, 0):
            drawing = Image.new("L", (64, 64), ground)
            drawing.paste(255 - ground, (20, 20, 30, 44))
            drawings[encoded(drawing, "PNG")] = ground == 255
        for image, is_dark_on_light in drawings.items():
            converted = client.post("/?width=20&invert=auto", data=image)
            stored = client.get(converted.headers["Content-Location"])
            for response in (converted, stored):
                assert response.headers["Asciist-Invert"] == str(is_dark_on_light).lower()
                assert response.text == art(image, 20, invert=is_dark_on_light) + "\n"
            as_json = client.get(
                converted.headers["Content-Location"], headers={"Accept": "application/json"}
            )
            described = as_json.get_json()
            assert (described["art"], described["invert"]) == (
                art(image, 20, invert=is_dark_on_light),
                is_dark_on_light,
            )
            page = client.get(
                converted.headers["Content-Location"], headers={"Accept": "text/html"}
            ).text
            assert ('<div id="stage" class="light">' in page) == is_dark_on_light

    @pytest.mark.parametrize("color", COLORS)
    @pytest.mark.parametrize("style", STYLES)
    def test_an_answer_in_json_describes_the_art(
        self, client: FlaskClient, cat: bytes, style: str, color: str
    ) -> None:
        plain = art(cat, 20, style=style, invert=True)
        options = payload(cat, width=20, style=style, color=color, invert=True)
        secure = {"Host": "art.example", "X-Forwarded-Proto": "https"}
        converted = client.post("/", json=options, headers=secure)
        described = converted.get_json()
        expected = {
            "url": f"https://art.example{converted.headers['Content-Location']}",
            "columns": 20,
            "rows": plain.count("\n") + 1,
            "style": style,
            "stored": False,
            "art": art(cat, 20, style=style, color=color, invert=True),
        }
        assert described == expected

        again = client.post("/", json=options, headers=secure)
        linked = [
            client.get(described["url"], headers={**secure, "Accept": "application/json"})
            for _ in range(2)
        ]
        for response in (again, *linked):
            assert response.get_json() == {**expected, "stored": True}
        assert (
            {response.headers["ETag"] for response in linked}
            == {again.headers["ETag"]}
            != {converted.headers["ETag"]}
        )

    def test_nothing_is_chosen_for_plain_text_by_default(
        self, client: FlaskClient, cat: bytes
    ) -> None:
        for query in ("", "&invert=false", "&invert=true"):
            response = client.post(
                f"/?width=20{query}", data=cat, headers={"Accept": "application/json"}
            )
            assert "Asciist-Invert" not in response.headers
            assert "invert" not in response.get_json()

    def test_invert_without_a_value_is_true(self, client: FlaskClient, cat: bytes) -> None:
        assert client.post("/?width=20&invert", data=cat).text == art(cat, 20, invert=True) + "\n"

    def test_null_in_json_means_the_default(self, client: FlaskClient, cat: bytes) -> None:
        nulls = {"style": None, "invert": None, "chars": None, "color": None}

        assert client.post("/", json=payload(cat, width=20, **nulls)).get_json()["art"] == art(
            cat, 20
        )

    @pytest.mark.parametrize(
        "path", ["/", "/docs", "/openapi.json", "/readyz", "/static/heart.png", "art"]
    )
    def test_addresses_that_take_no_options_ignore_what_others_append_to_a_link(
        self, client: FlaskClient, cat: bytes, path: str
    ) -> None:
        path = (
            client.post("/?width=20", data=cat).headers["Content-Location"]
            if path == "art"
            else path
        )
        with (
            client.get(path) as plain,
            client.get(f"{path}?utm_source=mail&fbclid=x&style=oil") as tracked,
        ):
            assert (tracked.status_code, tracked.data) == (200, plain.data)


class TestResponseFormats:
    @pytest.mark.parametrize(
        "accept", ["", "*/*", "image/gif", "application/json;q=0, text/plain;q=0"]
    )
    def test_without_a_preference_json_gets_json_and_other_requests_get_text(
        self, client: FlaskClient, cat: bytes, accept: str
    ) -> None:
        assert client.post("/", json=payload(cat, width=9), headers={"Accept": accept}).is_json
        assert (
            client.post("/?width=9", data=cat, headers={"Accept": accept}).mimetype == "text/plain"
        )

    @pytest.mark.parametrize("media_type", ["application/json", "text/plain", "text/html"])
    def test_the_accept_header_decides_the_format(
        self, client: FlaskClient, cat: bytes, media_type: str
    ) -> None:
        accept = {"Accept": f"{media_type}, */*;q=0.1"}
        for response in (
            client.post("/", json=payload(cat, width=9), headers=accept),
            client.post("/?width=9", data=cat, headers=accept),
            client.post("/?width=9", data=b"nonsense", headers=accept),
            client.post("/", json=[], headers=accept),
            client.get("/nowhere", headers=accept),
        ):
            assert response.mimetype == media_type
            assert "Accept" in response.vary

    def test_a_browser_gets_a_page_with_escaped_art_and_no_inline_script(
        self, client: FlaskClient, cat: bytes
    ) -> None:
        form = {"image": (BytesIO(cat), "cat.jpg"), "width": "30"}
        response = client.post("/", data=form, headers=BROWSER, follow_redirects=True)
        page, policy = response.text, response.headers["Content-Security-Policy"]

        assert str(escape(art(cat, 30))) in page
        assert re.findall(r"<script[^>]*>(.*?)</script>", page) == [""]
        assert " style=" not in page
        assert not re.search(r"\son\w+=", page)
        assert "default-src 'none'; script-src 'self';" in policy
        assert "unsafe" not in policy
        (style,) = re.findall("<style>(.*?)</style>", page)
        assert (
            f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'"
            in policy
        )

    def test_pages_are_revalidated_and_hashed_static_files_are_cached_for_a_year(
        self, client: FlaskClient, cat: bytes
    ) -> None:
        converted = client.post("/?width=30", data=cat)
        url = converted.headers["Content-Location"]
        page = client.get(url, headers=BROWSER)
        assert page.headers["Cache-Control"] == "private, no-cache"
        assert (
            client.get(url, headers=BROWSER | {"If-None-Match": page.headers["ETag"]}).status_code
            == 304
        )

        static_urls = re.findall(
            r'(?:src|href|data-sample)="(/static/[^"]+\?v=[0-9a-f]{12})"', page.text
        )
        assert [re.split(r"[/?]", static_url)[2] for static_url in static_urls] == [
            "icon.svg",
            "page.css",
            "art.css",
            "art.js",
        ]
        max_ages = dict.fromkeys(static_urls, 31_536_000) | {"/static/mono.woff2": 3600}
        for static_url, max_age in max_ages.items():
            with client.get(static_url) as file:
                assert file.headers["Cache-Control"] == f"public, max-age={max_age}"
        assert client.get("/static/nothing.js").status_code == 404

    @pytest.mark.parametrize("accept", ["text/plain", "text/html", "*/*"])
    def test_color_html_returns_the_document_itself(
        self, client: FlaskClient, cat: bytes, accept: str
    ) -> None:
        converted = client.post(
            "/?width=30&color=html&style=ramp&chars=%3Cb%3E%26",
            data=cat,
            headers={"Accept": accept},
        )

        assert converted.content_type == "text/html; charset=utf-8"
        assert (
            converted.text
            == art(cat, 30, style="ramp", color="html", chars="<b>&", invert="auto") + "\n"
        )
        assert "&amp;</b>" in converted.text
        assert "&gt;</b>" in converted.text
        assert converted.headers["Content-Security-Policy"].startswith(
            "default-src 'none'; style-src 'unsafe-inline';"
        )
        stored = client.get(converted.headers["Content-Location"], headers={"Accept": accept})
        # a browser that opens a link gets its page
        assert (stored.data == converted.data) is (accept != "text/html")
        error = client.post("/?width=0&color=html", data=cat)
        assert (error.status_code, error.mimetype) == (400, "text/plain")

    def test_color_html_is_the_art_field_in_json(self, client: FlaskClient, cat: bytes) -> None:
        response = client.post("/", json=payload(cat, width=30, color="html"))

        assert response.is_json
        assert response.get_json()["art"] == art(cat, 30, color="html", invert="auto")
        assert response.get_json()["invert"] is True

    @pytest.mark.parametrize("color", ["ansi", "html", "ansi256", "ansi16"])
    def test_the_page_of_a_link_shows_colours_as_styles_of_elements(
        self, client: FlaskClient, cat: bytes, color: str
    ) -> None:
        link = client.post(
            f"/?width=30&color={color}&chars=%3Cb%3E%26&style=ramp&invert=true", data=cat
        )
        page = client.get(link.headers["Content-Location"], headers=BROWSER)
        shown = re.search(r"<pre [^>]*>(.*)</pre>", page.text, re.DOTALL)

        assert shown
        text = client.get(f"{link.headers['Content-Location']}.txt").text
        assert html.unescape(re.sub(r"</?b[^>]*>", "", shown[1])) + "\n" == text
        assert "<b style=color:#" in shown[1]
        assert "\x1b" not in page.text
        assert "style-src-attr 'unsafe-inline'" in page.headers["Content-Security-Policy"]

    def test_the_page_of_a_link_says_how_the_art_was_made(
        self, client: FlaskClient, cat: bytes
    ) -> None:
        link = client.post(
            "/?width=33&style=ramp&invert=true&contrast=20&chars=%3Cb%3E", data=cat
        ).headers["Content-Location"]
        page = client.get(link, headers=BROWSER)

        assert dict(re.findall(r"<dt>(.*)</dt><dd>(.*)</dd>", page.text)) == {
            "Size": "33 \N{MULTIPLICATION SIGN} 10 characters",
            "Style": "ramp",
            "Colour": "none",
            "Background": "light",
            "Draw with": "&lt;b&gt;",
            "Contrast": "20",
        }
        assert '<div id="stage" class="light">' in page.text
        assert "style-src-attr" not in page.headers["Content-Security-Policy"]

    def test_a_submitted_form_is_answered_with_the_link_of_its_art(
        self, client: FlaskClient, cat: bytes
    ) -> None:
        form = {
            "image": (BytesIO(cat), "cat.jpg"),
            "width": "33",
            "style": "braille",
            "invert": "on",
        }
        submitted = client.post("/", data=form, headers=BROWSER)

        assert submitted.status_code == 303
        assert submitted.headers["Cache-Control"] == "no-store"
        assert re.fullmatch(f"/{CODE_PATTERN}", submitted.headers["Location"])
        shown = client.get(submitted.headers["Location"], headers={"Accept": "*/*"})
        assert shown.text == art(cat, 33, style="braille", invert=True) + "\n"

    def test_a_link_to_nothing_is_a_page_without_the_form(self, client: FlaskClient) -> None:
        for path in (f"/{'0' * 64}/width/80", "/0123-4567-89ab", "/nowhere"):
            page = client.get(path, headers=BROWSER)
            assert (page.status_code, page.headers["Cache-Control"]) == (404, "no-store")
            assert "There is nothing at this address." in page.text
            assert not {"<form", "<pre", "<script"} & set(re.findall(r"<\w+", page.text))

    def test_a_browser_gets_an_error_as_a_page(self, client: FlaskClient) -> None:
        response = client.post(
            "/", data={"image": (BytesIO(b"x"), "<b>.jpg"), "width": "30"}, headers=BROWSER
        )

        assert response.status_code == 400
        assert "unknown image format" in response.get_data(as_text=True)

    def test_the_root_is_a_page_for_browsers_and_usage_text_for_curl(
        self, client: FlaskClient
    ) -> None:
        for headers, media_type in (
            (BROWSER, "text/html"),
            ({"User-Agent": "curl/8.0", "Accept": "*/*"}, "text/plain"),
            ({"User-Agent": "Mozilla/5.0", "Accept": "*/*"}, "text/html"),
            ({"User-Agent": "Mozilla/5.0", "Accept": "text/plain"}, "text/plain"),
            ({"User-Agent": "curl/8.0", "Accept": "text/html"}, "text/html"),
        ):
            response = client.get("/", headers=headers)
            assert (response.status_code, response.mimetype) == (200, media_type)
            assert {"accept", "user-agent"} <= set(response.vary.as_set())

    def test_the_usage_text_shows_the_scheme_and_host_of_the_request(
        self, client: FlaskClient
    ) -> None:
        assert (
            "curl -T cat.jpg http://art.example\n"
            in client.get("/", headers={"Host": "art.example"}).text
        )
        proxied = {"Host": "art.example", "X-Forwarded-Proto": "https"}
        assert "curl -T cat.jpg https://art.example\n" in client.get("/", headers=proxied).text
        proxied["X-Forwarded-Proto"] = "javascript"
        assert "curl -T cat.jpg http://art.example\n" in client.get("/", headers=proxied).text

    def test_the_usage_text_is_short_and_names_every_option(self, client: FlaskClient) -> None:
        usage = client.get("/").text

        assert len(usage.splitlines()) <= 15 + len(OPTIONS)  # one line per option
        assert "invert is true or auto" in usage.splitlines()[0]
        assert all(f"\n    {name} " in usage for name in OPTIONS)
        assert all(style in usage for style in STYLES)


class TestStoredArt:
    def test_content_location_is_the_permanent_url_of_the_art(
        self, client: FlaskClient, cat: bytes
    ) -> None:
        converted = client.post("/?width=30", data=cat)
        stored = client.get(converted.headers["Content-Location"])

        assert stored.get_data() == converted.get_data()
        as_json = client.get(
            converted.headers["Content-Location"], headers={"Accept": "application/json"}
        ).get_json()
        assert as_json["art"] == art(cat, 30)

    def test_a_repeated_request_is_served_from_the_store(
        self, client: FlaskClient, cat: bytes, embedded: WebProcess
    ) -> None:
        first, second = (client.post("/?width=30", data=cat) for _ in range(2))

        assert first.headers["Cache-Status"] == "asciist; fwd=miss; stored"
        assert second.headers["Cache-Status"] == "asciist; hit"
        assert first.get_data() == second.get_data()
        recorded = embedded.metrics
        assert isinstance(recorded, EmbeddedMetrics)
        assert recorded.total(f"{metrics.CONVERSION_DURATION} (values)") == 1

    def test_art_is_cacheable_and_has_a_strong_etag(self, client: FlaskClient, cat: bytes) -> None:
        url = client.post("/?width=30", data=cat).headers["Content-Location"]
        stored = client.get(url)
        etag, is_weak = stored.get_etag()

        assert not is_weak
        assert "public" in stored.headers["Cache-Control"]
        unchanged = client.get(url, headers={"If-None-Match": f'"{etag}"'})
        assert (unchanged.status_code, unchanged.get_data()) == (304, b"")
        assert unchanged.get_etag() == (etag, False)
        assert client.get(url, headers={"If-None-Match": '"other"'}).status_code == 200
        assert client.get(url, headers={"Accept": "application/json"}).get_etag() != (etag, False)

    @pytest.mark.parametrize(
        "path",
        [
            f"/{'0' * 64}/width/80",
            f"/{'0' * 64}/style/ramp/width/80",
            f"/{'0' * 63}/width/80",
            f"/{'A' * 64}/width/80",
            f"/image/{'A' * 72}",
            "/nowhere",
            "/../../etc/passwd",
        ],
    )
    def test_an_unknown_url_gets_404(self, client: FlaskClient, path: str) -> None:
        response = client.get(path)

        assert response.status_code == 404
        assert error_message(response)

    @pytest.mark.parametrize(
        ("query", "variant"),
        [
            ("style=braille", "braille"),
            ("style=ramp&invert", "ramp.invert"),
            (
                "style=ramp&color=ansi&chars=%20%E2%96%88&invert=1",
                "ramp.invert.ansi.chars-20e29688",
            ),
            ("style=blocks&color=html", "blocks.invert-auto.html"),
            ("style=blocks&color=html&invert=no", "blocks.html"),
        ],
    )
    def test_the_url_of_art_contains_its_options(
        self, client: FlaskClient, cat: bytes, query: str, variant: str
    ) -> None:
        converted = client.post(f"/?width=30&{query}", data=cat)
        url = converted.headers["Content-Location"]

        assert url.endswith(f"/style/{variant}/width/30")
        assert client.get(url).data == converted.data
        assert client.get(url.replace("/30", "/31")).status_code == 404

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
            ("ramp.chars64-" + "Li4u" * 33 + "Li4", "chars must be at most 100 bytes"),
            ("ramp.chars-" + "2e" * 60, "invalid options in the URL"),
            ("braille.chars-2e", "chars cannot be used with the style"),
        ],
    )
    def test_invalid_options_in_the_path_get_400(
        self, client: FlaskClient, variant: str, sentence: str
    ) -> None:
        response = client.get(f"/{'0' * 64}/style/{variant}/width/80")

        assert response.status_code == 400
        assert error_message(response).startswith(sentence)

    @pytest.mark.parametrize("width", ["0", "1001", "x", "1.5"])
    def test_an_invalid_width_in_the_path_gets_400(self, client: FlaskClient, width: str) -> None:
        response = client.get(f"/{'0' * 64}/width/{width}")

        assert (response.status_code, error_message(response)) == (
            400,
            "width must be a whole number from 1 to 1000",
        )


class TestStoredImage:
    """An uploader may convert the image again, and delete it."""

    def test_a_stored_image_is_converted_without_another_upload(
        self, client: FlaskClient, cat: bytes
    ) -> None:
        image = image_path(client.post("/?width=9", data=cat).headers)
        converted = client.post(f"{image}?width=30&style=braille&invert")

        assert converted.text == art(cat, 30, style="braille", invert=True) + "\n"
        assert converted.headers["Cache-Status"] == "asciist; fwd=miss; stored"
        assert client.get(converted.headers["Content-Location"]).data == converted.data
        assert client.post(image, headers={"Accept": "application/json"}).get_json()["art"] == art(
            cat, 80
        )
        assert image_path(converted.headers) == image

    def test_an_unknown_image_gets_404(self, client: FlaskClient) -> None:
        response = client.post(f"/image/{72 * 'A'}?width=30")

        assert (response.status_code, error_message(response)) == (
            404,
            "image not found or expired: upload it again",
        )

    @pytest.mark.parametrize(
        "query",
        ["width=0", "width=x", "style=oil", "invert=2", "color=cmyk", "style=blocks&chars=x"],
    )
    def test_an_invalid_option_gets_400(self, client: FlaskClient, cat: bytes, query: str) -> None:
        image = image_path(client.post("/?width=9", data=cat).headers)

        assert client.post(f"{image}?{query}").status_code == 400

    @pytest.mark.parametrize("capability", ["A" * 71, "A" * 73, "*" * 72])
    def test_an_invalid_capability_gets_405(self, client: FlaskClient, capability: str) -> None:
        # because PUT accepts any name
        assert client.post(f"/image/{capability}").status_code == 405

    def test_the_image_itself_is_never_served(self, client: FlaskClient, cat: bytes) -> None:
        image = image_path(client.post("/?width=9", data=cat).headers)

        assert client.get(image).status_code == 404

    def test_the_uploader_deletes_the_image_and_its_art(
        self, client: FlaskClient, cat: bytes
    ) -> None:
        uploaded = client.post("/?width=9", data=cat).headers
        image, narrow = image_path(uploaded), uploaded["Content-Location"]
        wide = client.post(f"{image}?width=30&style=ramp").headers["Content-Location"]
        assert [client.get(url).status_code for url in (narrow, narrow, wide, wide)] == [200] * 4

        response = client.delete(image)
        assert (response.status_code, response.data) == (204, b"")
        assert response.headers["Cache-Control"] == "no-store"
        assert [client.get(url).status_code for url in (narrow, wide)] == [404, 404]
        assert client.post(f"{image}?width=9").status_code == 404
        assert client.delete(image).status_code == 204  # again, as after a lost answer
        assert client.post("/?width=9", data=cat).headers["Content-Location"] == narrow

    def test_the_links_of_an_uploader_are_not_cached(self, client: FlaskClient, cat: bytes) -> None:
        uploaded = client.post("/?width=9", data=cat)
        again = client.post(f"{image_path(uploaded.headers)}?width=9")
        stored = client.get(uploaded.headers["Content-Location"])

        assert uploaded.headers["Cache-Control"] == again.headers["Cache-Control"] == "no-store"
        assert stored.headers["Cache-Control"] == "public, max-age=86400"
        assert "Link" not in stored.headers


class TestClientErrors:
    @pytest.mark.parametrize(
        "width", [0, -1, 1001, 1e9, 10**40, "80", "", 80.5, None, True, [80], {"a": 1}]
    )
    def test_an_invalid_width_in_json_gets_400(
        self, client: FlaskClient, cat: bytes, width: object
    ) -> None:
        response = client.post("/", json=payload(cat, width=width))

        assert (response.status_code, error_message(response)) == (
            400,
            "width must be a whole number from 1 to 1000",
        )
        assert response.get_json().keys() == {"error"}

    @pytest.mark.parametrize(
        "width", ["0", "-1", "1001", "1e9", "9" * 50, "80.5", "", "x", "0x50", "٨٠", "80 "]
    )
    def test_an_invalid_width_in_the_query_gets_400(
        self, client: FlaskClient, cat: bytes, width: str
    ) -> None:
        response = client.post("/", query_string={"width": width}, data=cat)

        assert (response.status_code, error_message(response)) == (
            400,
            "width must be a whole number from 1 to 1000",
        )

    @pytest.mark.parametrize(
        ("query", "sentence"),
        [
            ("invert=maybe", "invert must be true, false or auto"),
            ("invert=2", "invert must be true, false or auto"),
            ("color=cmyk", "color must be one of: none, ansi, html"),
            ("style=oil", "style must be one of: "),
            ("style=ramp&chars=%00", "chars must be printable characters"),
            ("style=ramp&chars=%E6%BC%A2", "chars must be printable characters"),
            ("style=ramp&chars=^%20.:-=%2B*%23%25@", "chars excludes every character of the style"),
            (
                "style=blocks&chars=x",
                "chars cannot be used with the style blocks, which draws fixed patterns",
            ),
        ],
    )
    def test_an_invalid_option_in_the_query_gets_400(
        self, client: FlaskClient, cat: bytes, query: str, sentence: str
    ) -> None:
        response = client.post(f"/?width=20&{query}", data=cat)

        assert response.status_code == 400
        assert error_message(response).startswith(sentence)

    def test_an_unknown_option_gets_400_with_the_option_that_was_meant(
        self, client: FlaskClient, cat: bytes
    ) -> None:
        image = image_path(client.post("/?width=9", data=cat).headers)
        for response in (
            client.post("/?width=20&colour=ansi", data=cat),
            client.put("/cat.jpg?colour=ansi", data=cat),
            client.post(f"{image}?colour=ansi"),
            client.post("/?colour=ansi", json=payload(cat, width=20)),
            client.post("/", json=payload(cat, width=20, colour=None)),
            client.post("/", data={"image": (BytesIO(cat), "cat.jpg"), "colour": "ansi"}),
            client.post("/?colour=ansi", data={"image": (BytesIO(cat), "cat.jpg")}),
        ):
            assert (response.status_code, error_message(response)) == (
                400,
                'unknown option "colour": did you mean color?',
            )

    def test_another_name_for_the_image_gets_400_with_the_right_one(
        self, client: FlaskClient, cat: bytes
    ) -> None:
        for response in (
            client.post("/", data={"img": (BytesIO(cat), "cat.jpg")}),
            client.post("/", data={"img": "text"}, content_type="multipart/form-data"),
            client.post("/", json={"img": "YWJj", "width": 20}),
        ):
            assert (response.status_code, error_message(response)) == (
                400,
                'unknown option "img": did you mean image?',
            )

    @pytest.mark.parametrize(
        ("name", "sentence"),
        [
            ("Width", 'unknown option "Width": did you mean width?'),
            ("cols", 'unknown option "cols": use width, style, invert, '),
            ("_", 'unknown option "_": use width, '),
            ("", "unknown option: use width, "),
            ("\x1b[2J\r\n\u202e", r'unknown option "\x1b[2J\r\n\u202e": use width, '),
            ("\ud800", r'unknown option "\ud800": use width, '),
            ("<b>color</b>", 'unknown option "<b>color</b>": use width, '),
            ("color" * 10_000, "unknown option: use width, "),
        ],
    )
    def test_an_unknown_name_is_shown_escaped_and_only_if_it_is_short(
        self, client: FlaskClient, cat: bytes, name: str, sentence: str
    ) -> None:
        response = client.post("/", json=payload(cat, width=20, **{name: 1}))

        assert response.status_code == 400
        assert error_message(response).startswith(sentence)
        assert len(response.data) < 300
        page = client.post(
            "/", json=payload(cat, width=20, **{name: 1}), headers={"Accept": "text/html"}
        ).text
        assert "<b>" not in page

    def test_many_unknown_names_get_the_message_of_the_first(
        self, client: FlaskClient, cat: bytes
    ) -> None:
        names = {f"colo{number}": number for number in range(3000)}

        assert error_message(client.post("/", json=payload(cat, width=20, **names))).startswith(
            'unknown option "colo0": did'
        )

    @pytest.mark.parametrize(
        ("file", "lost"),
        # as curl 8 strips it
        [(file, b"\0\r\n") for file in ("cat.jpg", "horse.png", "coffee.webp", "moon.gif")]
        + [("horse.png", b"\r\n"), ("horse.png", b"\r")],
    )
    def test_an_image_that_lost_bytes_as_with_curl_d_gets_400_with_the_option_to_use(
        self, client: FlaskClient, file: str, lost: bytes
    ) -> None:
        body = (EXAMPLES / file).read_bytes().translate(None, lost)
        for content_type in ("application/x-www-form-urlencoded", "image/png"):
            response = client.post("/?width=20", data=body, content_type=content_type)
            assert response.status_code == 400
            assert error_message(response).endswith(
                "with curl, use --data-binary or -T instead of -d"
            )

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
            ("{}", "no image provided"),
            ('{"width": 80}', "no image provided"),
            ('{"width": 0, "style": "oil"}', "no image provided"),
            ('{"image": ""}', "no image provided"),
            ('{"image": null}', "no image provided"),
            ('{"image": "x"}', "no width provided"),
            ('{"width": 80, "image": " \\n"}', "no image provided"),
            ('{"width": 80, "image": ""}', "no image provided"),
            ('{"width": 80, "image": null}', "no image provided"),
            ('{"width": 80, "image": 5}', "image must be a base64 string"),
            ('{"width": 80, "image": "not base64!"}', "image is not valid base64"),
            ('{"width": 80, "image": "YWJ"}', "image is not valid base64"),
            ('{"width": 80, "image": "YWJ="}', "unknown image format"),
            ('{"width": 80, "image": "größer"}', "image is not valid base64"),
            ('{"width": 80, "style": 1, "image": "YWJj"}', "style must be text"),
            ('{"width": 80, "style": "oil", "image": "YWJj"}', "style must be one of: "),
            (
                '{"width": 80, "invert": "true", "image": "YWJj"}',
                "invert must be true, false or auto",
            ),
            ('{"width": 80, "invert": 1, "image": "YWJj"}', "invert must be true, false or auto"),
            ('{"width": 80, "color": false, "image": "YWJj"}', "color must be text"),
            (
                '{"width": 80, "color": "", "image": "YWJj"}',
                "color must be one of: none, ansi, html",
            ),
            ('{"width": 80, "chars": [" ", "#"], "image": "YWJj"}', "chars must be text"),
            (
                r'{"width": 80, "style": "ramp", "chars": "\u001b[2J", "image": "YWJj"}',
                "chars must be printable characters",
            ),
            (
                r'{"width": 80, "style": "ramp", "chars": "\ud800", "image": "YWJj"}',
                "chars must be printable characters",
            ),
        ],
    )
    def test_invalid_json_gets_400(
        self, client: FlaskClient, body: str | bytes, sentence: str
    ) -> None:
        response = client.post("/", data=body, content_type="application/json")

        assert response.status_code == 400
        assert error_message(response).startswith(sentence)

    def test_an_image_sent_as_json_gets_400(self, client: FlaskClient, cat: bytes) -> None:
        response = client.post("/", data=cat, content_type="application/json")

        assert (response.status_code, error_message(response)) == (
            400,
            "the body is not valid JSON",
        )

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
    def test_a_request_without_an_image_gets_400(
        self, client: FlaskClient, data: bytes, content_type: str
    ) -> None:
        response = client.post("/", data=data, content_type=content_type)

        assert (response.status_code, error_message(response)) == (400, "no image provided")

    def test_a_missing_image_is_reported_before_an_invalid_option(
        self, client: FlaskClient
    ) -> None:
        for response in (
            client.post("/?width=0"),
            client.put("/cat.jpg?style=oil"),
            client.post("/", data={"width": "0"}, content_type="multipart/form-data"),
            client.post("/", json={"width": 0}),
        ):
            assert (response.status_code, error_message(response)) == (400, "no image provided")

    def test_an_image_that_cannot_be_converted_gets_400(
        self, client: FlaskClient, cat: bytes
    ) -> None:
        for image, sentence in (
            (b"GIF90a", "unknown image format: send JPEG, PNG, GIF, WebP, AVIF, TIFF or BMP"),
            (cat[:2000], "the image is damaged and cannot be decoded"),
            (cat[:-9000], "the image is damaged and cannot be decoded"),
            (BOMB, "too many pixels: 16384x16384 is 268.4 megapixels; the limit is 50"),
        ):
            response = client.post("/", data=image)
            assert (response.status_code, error_message(response)) == (400, sentence)

    def test_one_byte_over_the_limit_gets_413_in_every_kind_of_body(
        self, client: FlaskClient, cat: bytes
    ) -> None:
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
                assert status == 200 or error_message(response) == sentence

    def test_a_body_far_over_the_limit_gets_413_without_being_read(
        self, client: FlaskClient
    ) -> None:
        class UnreadableBody(BytesIO):
            def read(self, *_: object) -> bytes:
                raise AssertionError("the body was read")

        response = client.post(
            "/", input_stream=UnreadableBody(), environ_overrides={"CONTENT_LENGTH": "5000000000"}
        )

        assert response.status_code == 413

    def test_a_body_shorter_than_its_content_length_gets_400(
        self, client: FlaskClient, cat: bytes
    ) -> None:
        response = client.post(
            "/",
            input_stream=BytesIO(cat),
            environ_overrides={"CONTENT_LENGTH": str(len(cat) + 100)},
        )

        assert (response.status_code, error_message(response)) == (
            400,
            "the request body is shorter than its Content-Length",
        )

    def test_a_compressed_body_gets_415(self, client: FlaskClient, cat: bytes) -> None:
        response = client.post("/", data=cat, headers={"Content-Encoding": "gzip"})

        assert response.status_code == 415
        assert "Content-Encoding" in error_message(response)

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("POST", "/cat.jpg", {"OPTIONS", "PUT"}),
            ("DELETE", "/", {"GET", "HEAD", "OPTIONS", "POST", "PUT"}),
        ],
    )
    def test_an_unsupported_method_gets_405_with_the_allowed_methods(
        self, client: FlaskClient, method: str, path: str, allowed: set[str]
    ) -> None:
        response = client.open(path, method=method)

        assert response.status_code == 405
        assert set(response.allow) == allowed
        assert error_message(response)

    def test_a_form_with_too_many_parts_gets_413(self, client: FlaskClient) -> None:
        response = client.post(
            "/", data={f"field{number}": "x" for number in range(100)} | {"a": (BytesIO(b"x"), "x")}
        )

        assert response.status_code == 413


class TestServerErrors:
    def test_a_store_failure_gets_503_and_its_details_are_only_logged(
        self, embedded: WebProcess, cat: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        class FailingRequester(Requester):
            """Fails like a requester that cannot reach the store."""

            def __init__(self) -> None:
                """Take no dependencies."""

            def convert(self, *_arguments: object) -> ServedArt:
                raise UnavailableError("get a/image: connection refused")

        app = create_app(
            settings=embedded.settings,
            requester=FailingRequester(),
            metrics=embedded.metrics,
            links=embedded.links,
            is_ready=lambda: False,
            readiness=embedded.readiness,
        )
        client = app.test_client()
        response = client.post("/", data=cat)

        assert (response.status_code, error_message(response)) == (
            503,
            "the service is temporarily unavailable",
        )
        assert int(response.headers["Retry-After"]) > 0
        assert "get a/image: connection refused" in caplog.text
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200

    def test_art_is_served_and_readiness_tells_the_reason_when_it_cannot_be_stored(
        self, tmp_path: Path, cat: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        data_dir = tmp_path / "data"
        data_dir.write_text("a file instead of the directory")
        process = build_web_process(Settings(data_dir=data_dir, metrics="none"))
        client = create_app(
            settings=process.settings,
            requester=process.requester,
            metrics=process.metrics,
            links=process.links,
            is_ready=process.is_ready,
            readiness=process.readiness,
        ).test_client()
        answers = [client.post("/", data=cat), client.post("/", data=cat), client.get("/readyz")]

        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert answers[0].text == answers[1].text
        assert answers[1].headers["Cache-Status"] == "asciist; hit"
        assert (
            answers[2].text
            == "ready, but art is not being stored: the data directory cannot be used\n"
        )
        assert str(data_dir) in caplog.text

        data_dir.unlink()
        wait_until(lambda: client.get("/readyz").text == "ready\n")
        process.close()

    def test_a_service_without_workers_is_alive_but_not_ready(
        self, client: FlaskClient, embedded: WebProcess
    ) -> None:
        embedded.close()

        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503

    def test_a_request_over_capacity_gets_503_with_retry_after(
        self, tmp_path: Path, cat: bytes
    ) -> None:
        process = build_web_process(
            Settings(data_dir=tmp_path, metrics="none", max_requests_in_flight=1)
        )
        recorded = process.metrics
        assert isinstance(recorded, EmbeddedMetrics)
        is_admitted, may_answer = threading.Event(), threading.Event()

        class SlowRequester(Requester):
            """Occupies the only slot until `may_answer` is set."""

            def __init__(self) -> None:
                """Take no dependencies: `process` provides the requester's."""

            def convert(
                self, image: bytes, options: ConversionOptions, trace: Trace = NO_TRACE
            ) -> ServedArt:
                is_admitted.set()
                may_answer.wait(120)
                return process.requester.convert(image, options, trace)

        app = create_app(
            settings=process.settings,
            requester=SlowRequester(),
            metrics=recorded,
            links=process.links,
            is_ready=process.is_ready,
        )
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(app.test_client().post, "/", data=cat)
            assert is_admitted.wait(120)
            second = app.test_client().post("/", json=payload(cat, width=9))
            health = app.test_client().get("/healthz")
            may_answer.set()
            assert first.result().status_code == 200
        process.close()

        assert (second.status_code, error_message(second)) == (
            503,
            "the service is busy: try again in a moment",
        )
        assert int(second.headers["Retry-After"]) > 0
        assert health.status_code == 200
        assert recorded.total(metrics.REQUESTS_SHED) == 1

    def test_a_request_past_its_deadline_gets_504_and_a_line_without_traceback(
        self, tmp_path: Path, cat: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        process = build_web_process(Settings(data_dir=tmp_path, metrics="none", request_timeout=1))
        assert process.responder
        process.responder.stop(5)  # so that no reply arrives
        app = create_app(
            settings=process.settings,
            requester=process.requester,
            metrics=process.metrics,
            links=process.links,
            is_ready=process.is_ready,
        )
        response = app.test_client().post("/", data=cat)
        process.close()

        assert (response.status_code, error_message(response)) == (
            504,
            "the art was not ready in time: try again",
        )
        (line,) = [record for record in caplog.records if record.levelname == "ERROR"]
        assert (line.getMessage(), line.exc_info) == (
            "the art was not ready in time: try again",
            None,
        )

    def test_an_unexpected_exception_gets_500_without_details(
        self, client: FlaskClient, cat: bytes, embedded: WebProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError("/secret/path in PIL")

        monkeypatch.setattr(embedded.requester, "convert", fail)
        response = client.post("/", data=cat)

        assert (response.status_code, error_message(response)) == (500, "internal error")


def test_every_response_except_to_health_checks_and_options_is_counted_and_timed_by_status(
    client: FlaskClient, cat: bytes, embedded: WebProcess
) -> None:
    client.get("/")
    client.post("/", data=cat)
    client.post("/", data=b"nonsense")
    client.get("/nowhere")
    client.get("/healthz")
    client.get("/readyz")
    client.options("/")

    recorded = embedded.metrics
    assert isinstance(recorded, EmbeddedMetrics)
    for status, number in (("200", 2), ("204", 0), ("400", 1), ("404", 1)):
        assert recorded.total(metrics.REQUESTS, status=status) == number
        assert recorded.total(f"{metrics.REQUEST_DURATION} (values)", status=status) == number
    assert recorded.total(metrics.CONVERSION_PIXELS, format="jpeg") == 451 * 300


class TestHeadAndOptions:
    @pytest.mark.parametrize("accept_encoding", ["", "gzip", "zstd"])
    def test_head_has_the_headers_of_get_and_no_body(
        self, client: FlaskClient, cat: bytes, accept_encoding: str
    ) -> None:
        url = client.post("/?width=80", data=cat).headers["Content-Location"]
        for path in (
            "/",
            url,
            "/healthz",
            "/readyz",
            "/openapi.json",
            "/docs",
            "/static/page.css",
            "/nowhere",
            url + "1",
        ):
            headers = {"Accept-Encoding": accept_encoding, "X-Request-Id": "1"}
            with (
                client.get(path, headers=headers) as get,
                client.head(path, headers=headers) as head,
            ):
                assert (head.status_code, head.get_data()) == (get.status_code, b"")
                times = {"Date": "", "Expires": ""}  # which depend on the second
                assert {**head.headers, **times} == {**get.headers, **times}
                assert set(head.headers.keys()) == set(get.headers.keys())
                assert int(head.headers["Content-Length"]) == len(get.get_data())

    @pytest.mark.parametrize(
        ("path", "allowed"),
        [
            ("/", "GET, HEAD, OPTIONS, POST, PUT"),
            ("/cat.jpg", "OPTIONS, PUT"),
            (f"/image/{'A' * 72}", "DELETE, OPTIONS, POST, PUT"),
            (f"/{'0' * 64}/width/80", "GET, HEAD, OPTIONS, POST, PUT"),
            (f"/{'0' * 64}/style/ramp/width/80", "GET, HEAD, OPTIONS, POST, PUT"),
            ("/0123-4567-89ab", "GET, HEAD, OPTIONS, PUT"),
            ("/healthz", "GET, HEAD, OPTIONS, PUT"),
            ("/openapi.json", "GET, HEAD, OPTIONS, PUT"),
            ("/static/page.css", "GET, HEAD, OPTIONS, PUT"),
        ],
    )
    def test_options_lists_exactly_the_methods_that_the_path_accepts(
        self, client: FlaskClient, path: str, allowed: str
    ) -> None:
        response = client.options(path)

        assert (response.status_code, response.data, response.headers["Allow"]) == (
            204,
            b"",
            allowed,
        )
        assert not {"Content-Length", "Content-Type"} & set(response.headers.keys())
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
            with client.open(path, method=method) as answer:
                if method in allowed.split(", "):
                    assert answer.status_code != 405
                else:
                    assert answer.status_code == (404 if method in ("GET", "HEAD") else 405)
                    assert set(answer.allow) == (
                        set() if answer.status_code == 404 else set(allowed.split(", "))
                    )

    def test_options_for_the_whole_server_lists_all_methods(self, client: FlaskClient) -> None:
        response = client.options("/", environ_overrides={"PATH_INFO": "*"})

        assert (response.status_code, response.headers["Allow"]) == (
            204,
            "GET, HEAD, OPTIONS, POST, PUT",
        )


def test_a_check_of_readiness_does_not_wait_for_a_store_that_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wiring, "_READINESS_SECONDS", 0.05)
    answered = threading.Event()

    class SilentStore:
        def get(self, key: str) -> bytes:
            answered.wait()
            raise ArtifactNotFoundError(key)

    recorded = EmbeddedMetrics()
    process = WebProcess(
        settings=Settings(),
        metrics=recorded,
        requester=None,
        links=None,
        store=SilentStore(),
        inbox=EmbeddedReplies(recorded),
        call=ThreadedCalls(1),
    )

    assert not process.is_ready()
    answered.set()
    wait_until(process.is_ready)
