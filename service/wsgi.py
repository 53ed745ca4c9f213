"""The WSGI application that gunicorn loads: one service per web process, built after the fork."""

from flask import Flask

from asciist.settings import Settings
from asciist.telemetry import logs
from asciist.wiring import build_web_process
from . import create_app, gunicorn_settings


def application() -> Flask:
    """Build and start the service of this process. Raises SettingsError, UnavailableError."""
    logs.configure()
    settings = Settings.from_environment()
    process = build_web_process(settings, gunicorn_settings.tasks, gunicorn_settings.keys)
    app = create_app(
        settings=settings,
        requester=process.requester,
        metrics=process.metrics,
        links=process.links,
        deletions=gunicorn_settings.deletions,
        is_ready=process.is_ready,
        is_healthy=process.is_healthy,
        readiness=process.readiness,
        renderer=process.renderer,
    )
    app.extensions["asciist"] = process
    return app
