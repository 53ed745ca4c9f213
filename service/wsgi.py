"""What gunicorn loads: one service for each web process, built after the fork."""

import logging

from flask import Flask

from asciist.settings import Settings
from asciist.wiring import build_web_process
from service import create_app


def application() -> Flask:
    """Build and start the service of this process. Raises SettingsError, UnavailableError."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = Settings.from_environment()
    process = build_web_process(settings)
    app = create_app(settings=settings, requester=process.requester, recorder=process.recorder, is_ready=process.is_ready)
    app.extensions["asciist"] = process
    return app
