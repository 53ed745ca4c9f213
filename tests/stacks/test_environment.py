"""A deployment is configured by a file, which is checked as a whole before anything is
synthesized."""

import re
import shutil
import tomllib
from pathlib import Path

import pytest

from stacks import environment as module
from stacks import image
from stacks.environment import ENVIRONMENTS, Environment
from stacks.values import ContextError

DOMAIN = {
    "domain": "art.example",
    "certificate": "arn:aws:acm:eu-west-1:123456789012:certificate/x",
}
# The ARN of a secret.
PEER_SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:peer-AbCdEf"  # noqa: S105


def mistakes(name: str = "dev", **overrides: str) -> str:
    with pytest.raises(ContextError) as error:
        Environment.load(name, overrides)
    return str(error.value)


class TestTheFiles:
    def test_dev_can_be_deployed_as_it_is_and_is_the_default(self) -> None:
        assert Environment.from_context({"aws:cdk:enable-path-metadata": True}) == Environment.load(
            "dev"
        )

    def test_prod_refuses_plain_http_and_alarms_that_reach_nobody(self) -> None:
        assert (
            mistakes("prod")
            == "images would be sent unencrypted: give domain and certificate, or set plain_http; "
            "nobody is told of alarms: give alarm_email or datadog_notify, or set pages_nobody"
        )

    @pytest.mark.parametrize(
        "told",
        [
            {**DOMAIN, "alarm_email": "on-call@example.org"},
            {"plain_http": "true", "pages_nobody": "true"},
        ],
    )
    def test_prod_can_be_deployed_with_them_or_when_it_is_told_to_do_without(
        self, told: dict[str, str]
    ) -> None:
        prod = Environment.load("prod", told)
        assert (prod.prefix, prod.sizes.keeps_data, prod.canary) == ("asciist-prod", True, True)

    @pytest.mark.parametrize("folder", [ENVIRONMENTS, ENVIRONMENTS / "azure"])
    def test_all_files_have_all_keys_in_the_same_order(self, folder: Path) -> None:
        keys = {
            file.stem: [
                (key, list(value) if isinstance(value, dict) else None)
                for key, value in tomllib.loads(file.read_text()).items()
                if key != "settings"  # optional
            ]
            for file in folder.glob("*.toml")
        }
        assert keys.keys() >= {"dev", "prod"}
        assert all(found == keys["dev"] for found in keys.values())


