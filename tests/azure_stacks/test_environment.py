"""A deployment on Azure is configured by a file, which is checked as a whole before anything is
synthesized."""

import tomllib
from pathlib import Path

import pytest

from stacks.azure import environment
from stacks.azure.environment import ENVIRONMENTS, Environment
from stacks.environment import ENVIRONMENTS as AWS_ENVIRONMENTS
from stacks.values import ContextError
from tests.azure_stacks.synthesis import CHOSEN, PRINCIPAL, VAULT


def mistakes(name: str = "dev", **overrides: str) -> str:
    with pytest.raises(ContextError) as error:
        Environment.load(name, overrides)
    return str(error.value)


def test_dev_can_be_synthesized_as_it_is() -> None:
    dev = Environment.load("dev")
    assert (dev.prefix, dev.unique_name, dev.deployer_addresses) == (
        "asciist-dev",
        "asciistdev",
        [],
    )


def test_prod_refuses_plain_http_and_alarms_that_reach_nobody() -> None:
    assert (
        mistakes("prod")
        == "images would be sent unencrypted: give a domain with its certificate, or set"
        " plain_http; "
        "nobody is told of alarms: give alarm_email, or set pages_nobody"
    )


def test_prod_can_be_synthesized_with_them() -> None:
    prod = Environment.load("prod", CHOSEN["prod"])
    assert (prod.zones, prod.sizes.keeps_data, prod.firewall) == (["1", "2", "3"], True, True)


def test_what_both_clouds_configure_has_the_same_name_and_value() -> None:
    for name in ("dev", "prod"):
        here, there = (
            tomllib.loads((folder / f"{name}.toml").read_text())
            for folder in (ENVIRONMENTS, AWS_ENVIRONMENTS)
        )
        both = here["sizes"].keys() & there["sizes"].keys()

        assert {
            "web_min_instances",
            "poller_max_instances",
            "artifact_days",
            "keeps_data",
            "monthly_budget",
        } <= both
        different = {key for key in both if here["sizes"][key] != there["sizes"][key]}
        assert different <= {
            "web_instance_type",
            "poller_instance_type",
            "log_days",
            "requests_per_address",
        }


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"architecture": "arm"}, "architecture must be one of x86_64, arm64, not 'arm'"),
        (
            {"architecture": "arm64"},
            "web_instance_type must be a size for arm64, not 'Standard_B2ls_v2'; ",
        ),
        ({"name_suffix": "A-1"}, "name_suffix must be lower-case letters and digits, not 'A-1'"),
        (
            {"name_suffix": 20 * "a"},
            f"the name asciistdev{20 * 'a'} has more than 24 characters: shorten name_suffix",
        ),
        (
            {"domain": "art.example"},
            "domain, certificate_vault and certificate go together: give all or none",
        ),
        (
            {"domain": "art.example", "certificate_vault": "certs", "certificate": "art"},
            "certificate_vault must be the resource id of a Key Vault, not 'certs'",
        ),
        (
            {"deployers": "20.31.5.9, 10.0.0.1"},
            "deployers must be public IPv4 addresses, not '10.0.0.1'",
        ),
        ({"deployers": "home"}, "deployers must be public IPv4 addresses, not 'home'"),
        (
            {"peer_principal": PRINCIPAL},
            "peer_principal and peer_addresses go together: give both or neither",
        ),
        (
            {"peer_principal": "app", "peer_addresses": "52.16.0.7"},
            (
                "peer_principal must be an object id, such as 00000000-0000-0000-0000-000000000000,"
                " not 'app'"
            ),
        ),
        (
            {"peer_principal": PRINCIPAL, "peer_addresses": "10.0.0.1"},
            "peer_addresses must be public IPv4 addresses, not '10.0.0.1'",
        ),
        (
            {"peer_store": "azure://artifacts"},
            "peer_store must be a bucket on AWS, such as s3://bucket, not 'azure://artifacts'",
        ),
        (
            {"peer_store": "s3://bucket"},
            "each deployment uses the store of the other: give peer_principal with peer_store",
        ),
        ({"alarm_email": "me"}, "alarm_email must be an e-mail address, not 'me'"),
        ({"firewal": "true"}, "unknown key 'firewal': did you mean 'firewall'?"),
        ({"plain_http": "yes"}, "plain_http must be true or false, not 'yes'"),
        (
            {"certificate_vault": VAULT},
            "domain, certificate_vault and certificate go together: give all or none",
        ),
    ],
)
def test_a_wrong_value_is_reported_in_one_sentence(
    overrides: dict[str, str], sentence: str
) -> None:
    assert mistakes(**overrides).startswith(sentence)


def test_sizes_out_of_range_are_reported_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ENVIRONMENTS / "dev.toml").read_text()
    for old, new in (
        ("zones = 1", "zones = 4"),
        ("log_days = 30", "log_days = 7"),
        ("web_min_instances = 1", "web_min_instances = 3"),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "dev.toml").write_text(text)
    monkeypatch.setattr(environment, "ENVIRONMENTS", tmp_path)
    assert (
        mistakes() == "zones must be from 1 to 3, not 4; log_days must be from 30 to 730, not 7; "
        "web_min_instances must be from 1 to web_max_instances"
    )


def test_mistakes_in_the_settings_are_reported_with_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ENVIRONMENTS / "dev.toml").read_text()
    table = '[settings]\nbucket = "art"\nmax_witdh = 5\nrequest_timeout = 51\n'
    (tmp_path / "dev.toml").write_text(f"{text}\n{table}")
    monkeypatch.setattr(environment, "ENVIRONMENTS", tmp_path)

    of_settings = (
        "bucket cannot be in [settings]: the stack creates it; "
        "unknown key 'max_witdh': did you mean 'max_width'?; "
        "request_timeout = 51 is greater than the maximum, 50"
    )
    assert mistakes() == of_settings
    assert mistakes(alarm_email="me") == (
        f"alarm_email must be an e-mail address, not 'me'; {of_settings}"
    )
    assert mistakes(plain_http="yes") == (
        f"plain_http must be true or false, not 'yes'; {of_settings}"
    )
