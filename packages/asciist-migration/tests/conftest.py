"""Fixtures of the service's tests that the migration's tests also use."""

from tests.conftest import app, embedded, url

__all__ = ["app", "embedded", "url"]
