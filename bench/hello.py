"""The smallest Flask application, to measure the cost of Flask and gunicorn with the service's
settings."""

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    """Answer every request with the same short text."""
    return "hello, world\n"
