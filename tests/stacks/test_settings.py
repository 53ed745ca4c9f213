"""The table `[settings]` of an environment's file configures the service in one deployment."""

import ast
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Protocol, get_args

import pytest

from asciist.limits import Limits
from asciist.settings import Settings, Tier, setting_types
from operations.capacity import Load, LoadError, capacity
from stacks import environment as module
from stacks.environment import ENVIRONMENTS, Environment
from stacks.settings import DECIDED, settings_of
from stacks.values import ContextError
from tests.stacks.synthesis import choose, only, resources
from tests.stacks.test_templates import attributes, deployed_variables

LARGER = "max_image_bytes = 20_000_000"
SLOWER = "request_timeout = 40"


class LoadFile(Protocol):
    def __call__(self, table: str, *, name: str = "prod", **values: str | bool) -> Environment: ...


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadFile:
    """A function that loads an environment with a table `[settings]`."""

    def load(table: str, *, name: str = "prod", **values: str | bool) -> Environment:
        text = (ENVIRONMENTS / f"{name}.toml").read_text()
        (tmp_path / f"{name}.toml").write_text(f"{text}\n[settings]\n{table}\n")
        monkeypatch.setattr(module, "ENVIRONMENTS", tmp_path)
        return choose(name, **values)

    return load


class TestDeployment:
    @pytest.mark.parametrize("worker", ["lambda", "asg"])
    def test_both_tiers_get_a_limit(self, loaded: LoadFile, worker: str) -> None:
        found = [
            Settings.from_environment(variables).limits
            for variables in deployed_variables(loaded(LARGER, worker=worker))
        ]
        assert found == [Limits(max_image_bytes=20_000_000)] * 2

    def test_an_environment_without_the_table_has_the_defaults(self) -> None:
        environment = choose("dev")
        assert environment.settings == Settings()
        for variables in deployed_variables(environment):
            assert Settings.from_environment(variables).limits == Limits()
            assert not [name for name in variables if "MAX" in name and "DAYS" not in name]

    def test_a_tier_gets_only_the_settings_that_it_reads(self, loaded: LoadFile) -> None:
        origin = "https://art.example.org"
        for variables in deployed_variables(loaded(f'cors_origins = "{origin}"')):
            is_web = "ASCIIST_PORT" in variables
            assert variables.get("ASCIIST_CORS_ORIGINS") == (origin if is_web else None)

    def test_the_timeouts_of_the_templates_follow_the_request_timeout(
        self, loaded: LoadFile
    ) -> None:
        environment = loaded(SLOWER, cdn=True)
        timeouts = Settings(request_timeout=40).timeouts
        balancer = only(resources(environment, "AWS::ElasticLoadBalancingV2::LoadBalancer"))
        target = only(resources(environment, "AWS::ElasticLoadBalancingV2::TargetGroup"))
        (origin,) = only(resources(environment, "AWS::CloudFront::Distribution"))[
            "DistributionConfig"
        ]["Origins"]

        assert attributes(balancer["LoadBalancerAttributes"])["idle_timeout.timeout_seconds"] == (
            str(timeouts.load_balancer_idle)
        )
        assert attributes(target["TargetGroupAttributes"])[
            "deregistration_delay.timeout_seconds"
        ] == str(timeouts.deregistration_delay)
        assert origin["CustomOriginConfig"]["OriginReadTimeout"] == timeouts.gunicorn
        assert {
            variables["ASCIIST_REQUEST_TIMEOUT"] for variables in deployed_variables(environment)
        } == {"40"}

    def test_a_shorter_request_timeout_shortens_the_worker_and_the_visibility(
        self, loaded: LoadFile
    ) -> None:
        environment = loaded("request_timeout = 4")
        queues = resources(environment, "AWS::SQS::Queue", "storage")
        function = only(resources(environment, "AWS::Lambda::Function", "worker"))

        assert (function["Timeout"], queues["Requests"]["Properties"]["VisibilityTimeout"]) == (
            4,
            24,
        )

    def test_security_groups_open_the_ports_of_callbacks(self, loaded: LoadFile) -> None:
        environment = loaded("callback_first_port = 30000", replies="callback")
        rules = resources(environment, "AWS::EC2::SecurityGroupIngress")
        opened = {
            (rule["Properties"]["FromPort"], rule["Properties"]["ToPort"])
            for rule in rules.values()
        }

        assert (30_000, 30_015) in opened
        assert (28_000, 28_015) not in opened

    def test_the_capacity_model_takes_the_limits_of_the_environment(self, loaded: LoadFile) -> None:
        load = Load(requests_per_second=1, image_bytes=15_000_000)
        with pytest.raises(LoadError, match="10,000,000"):
            capacity(load, choose("prod"))
        assert capacity(load, loaded(LARGER))


