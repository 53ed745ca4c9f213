"""Settings: reading, validation, and the order of the timeouts."""

from dataclasses import replace
from pathlib import Path

import pytest

from asciist.errors import SettingsError
from asciist.limits import Limits
from asciist.protocol.responder import redelivery_backoff
from asciist.settings import Settings
from asciist.timeouts import Timeouts


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.from_environment({})

    assert (settings.backend, settings.host, settings.port) == ("embedded", "127.0.0.1", 27244)
    assert settings.limits == Limits()


def test_from_environment_reads_what_to_environment_writes() -> None:
    settings = Settings(
        data_dir=Path("/somewhere"),
        host="::1",
        port=8080,
        workers=3,
        request_timeout=7,
        limits=Limits(max_width=300),
    )

    assert Settings.from_environment(settings.to_environment()) == settings


@pytest.mark.parametrize("cloud", ["aws", "azure"])
def test_a_cloud_needs_a_store_and_a_queue(cloud: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.from_environment({"ASCIIST_BACKEND": cloud})

    assert str(raised.value).split("; ") == [
        f"ASCIIST_BUCKET is required when ASCIIST_BACKEND={cloud}",
        f"ASCIIST_REQUEST_QUEUE_URL is required when ASCIIST_BACKEND={cloud}",
    ]


def test_host_and_port_work_without_the_prefix() -> None:
    # Only read.
    settings = Settings.from_environment({"HOST": "0.0.0.0", "PORT": "8080"})  # noqa: S104
    assert (settings.host, settings.port) == ("0.0.0.0", 8080)  # noqa: S104

    assert Settings.from_environment({"PORT": "1", "ASCIIST_PORT": "2"}).port == 2


def test_all_invalid_variables_are_reported_together() -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.from_environment(
            {
                "ASCIIST_BACKEND": "abacus",
                "ASCIIST_PORT": "70000",
                "ASCIIST_WORKERS": "0",
                "ASCIIST_MAX_WIDTH": "wide",
                "ASCIIST_MAX_WITDH": "5",
                "ASCIIST_REQUEST_TIMEOUT": "-1",
                "ASCIIST_STORE_MAX_BYTES": "15999999",
                "ASCIIST_STORE_MAX_DAYS": "0",
            }
        )

    assert str(raised.value).split("; ") == [
        "ASCIIST_MAX_WITDH is not a known setting (did you mean ASCIIST_MAX_WIDTH?)",
        "ASCIIST_BACKEND='abacus' is not one of: embedded, aws, azure",
        "ASCIIST_STORE_MAX_BYTES='15999999' is less than the minimum, 16000000",
        "ASCIIST_STORE_MAX_DAYS='0' is less than the minimum, 1",
        "ASCIIST_PORT='70000' is greater than the maximum, 65535",
        "ASCIIST_WORKERS='0' is less than the minimum, 1",
        "ASCIIST_REQUEST_TIMEOUT='-1' is less than the minimum, 1",
        "ASCIIST_MAX_WIDTH='wide' is not a whole number",
    ]


@pytest.mark.parametrize(
    "origins",
    [
        "*",
        "none",
        "https://a.example",
        "https://a.example, http://localhost:3000",
        "http://[::1]:80,capacitor://localhost",
    ],
)
def test_cors_origins_are_all_none_or_a_list(origins: str) -> None:
    assert Settings.from_environment({"ASCIIST_CORS_ORIGINS": origins}).cors_origins == origins


@pytest.mark.parametrize(
    "origins",
    [
        "a.example",
        "https://a.example/",
        "https://a.example/x",
        "*,https://a.example",
        "https://a.example,",
        "null",
        "all",
    ],
)
def test_cors_origins_that_no_browser_sends_are_invalid(origins: str) -> None:
    with pytest.raises(
        SettingsError,
        match=r"^ASCIIST_CORS_ORIGINS='.*' is not \*, none or a list of origins such as https://",
    ):
        Settings.from_environment({"ASCIIST_CORS_ORIGINS": origins})


@pytest.mark.parametrize(
    "hosts", ["*", "art.example.org", "localhost,.example.org, 192.0.2.1", "xn--grer-5qa9b.example"]
)
def test_trusted_hosts_are_all_or_a_list(hosts: str) -> None:
    assert Settings.from_environment({"ASCIIST_TRUSTED_HOSTS": hosts}).trusted_hosts == hosts
    assert Settings.from_environment({"ASCIIST_TRUSTED_HOSTS": ""}).trusted_hosts == "*"


@pytest.mark.parametrize(
    "hosts",
    [
        "*.example.org",
        "a.example:80",
        "https://a.example",
        "A.example",
        "a.example,",
        ".",
        "a..example",
        "größer.example",
        "[::1]",
    ],
)
def test_trusted_hosts_that_match_no_request_are_invalid(hosts: str) -> None:
    with pytest.raises(
        SettingsError,
        match=r"^ASCIIST_TRUSTED_HOSTS='.*' is not \* or a list of host names such as art",
    ):
        Settings.from_environment({"ASCIIST_TRUSTED_HOSTS": hosts})


def test_other_variables_are_ignored() -> None:
    assert Settings.from_environment(
        {"PATH": "/bin", "ASCIIST_URL": "http://example"}
    ) == Settings.from_environment({})


@pytest.mark.parametrize("request_timeout", [1, 5, 10, 20, 50])
def test_the_timeouts_are_consistent(request_timeout: int) -> None:
    timeouts = Timeouts(request=request_timeout)

    assert timeouts.request < timeouts.gunicorn < timeouts.load_balancer_idle < timeouts.keep_alive
    assert timeouts.worker <= min(10, timeouts.request)
    assert timeouts.visibility == 6 * timeouts.worker
    assert timeouts.request <= timeouts.graceful_stop <= timeouts.deregistration_delay
    assert timeouts.reply_retention >= max(60, timeouts.request)
    assert timeouts.upload_idle < timeouts.upload


def test_all_deliveries_of_a_message_fit_into_the_default_deadline() -> None:
    timeouts = Settings.from_environment({}).timeouts

    assert (timeouts.request, timeouts.graceful_stop, timeouts.max_receive_count) == (10, 20, 5)
    assert (
        sum(redelivery_backoff(count) for count in range(1, timeouts.max_receive_count))
        < timeouts.request
    )


def test_settings_are_immutable() -> None:
    settings = Settings()
    with pytest.raises(AttributeError):
        settings.port = 1  # type: ignore[misc]
    assert replace(settings, port=1).port == 1


@pytest.mark.parametrize(
    "networks",
    ["10.0.0.0/16", "192.168.1.7/32, fd12::/16", "127.0.0.0/8", "172.16.0.0/12,127.0.0.1/32"],
)
def test_callbacks_may_go_to_private_networks_and_to_this_machine(networks: str) -> None:
    assert (
        Settings.from_environment({"ASCIIST_CALLBACK_NETWORKS": networks}).callback_networks
        == networks
    )


@pytest.mark.parametrize(
    "networks",
    [
        "0.0.0.0/0",
        "::/0",
        "8.8.8.0/24",
        "10.0.0.0/7",
        "169.254.169.254/32",
        "10.0.0.0/16,1.0.0.0/8",
        "10.0.0.1/8",
        "vpc",
    ],
)
def test_callbacks_may_not_go_to_public_networks_and_the_metadata_service(networks: str) -> None:
    with pytest.raises(SettingsError, match="is not a list of private networks such as"):
        Settings.from_environment({"ASCIIST_CALLBACK_NETWORKS": networks})


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("ASCIIST_PEER_STORE", "bucket"),
        ("ASCIIST_PEER_STORE", "s3://"),
        ("ASCIIST_READ_ONLY", "true"),
        ("ASCIIST_READ_ONLY", "s3://bucket"),
        ("ASCIIST_READ_ONLY", "s3://bucket/"),
    ],
)
def test_a_store_or_a_marker_that_is_not_a_url_is_invalid(variable: str, url: str) -> None:
    with pytest.raises(
        SettingsError, match=f"^{variable}='{url}' is not a URL such as s3://bucket"
    ):
        Settings.from_environment({variable: url})
