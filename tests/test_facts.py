"""Facts stated in documents and docstrings are true: the contents of files, the tree of errors, the
size of the page."""

import inspect
import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from asciist import errors

ROOT = Path(__file__).parent.parent
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
TOUR = " ".join((ROOT / "docs/tour.md").read_text().split())

HOLDERS = {
    "Which options does a client have?": {
        "asciist/options/__init__.py": "class ConversionOptions",
    },
    "Which requests are rejected?": {
        "asciist/limits.py": "class Limits",
        "asciist/conversion/inspection.py": "def inspect",
        "service/parsing.py": "raise BadRequestError",
    },
    "Which sentence does a client read?": {
        "asciist/errors/sentences.py": "IMAGE_NOT_FOUND",
        "service/static/text.js": "export const TEXT",
    },
    "Which HTTP status does an error have?": {"service/errors.py": "STATUSES"},
    "When is a request refused with 503?": {
        "service/admission.py": "class Admission",
        "service/uploads.py": "OverloadedError",
    },
    "What does a request get that is refused before it is parsed, or cannot be parsed?": {
        "service/refusal.py": "REJECTIONS",
    },
    "Which headers does a response have, with which max-age?": {
        "service/headers.py": "_ART_MAX_AGE"
    },
    "Which form and which compression does an answer have?": {
        "service/negotiation.py": "_CODINGS",
        "service/compression.py": "_MIN_BYTES",
    },
    "What may the read of a link cost?": {
        "service/admission.py": "ReadPlaces",
        "service/renderings.py": "_MAX_BYTES",
        "service/hot_answers.py": "_key",
    },
    "Which web sites may use the service from a browser?": {
        "service/cors.py": "Access-Control-Allow-Origin",
    },
    "Which image formats are there?": {"asciist/formats.py": "MEDIA_TYPES"},
    "What is stored where?": {"asciist/protocol/artifacts.py": "def art_key"},
    "What travels in a message?": {"asciist/protocol/messages.py": "class ConversionRequest"},
    "When is a failed message delivered again?": {
        "asciist/protocol/responder.py": "def redelivery_backoff",
    },
    "When is a request published again?": {"asciist/protocol/hedging.py": "class "},
    "What must a store, a queue or a reply path provide?": {
        "asciist/protocol/ports.py": "class ArtifactStore",
    },
    "Which timeouts are there?": {"asciist/timeouts.py": "class Timeouts"},
    "What is measured?": {
        "asciist/telemetry/metrics.py": "REQUEST_DURATION",
        "service/request_log.py": "REQUEST_DURATION",
    },
    "What is the service level objective?": {"operations/observability/slo.toml": "target"},
    "How large is a deployment (instances, function memory, retention)?": {
        "environments/dev.toml": "function_memory_mb =",
        "environments/prod.toml": "function_memory_mb =",
    },
}
"""Noun that each file in the answer must define, by question of "Where to find what"."""

SENTENCES = {
    "docs/runbook.md": [
        ("raise the sizes in `environments/", "environments/prod.toml", "web_max_instances ="),
        ("the memory in `environments/", "environments/prod.toml", "function_memory_mb ="),
        ("edit `environments/", "environments/prod.toml", "web_min_instances ="),
    ],
    "docs/threat-model.md": [
        ("`artifact_days` in `environments/", "environments/prod.toml", "artifact_days ="),
    ],
}
"""Sentences of a document that refer to a file: part of the sentence, the file, and the name that
the file must set."""

SIZES = re.compile(
    r"The page and its files have (?P<plain>\d+) kB, or (?P<compressed>\d+) kB compressed"
)


def answers() -> dict[str, set[str]]:
    """Return the files in the answers of "Where to find what", by question."""
    rows = ARCHITECTURE.partition("\n## Where to find what\n")[2].partition("\n## ")[0]
    return {
        question.strip(): set(re.findall(r"`([\w./-]+/[\w./-]*)`", answer))
        for question, answer in re.findall(r"^\| (.+?) \| (.+) \|$", rows, re.MULTILINE)
    }


def error_tree(parent: type[Exception], depth: int = 0) -> list[tuple[int, str]]:
    """Return (depth, name) of an error and all its subclasses in its module, each class before its
    children."""
    # Modules that other tests import have errors of their own.
    children = [each for each in parent.__subclasses__() if each.__module__ == parent.__module__]
    return [
        (depth, parent.__name__),
        *(row for child in children for row in error_tree(child, depth + 1)),
    ]


def files_of_the_page(client: FlaskClient) -> dict[str, str]:
    """Return the URL of the front page and of each file that it loads, by name."""
    found = {"/": "/"}
    waiting = ["/"]
    while waiting:
        name = waiting.pop()
        with client.get(found[name], headers={"Accept": "text/html"}) as response:
            text = response.get_data(as_text=True)
        for url in re.findall(
            r'(?:<link [^>]*href=|<script [^>]*src=|\bfrom |url\()"?([^">)\s;]+)', text
        ):
            path = f"/static/{url.removeprefix('./')}" if url.startswith("./") else url
            file = path.partition("?")[0]
            if path.startswith("/static/") and file not in found:
                found[file] = path
                if file.endswith((".js", ".css")):
                    waiting.append(file)
    return found


@pytest.mark.parametrize("question", HOLDERS)
def test_the_file_that_answers_a_question_holds_the_answer(question: str) -> None:
    named = answers()[question]

    for file, noun in HOLDERS[question].items():
        assert any(file == name or file.startswith(f"{name}") for name in named), file
        assert noun in (ROOT / file).read_text(), (file, noun)


@pytest.mark.parametrize("document", SENTENCES)
def test_a_sentence_sends_its_reader_to_the_file_that_holds_it(document: str) -> None:
    text = " ".join((ROOT / document).read_text().split())

    for sentence, file, noun in SENTENCES[document]:
        assert sentence in text, sentence
        assert noun in (ROOT / file).read_text(), (file, noun)


def test_no_document_looks_for_sizes_where_only_their_types_are() -> None:
    for document in (ROOT / "docs").glob("*.md"):
        assert "`stacks/environment.py`" not in document.read_text(), document


def test_the_drawn_tree_of_errors_is_the_tree_of_classes() -> None:
    drawn = [
        (len(indent) // 4, name)
        for indent, name in re.findall(
            r"^ {4}((?:[│├└─ ]{4})*)(\w+Error)\b", inspect.getdoc(errors) or "", re.MULTILINE
        )
    ]

    assert drawn == error_tree(errors.AsciistError)


def test_the_size_of_the_page_in_the_tour_is_its_size(client: FlaskClient) -> None:
    sizes = {"plain": 0, "compressed": 0}
    for url in files_of_the_page(client).values():
        for name, encoding in (("plain", "identity"), ("compressed", "zstd")):
            response = client.get(url, headers={"Accept": "text/html", "Accept-Encoding": encoding})
            assert response.status_code == 200, url
            sizes[name] += len(response.get_data())
            response.close()
    documented = SIZES.search(TOUR)

    assert documented
    for name, size in sizes.items():
        assert 1000 * int(documented[name]) == pytest.approx(size, rel=0.05), sizes


def test_the_tour_names_every_file_that_the_page_offers() -> None:
    template = (ROOT / "service/templates/editor.html").read_text()
    offered = re.search(r"for suffix in \(([^)]+)\)", template)
    named = re.search(r"download it as ((?:`\.\w+`(?:, | or )?)+)", TOUR)

    assert offered
    assert named
    assert set(re.findall(r"`\.(\w+)`", named[1])) == set(re.findall(r'"(\w+)"', offered[1]))