class TestThePinnedImage:
    @pytest.fixture
    def copy(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A copy of the files for the command to change."""
        directory = tmp_path / "environments"
        shutil.copytree(ENVIRONMENTS, directory)
        for user in (module, image):
            monkeypatch.setattr(user, "ENVIRONMENTS", directory)
        return directory

    @pytest.mark.usefixtures("aws")
    def test_the_newest_image_is_written_into_the_file_and_nothing_else_changes(
        self, copy: Path
    ) -> None:
        before = (copy / "prod.toml").read_text()
        old, new = image.pin_newest("prod")

        assert (old, new[:4]) == ("", "ami-")
        assert (copy / "prod.toml").read_text() == before.replace('image = ""', f'image = "{new}"')
        assert Environment.load("prod", {"plain_http": "true", "pages_nobody": "true"}).image == new
        assert image.pin_newest("prod") == (new, new)

    def test_an_unknown_environment_is_refused(self) -> None:
        with pytest.raises(ContextError, match="environment must be one of"):
            image.pin_newest("production")


class TestMistakes:
    @pytest.mark.parametrize(
        ("overrides", "sentence"),
        [
            ({"worker": "lamda"}, "worker must be one of lambda, asg, not 'lamda'"),
            (
                {"image": "al2023"},
                "image must be the id of an image, such as ami-0123456789abcdef0, not 'al2023'",
            ),
            ({"workr": "asg"}, "unknown key 'workr': did you mean 'worker'?"),
            ({"sizes": "small"}, "unknown key 'sizes'"),
            (
                {"domain": "art.example"},
                "domain and certificate (its ARN) go together: give both or neither",
            ),
            (
                {"domain": "a", "certificate": "b"},
                "certificate must be the ARN of a certificate, not 'b'",
            ),
            (
                {"peer_store": "azure://artifacts"},
                (
                    "peer_store and peer_secret (the ARN of its credentials) go together: give both"
                    " or neither"
                ),
            ),
            (
                {"peer_store": "s3://bucket", "peer_secret": PEER_SECRET},
                (
                    "peer_store must be a container on Azure, such as azure://artifacts, not"
                    " 's3://bucket'"
                ),
            ),
            (
                {"peer_store": "azure://artifacts", "peer_secret": "the key itself"},
                "peer_secret must be the ARN of the secret that holds the credentials",
            ),
            ({"alarm_email": "me"}, "alarm_email must be an e-mail address, not 'me'"),
            ({"hosted_zone": "Z1"}, "hosted_zone has the records of a domain: give domain, too"),
            ({"ticket_email": "me"}, "ticket_email must be an e-mail address, not 'me'"),
            (
                {"baked": "true"},
                "a baked image is built upon another: give image, which make image writes",
            ),
            (
                {**DOMAIN, "cdn": "true"},
                "CloudFront needs a certificate for the domain in us-east-1: give cdn_certificate",
            ),
            (
                {"cdn_certificate": DOMAIN["certificate"]},
                (
                    "cdn_certificate must be the ARN of a certificate in us-east-1, not"
                    f" {DOMAIN['certificate']!r}"
                ),
            ),
            ({"plain_http": "yes"}, "plain_http must be true or false, not 'yes'"),
        ],
    )
    def test_a_wrong_value_is_reported_in_one_sentence(
        self, overrides: dict[str, str], sentence: str
    ) -> None:
        assert mistakes(**overrides) == sentence

    def test_all_mistakes_are_reported_together(self) -> None:
        assert re.fullmatch(
            r"worker must be .*; replies must be .*", mistakes(worker="x", replies="y")
        )

    def test_an_unknown_environment_is_reported_with_those_that_exist(self) -> None:
        with pytest.raises(
            ContextError, match=r"^environment must be one of dev, prod, not 'production'$"
        ):
            Environment.from_context({"environment": "production"})

    def test_a_name_cannot_lead_out_of_the_directory(self) -> None:
        with pytest.raises(ContextError, match="must be one of"):
            Environment.load("../environments/dev")

    @pytest.mark.parametrize(
        ("old", "new", "sentence"),
        [
            ('worker = "lambda"', "worker = 1", "worker must be a string, not 1"),
            (
                "web_min_instances = 1",
                'web_min_instances = "1"',
                "web_min_instances must be an integer, not '1'",
            ),
            ("keeps_data = false", "keeps_data = 0", "keeps_data must be true or false, not 0"),
            ("nat_gateways = 1\n", "", "sizes lacks nat_gateways"),
            (
                "requests_per_address = 10000",
                "requests_per_address = 9",
                "requests_per_address must be at least 10, not 9",
            ),
            (
                "function_provisioned = 0",
                "function_provisioned = 1\nsnap_start = true",
                "unknown key 'snap_start'",
            ),
            ("\nlog_days = 7", "\nlog_days = 8", "log_days must be one of 1, 3, 5, 7, 14,"),
            ("[sizes]", "nat_gateways = 2\n[sizes]", "unknown key 'nat_gateways'"),
            ("[sizes]", "[sizes", "environments/dev.toml: Expected"),
        ],
    )
    def test_a_mistake_in_a_file_is_reported(
        self, old: str, new: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = (ENVIRONMENTS / "dev.toml").read_text()
        assert old in text
        (tmp_path / "dev.toml").write_text(text.replace(old, new))
        monkeypatch.setattr(module, "ENVIRONMENTS", tmp_path)

        assert mistakes().startswith(sentence)