class TestMistakes:
    @pytest.mark.parametrize(
        ("table", "sentence"),
        [
            (
                "max_imge_bytes = 1",
                "unknown key 'max_imge_bytes': did you mean 'max_image_bytes'?",
            ),
            (
                'max_image_bytes = "20 MB"',
                "max_image_bytes must be an integer, not '20 MB'",
            ),
            ("max_width = true", "max_width must be an integer, not True"),
            ("cors_origins = 1", "cors_origins must be a string, not 1"),
            ("request_timeout = 51", "request_timeout = 51 is greater than the maximum, 50"),
            ("max_width = 0", "max_width = 0 is less than the minimum, 1"),
            (
                'cors_origins = ""',
                (
                    "cors_origins = '' is not *, none or a list of origins such as"
                    " https://art.example.org,http://localhost:3000"
                ),
            ),
            (
                'cors_origins = "https://a.example,\\nhttps://b.example"',
                (
                    "cors_origins must be one line of printable characters, not"
                    " 'https://a.example,\\nhttps://b.example'"
                ),
            ),
            (
                'bucket = "art"',
                "bucket cannot be in [settings]: the stack creates it",
            ),
            (
                "store_max_days = 3",
                (
                    "store_max_days cannot be in [settings]: the key artifact_days in [sizes]"
                    " determines it"
                ),
            ),
        ],
    )
    def test_a_mistake_is_reported_in_one_sentence(
        self, loaded: LoadFile, table: str, sentence: str
    ) -> None:
        with pytest.raises(ContextError) as error:
            loaded(table)
        assert str(error.value) == sentence

    def test_all_mistakes_of_a_file_are_reported_together(self, loaded: LoadFile) -> None:
        table = "port = 80\nmax_witdh = 5\nmax_width = 0\nrequest_timeout = 51"
        with pytest.raises(ContextError) as error:
            loaded(table, worker="lamda")
        assert str(error.value).split("; ") == [
            "port cannot be in [settings]: the load balancer and the security groups contain it",
            "unknown key 'max_witdh': did you mean 'max_width'?",
            "max_width = 0 is less than the minimum, 1",
            "request_timeout = 51 is greater than the maximum, 50",
            "worker must be one of lambda, asg, not 'lamda'",
        ]

    def test_the_table_must_be_one_and_cannot_be_overridden(self) -> None:
        mistakes: list[str] = []
        settings_of(5, mistakes)
        assert mistakes == ["settings must be a table, not 5"]
        with pytest.raises(ContextError, match="unknown key 'settings'"):
            Environment.load("dev", {"settings": "x"})

    def test_a_secret_is_not_shown(self, loaded: LoadFile) -> None:
        with pytest.raises(ContextError) as error:
            loaded(f'link_keys = "{32 * "s"}"')
        assert "sss" not in str(error.value)


class TestNames:
    def test_every_setting_is_decided_by_the_deployment_or_reaches_a_tier(self) -> None:
        assert DECIDED.keys() <= setting_types().keys()
        limits = {field.name for field in fields(Limits)}
        for name in setting_types().keys() - DECIDED.keys():
            value: Any = 7 if setting_types()[name] is int else "none"
            changed = (
                Settings(limits=replace(Limits(), **{name: value}))
                if name in limits
                else replace(Settings(), **{name: value})
            )
            reached = {
                tier
                for tier in get_args(Tier)
                if f"ASCIIST_{name.upper()}" in changed.to_tier_environment(tier)
            }
            assert reached, name
            assert reached == set(get_args(Tier)) or name not in limits

    def test_the_stacks_list_no_names_of_variables(self) -> None:
        """A tuple or list of names would have to be kept in step with the settings."""
        names = {name.upper() for name in setting_types()}
        names |= {f"ASCIIST_{name}" for name in names}
        for file in Path(module.__file__).parent.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Tuple | ast.List | ast.Set):
                    listed = [
                        item.value
                        for item in node.elts
                        if isinstance(item, ast.Constant) and item.value in names
                    ]
                    assert not listed, f"{file.name}: {listed}"
