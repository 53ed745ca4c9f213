"""The program for Terraform: its network, secrets, names, alarms and permissions, and checkov's
findings in it."""

import base64
import hashlib
import ipaddress
import json
import re
import subprocess
import zipfile
from pathlib import Path

import pytest

import stacks.azure.__main__ as azure
from asciist.options import ConversionOptions
from asciist.protocol.artifacts import art_key, image_key, link_key
from asciist.settings import READ_ONLY_MARKER, Settings
from operations.observability.alarms import ALARMS, BUDGET_BURNS_FAST, Urgency
from stacks.azure.alarms import WITHOUT_SIGNAL, azure_alarms
from stacks.azure.environment import ENVIRONMENTS, Environment
from stacks.azure.findings import ACCEPTED
from stacks.bundles import INSTANCE_PYTHON, ROOT, Target, release_bundle
from tests.azure_stacks.conditions import BLOBS, holds
from tests.azure_stacks.synthesis import (
    CHOSEN,
    PRINCIPAL,
    VAULT,
    Program,
    ensure_environment,
    release,
    synthesized,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

each = pytest.mark.parametrize("name", CHOSEN)


def rules(program: Program, subnet: str) -> list[tuple[str, str, list[str]]]:
    """Return (access, source, ports) of the rules for connections to a subnet, in their order."""
    guard = program.resources("subnet_network_security_group_association")[f"{subnet}_guard"]
    assert guard["subnet_id"] == f"${{azurerm_subnet.{subnet}_subnet.id}}"
    assert (
        guard["network_security_group_id"]
        == f"${{azurerm_network_security_group.{subnet}_access.id}}"
    )
    found = sorted(
        program.resources("network_security_group")[f"{subnet}_access"]["security_rule"],
        key=lambda rule: rule["priority"],
    )
    assert {rule["direction"] for rule in found} == {"Inbound"}
    return [
        (
            rule["access"],
            rule["source_address_prefix"],
            rule.get("destination_port_ranges") or [rule["destination_port_range"]],
        )
        for rule in found
    ]


def addresses_of(program: Program, subnet: str) -> str:
    (prefix,) = program.resources("subnet")[f"{subnet}_subnet"]["address_prefixes"]
    return str(prefix)


@each
def test_clients_reach_the_gateway_and_nothing_else(name: str) -> None:
    program = synthesized(name)
    ports = ["80", "443"] if name == "prod" else ["80"]
    gateway = addresses_of(program, "gateway")

    assert rules(program, "gateway")[0] == ("Allow", "Internet", ports)
    assert {source for access, source, _ in rules(program, "gateway") if access == "Allow"} == {
        "Internet",
        "GatewayManager",  # Azure's own
        "AzureLoadBalancer",
    }
    assert rules(program, "web") == [
        ("Allow", gateway, ["8080"]),
        ("Allow", addresses_of(program, "worker"), ["28000-28015"]),
        ("Deny", "*", ["*"]),
    ]
    assert rules(program, "worker") == [("Deny", "*", ["*"])]


@each
def test_only_the_gateway_and_the_way_out_have_public_addresses(name: str) -> None:
    program = synthesized(name)
    users = {
        reference
        for kind, named in program.content["resource"].items()
        for resource in named.values()
        for reference in re.findall(r"azurerm_public_ip\.(\w+)\.id", json.dumps(resource))
        if kind in ("azurerm_application_gateway", "azurerm_nat_gateway_public_ip_association")
    }
    assert program.resources("public_ip").keys() == users == {"front_address", "nat_address"}
    assert not re.search(
        r'"public_ip_address"\s*:', json.dumps(program.resources("linux_virtual_machine_scale_set"))
    )
    for subnet, resource in program.resources("subnet").items():
        assert resource["default_outbound_access_enabled"] is (subnet == "gateway_subnet")


def test_the_networks_of_both_clouds_do_not_overlap() -> None:
    from stacks.network import NETWORK

    (network,) = synthesized("prod").resources("virtual_network").values()
    here, there = (
        ipaddress.ip_network(network["address_space"][0]),
        ipaddress.ip_network(NETWORK),
    )

    assert not here.overlaps(there)
    for subnet in ("gateway", "web", "worker"):
        assert ipaddress.ip_network(addresses_of(synthesized("prod"), subnet)).subnet_of(here)


def test_with_a_domain_plain_http_only_redirects() -> None:
    gateway = synthesized("prod").resources("application_gateway")["gateway"]
    routes = {rule["http_listener_name"]: rule for rule in gateway["request_routing_rule"]}

    assert "backend_address_pool_name" not in routes["http"]
    assert (
        routes["http"]["redirect_configuration_name"]
        == gateway["redirect_configuration"][0]["name"]
    )
    assert routes["https"]["backend_address_pool_name"] == "web"
    assert gateway["ssl_policy"]["policy_name"] == "AppGwSslPolicy20220101S"
    assert "firewall_policy_id" in gateway
    (certificate,) = gateway["ssl_certificate"]
    assert certificate == {
        "name": "domain",
        "key_vault_secret_id": "https://certs.vault.azure.net/secrets/art",
    }


@each
def test_the_gateway_waits_for_an_answer_as_long_as_the_service_may_take(name: str) -> None:
    gateway = synthesized(name).resources("application_gateway")["gateway"]
    (backend,), (probe,) = gateway["backend_http_settings"], gateway["probe"]
    timeouts = Settings().timeouts

    assert backend["request_timeout"] == timeouts.load_balancer_idle
    assert backend["connection_draining"] == {
        "enabled": True,
        "drain_timeout_sec": timeouts.deregistration_delay,
    }
    assert (probe["path"], backend["probe_name"]) == ("/healthz", probe["name"])


@each
def test_the_account_has_no_keys_and_admits_only_instances_deployers_and_the_peer(
    name: str,
) -> None:
    account = synthesized(name).resources("storage_account")["storage"]

    assert account["min_tls_version"] == "TLS1_2"
    assert account["https_traffic_only_enabled"] is True
    for switch in (
        "shared_access_key_enabled",
        "allow_nested_items_to_be_public",
        "local_user_enabled",
    ):
        assert account[switch] is False, switch
    environment = Environment.load(name, CHOSEN[name])
    vault = synthesized(name).resources("key_vault")["vault"]
    assert vault["network_acls"]["ip_rules"] == environment.deployer_addresses
    assert account["network_rules"]["ip_rules"] == [
        *environment.deployer_addresses,
        *environment.peers,
    ]
    for rules in (account["network_rules"], vault["network_acls"]):
        assert rules["default_action"] == "Deny"
        assert rules["virtual_network_subnet_ids"] == [
            f"${{azurerm_subnet.{tier}_subnet.id}}" for tier in ("web", "worker")
        ]


@each
def test_images_and_art_expire_and_releases_do_not(name: str) -> None:
    (rule,) = synthesized(name).resources("storage_management_policy")["expiry"]["rule"]

    assert rule["filters"]["prefix_match"] == ["artifacts/"]
    days = Environment.load(name, CHOSEN[name]).sizes.artifact_days
    assert rule["actions"]["base_blob"] == {
        "delete_after_days_since_modification_greater_than": days
    }


@each
def test_no_file_of_the_program_holds_a_secret_or_a_path_of_this_machine(name: str) -> None:
    program = synthesized(name)
    (secret,) = program.resources("key_vault_secret").values()
    assert "value" not in secret
    assert secret["value_wo"] == "${ephemeral.random_password.link_key.result}"
    for forbidden in (
        "admin_password",
        "protected_settings",
        "sas_token",
        "primary_access_key",
        "connection_string",
    ):
        assert forbidden not in json.dumps(program.content), forbidden
    for file in program.directory.iterdir():
        if file.suffix != ".zip":
            text = file.read_text()
            assert str(ROOT) not in text, file.name
            assert str(program.directory) not in text, file.name
            assert not re.search(r"ASCIIST_LINK_KEYS=[^%]", text), file.name


def test_the_state_is_kept_in_azure() -> None:
    assert synthesized("prod").content["terraform"]["backend"] == {
        "azurerm": {"key": "asciist-prod.tfstate", "use_azuread_auth": True}
    }


def test_nobody_has_the_private_key_of_the_administrator() -> None:
    (key,) = synthesized("prod").resources("linux_virtual_machine_scale_set")["web_instances"][
        "admin_ssh_key"
    ]
    encoded = base64.b64decode(key["public_key"].split()[1])

    assert encoded[-32:] == hashlib.sha256(b"asciist: nobody has the private key").digest()


STABLE = {
    "resource_group.group",
    "storage_account.storage",
    "storage_container.artifacts",
    "storage_queue.requests",
    "storage_queue.dead_letters",
    "key_vault.vault",
    "key_vault_secret.link_keys",
    "public_ip.front_address",
}
"""Addresses in Terraform's state of resources whose replacement would lose data or a name."""


@each
def test_what_holds_data_has_a_fixed_address_and_name(name: str) -> None:
    program = synthesized(name)
    environment = Environment.load(name, CHOSEN[name])

    assert program.addresses() >= STABLE
    assert program.resources("storage_account")["storage"]["name"] == environment.unique_name
    assert {queue["name"] for queue in program.resources("storage_queue").values()} == {
        "requests",
        "requests-dead-letters",
    }
    assert {container["name"] for container in program.resources("storage_container").values()} == {
        "artifacts",
        "releases",
    }
    for address in STABLE - {"resource_group.group", "public_ip.front_address"}:
        kind, _, id_ = address.partition(".")
        assert (
            program.resources(kind)[id_]["lifecycle"]["prevent_destroy"]
            is environment.sizes.keeps_data
        ), address


def test_resources_have_the_same_addresses_with_and_without_a_domain_and_a_peer() -> None:
    """Both can therefore be added and removed without replacing resources."""
    gone = synthesized("dev").addresses() - synthesized("prod").addresses()
    added = synthesized("prod").addresses() - synthesized("dev").addresses()

    assert gone == set()
    assert added == {
        "consumption_budget_resource_group.budget",
        *(
            f"{kind}.{grant}_{kind.removeprefix('role_').replace('definition', 'role')}"
            for kind in ("role_assignment", "role_definition")
            for grant in (
                "gateway-certificate",
                "web-artifacts-with-peer",
                "web-peer-secret-with-peer",
                "peer-artifacts",
            )
        ),
        "user_assigned_identity.gateway_identity",
        "web_application_firewall_policy.firewall",
    }


@each
def test_the_units_get_known_settings(name: str) -> None:
    environment = Environment.load(name, CHOSEN[name])
    web, worker = (synthesized(name).settings(tier) for tier in ("web", "worker"))
    account = environment.unique_name

    for variables in (web, worker):
        own = {key: value for key, value in variables.items() if key.startswith("ASCIIST_")}
        assert own["ASCIIST_BACKEND"] == "azure"
        checked = Settings.from_environment(own)
        assert (checked.bucket, checked.request_queue_url) == (
            "artifacts",
            f"https://{account}.queue.core.windows.net/requests",
        )
        assert (variables["AZURE_STORAGE_ACCOUNT_NAME"], variables["AZURE_CLIENT_ID"]) == (
            account,
            "@CLIENT_ID@",
        )
    assert web["ASCIIST_REPLY_PATH"] == "callback"
    peers = {key: value for key, value in web.items() if re.search("PEER|READ_ONLY", key)}
    assert peers == (
        {
            "ASCIIST_PEER_STORE": "s3://art-bucket",
            "ASCIIST_READ_ONLY": f"azure://artifacts/{READ_ONLY_MARKER}",
            "PEER_SECRET_URL": f"https://{account}.vault.azure.net/secrets/peer",
        }
        if name == "prod"
        else {}
    )
    assert not [key for key in worker if re.search("PEER|READ_ONLY", key)]
    assert web["LINK_KEYS_URL"] == f"https://{account}.vault.azure.net/secrets/link-keys"
    assert (
        worker["ASCIIST_CALLBACK_NETWORKS"]
        == synthesized(name).resources("virtual_network")["network"]["address_space"][0]
    )
    assert web.get("ASCIIST_TRUSTED_HOSTS", "").startswith("art.example,") is (name == "prod")


def test_the_settings_of_a_file_reach_the_tiers_and_the_timeouts(tmp_path: Path) -> None:
    """The program reads a directory of files in which `dev` contains a table `[settings]`."""
    ensure_environment()
    (tmp_path / "dev.toml").write_text(
        (ENVIRONMENTS / "dev.toml").read_text()
        + "[settings]\nmax_image_bytes = 20_000_000\nrequest_timeout = 20\n"
        + 'cors_origins = "https://art.example.org"\n'
    )
    program = (
        "import pathlib, sys; from stacks.azure import environment, program;"
        "environment.ENVIRONMENTS = pathlib.Path(sys.argv.pop(1)); program.main()"
    )
    subprocess.run(
        [
            *(ROOT / ".venv-azure/bin/python", "-c", program),
            *(tmp_path, "dev", release("prod"), tmp_path, "deployers=20.31.5.9"),
        ],
        cwd=ROOT,
        check=True,
    )
    directory = tmp_path / "stacks/asciist-dev"
    written = Program(
        directory=directory, content=json.loads((directory / "cdk.tf.json").read_text())
    )
    gateway = written.resources("application_gateway")["gateway"]
    timeouts = Settings(request_timeout=20).timeouts
    both = {"ASCIIST_MAX_IMAGE_BYTES": "20000000", "ASCIIST_REQUEST_TIMEOUT": "20"}

    for tier, expected in (
        ("web", {**both, "ASCIIST_CORS_ORIGINS": "https://art.example.org"}),
        ("worker", both),
    ):
        added = written.settings(tier).items() - synthesized("dev").settings(tier).items()
        assert dict(added) == expected
    assert gateway["backend_http_settings"][0]["request_timeout"] == timeouts.load_balancer_idle
    assert "ASCIIST_MAX_IMAGE_BYTES" not in synthesized("dev").settings("web")


@each
def test_an_instance_boots_with_the_settings_and_the_release_of_the_program(name: str) -> None:
    program = synthesized(name)
    (archive,) = program.directory.glob("*.zip")
    blob = program.resources("storage_blob")["release"]

    assert archive.stem == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert (blob["name"], blob["source"]) == (archive.name, f"${{path.module}}/{archive.name}")
    account = program.resources("storage_account")["storage"]["name"]
    for tier, unit in (("web", "asciist-web"), ("worker", "asciist-poller")):
        (command,) = program.user_data(tier)["runcmd"]
        assert command[0:2] == ["bash", "/opt/asciist-boot/boot"]
        assert command[2] == unit
        assert command[4] == f"https://{account}.blob.core.windows.net/releases/{archive.name}"
        written = {file["path"]: file for file in program.user_data(tier)["write_files"]}
        assert {command[1], command[3], "/opt/asciist-boot/fetch"} <= written.keys()
        assert {file["permissions"] for file in written.values()} == {"0600"}
        custom_data = program.resources("linux_virtual_machine_scale_set")[f"{tier}_instances"][
            "custom_data"
        ]
        assert (
            custom_data == f'${{base64encode(replace(file("${{path.module}}/{tier}.cloud-config"),'
            ' "@CLIENT_ID@", '
            f"azurerm_user_assigned_identity.{tier}_identity.client_id))}}"
        )
        # 64 kB in base64, Azure's limit
        assert len((program.directory / f"{tier}.cloud-config").read_bytes()) < 48_000


def test_the_release_is_that_of_aws_with_the_libraries_of_azure() -> None:
    expected = release_bundle(
        Target(architecture="x86_64", python=INSTANCE_PYTHON), lock="service/requirements-azure.txt"
    )
    (archive,) = synthesized("dev").directory.glob("*.zip")
    with zipfile.ZipFile(archive) as opened:
        packed = {name: opened.read(name) for name in opened.namelist()}

    assert packed == {
        str(file.relative_to(expected)): file.read_bytes()
        for file in expected.rglob("*")
        if file.is_file()
    }
    assert {"setup", "install", "asciist-web.service", "asciist-poller.service"} <= packed.keys()
    assert any(name.startswith("wheels/azure_storage_queue-") for name in packed)


@each
def test_an_update_starts_new_instances_first_and_a_sick_one_is_replaced(name: str) -> None:
    program = synthesized(name)
    for tier, port, path in (("web", 8080, "/healthz"), ("worker", 8081, "/")):
        instances = program.resources("linux_virtual_machine_scale_set")[f"{tier}_instances"]
        health = next(
            extension
            for extension in instances["extension"]
            if extension["type"] == "ApplicationHealthLinux"
        )

        assert instances["upgrade_mode"] == "Rolling"
        assert instances["rolling_upgrade_policy"]["maximum_surge_instances_enabled"] is True
        assert instances["automatic_instance_repair"]["enabled"] is True
        assert json.loads(health["settings"]) == {
            "protocol": "http",
            "port": port,
            "requestPath": path,
        }
        assert instances["disable_password_authentication"] is True
        assert instances["encryption_at_host_enabled"] is True


@each
def test_both_groups_grow_and_shrink_between_their_bounds(name: str) -> None:
    sizes = Environment.load(name, CHOSEN[name]).sizes
    for tier, least, most in (
        ("web", sizes.web_min_instances, sizes.web_max_instances),
        ("worker", sizes.poller_min_instances, sizes.poller_max_instances),
    ):
        (profile,) = synthesized(name).resources("monitor_autoscale_setting")[f"{tier}_autoscale"][
            "profile"
        ]
        grow, shrink = profile["rule"]

        assert profile["capacity"] == {"minimum": least, "maximum": most, "default": least}
        assert (grow["scale_action"]["direction"], shrink["scale_action"]["direction"]) == (
            "Increase",
            "Decrease",
        )
        # With one of two instances gone, the other one is not busy enough to start another.
        assert 2 * shrink["metric_trigger"]["threshold"] <= grow["metric_trigger"]["threshold"]


@each
def test_every_alarm_has_a_signal_or_a_reason_why_it_has_none(name: str) -> None:
    environment = Environment.load(name, CHOSEN[name])
    rendered = azure_alarms(environment)
    applicable = {
        alarm
        for alarm in ALARMS
        if alarm.applies_to(worker="asg", has_domain=bool(environment.domain))
    }

    assert rendered.keys() | WITHOUT_SIGNAL.keys() == applicable | {
        alarm for alarm in WITHOUT_SIGNAL if alarm.needs_domain
    }
    assert not rendered.keys() & WITHOUT_SIGNAL.keys()
    program = synthesized(name)
    alerts = program.resources("monitor_metric_alert") | program.resources(
        "monitor_scheduled_query_rules_alert_v2"
    )
    assert alerts.keys() == {alarm.anchor.replace("-", "_") for alarm in rendered}
    for alarm in rendered:
        alert = alerts[alarm.anchor.replace("-", "_")]
        told = "alarms" if alarm.urgency is Urgency.PAGE else "tickets"
        assert alert["description"] == alarm.description(environment.runbook)
        assert f"azurerm_monitor_action_group.{told}.id" in json.dumps(alert["action"])


def test_alarms_have_the_windows_and_thresholds_of_the_model() -> None:
    program = synthesized("prod")
    fast = program.resources("monitor_scheduled_query_rules_alert_v2")[
        BUDGET_BURNS_FAST.anchor.replace("-", "_")
    ]
    long, short = (window.minutes for window in BUDGET_BURNS_FAST.windows)
    (criteria,) = fast["criteria"]

    assert (long, fast["window_duration"]) == (60, "PT1H")
    for minutes in (long, short):
        assert (
            f"100.0 * bad_{minutes} > {BUDGET_BURNS_FAST.threshold:g} * total_{minutes}"
            in criteria["query"]
        )
    assert f"bad_{long} >= {BUDGET_BURNS_FAST.minimum.events}" in criteria["query"]
    sizes = Environment.load("prod", CHOSEN["prod"]).sizes
    maxima = {
        alert["criteria"][0]["threshold"]
        for alert in program.resources("monitor_metric_alert").values()
        if alert["criteria"][0]["metric_name"] == "ObservedCapacity"
    }
    assert maxima == {sizes.web_max_instances, sizes.poller_max_instances}


METRIC_WINDOWS = {"PT1M", "PT5M", "PT15M", "PT30M", "PT1H", "PT6H", "PT12H", "P1D"}
QUERY_WINDOWS = (
    {f"PT{minutes}M" for minutes in (1, 5, 10, 15, 30, 45)}
    | {f"PT{hours}H" for hours in range(1, 7)}
    | {"P1D", "P2D"}
)
"""Only windows accepted by Azure."""


@each
def test_every_window_is_one_that_azure_accepts(name: str) -> None:
    program = synthesized(name)
    assert {
        alert["window_size"] for alert in program.resources("monitor_metric_alert").values()
    } <= METRIC_WINDOWS
    queries = program.resources("monitor_scheduled_query_rules_alert_v2").values()
    assert {alert["window_duration"] for alert in queries} <= QUERY_WINDOWS
    for setting in program.resources("monitor_autoscale_setting").values():
        for rule in setting["profile"][0]["rule"]:
            assert int(rule["metric_trigger"]["time_window"].strip("PTM")) >= 5  # the minimum


def test_those_who_are_told_of_alarms_are_those_of_the_file() -> None:
    told = synthesized("prod").resources("monitor_action_group")
    mails = {name: group["email_receiver"][0]["email_address"] for name, group in told.items()}

    assert mails == {"alarms": "on-call@art.example", "tickets": "office@art.example"}


def test_checkov_finds_what_is_accepted_and_stops_the_synthesis_if_it_finds_more(
    tmp_path: Path,
) -> None:
    content = json.loads((synthesized("dev").directory / "cdk.tf.json").read_text())
    content["resource"]["azurerm_storage_account"]["storage"]["min_tls_version"] = "TLS1_0"
    (tmp_path / "cdk.tf.json").write_text(json.dumps(content))
    dev, prod, flawed = azure.findings(
        synthesized("dev").directory, synthesized("prod").directory, tmp_path
    )

    assert dev.keys() | prod.keys() == ACCEPTED.keys()
    azure.judge(dev)
    azure.judge(prod)
    assert "CKV_AZURE_120" not in prod  # it has a firewall
    with pytest.raises(azure.SynthesisError, match=r"^CKV_AZURE_44 in storage$"):
        azure.judge(flawed)


def test_a_wrong_argument_stops_the_synthesis(tmp_path: Path) -> None:
    """The constructs check their arguments when they run, in place of the type checker."""
    with pytest.raises(azure.SynthesisError, match="locaton"):
        azure._run(
            azure._BIN / "python",
            "-c",
            "from cdktn import App, TerraformStack; from cdktn_provider_azurerm.resource_group"
            f" import ResourceGroup; ResourceGroup(TerraformStack(App(outdir={str(tmp_path)!r}),"
            " 's'), 'g', name='g', locaton='westeurope')",
        )


CONTAINER_WRITE = "Microsoft.Storage/storageAccounts/blobServices/containers/write"
OPERATIONS = ROOT / "docs/operations-azure.md"
DIGEST = "0123456789abcdef" * 4
IMAGE = image_key(DIGEST)
ART = art_key(DIGEST, ConversionOptions(width=80))
LINK = link_key("0123-4567-89ab")
STYLED_ART = art_key(DIGEST, ConversionOptions(width=80, style="ramp", invert=True))

Granted = dict[tuple[str, str], list[tuple[set[str], str]]]
"""(actions, condition) of each grant, by identity and scope. Any grant is sufficient for an
action."""


def granted(program: Program) -> Granted:
    """Return the grants of each identity. Raises AssertionError for an assignment of another
    form."""
    found: Granted = {}
    for assignment in program.resources("role_assignment").values():
        own = re.fullmatch(
            r"\$\{azurerm_user_assigned_identity\.(\w+)_identity\.principal_id\}",
            assignment["principal_id"],
        )
        role = re.fullmatch(
            r"\$\{azurerm_role_definition\.([\w-]+)\.role_definition_resource_id\}",
            assignment["role_definition_id"],
        )
        assert own or assignment["principal_id"] == PRINCIPAL
        assert role
        assert assignment["principal_type"] == "ServicePrincipal"
        definition = program.resources("role_definition")[role[1]]
        assert definition["assignable_scopes"] == [definition["scope"]]
        (permissions,) = definition["permissions"]
        # None may configure anything but the container, which Azure asks for before it deletes a
        # batch of blobs.
        assert permissions.keys() <= {"data_actions", "actions"}
        assert permissions.get("actions", [CONTAINER_WRITE]) == [CONTAINER_WRITE]
        scope = re.sub(r"\$\{azurerm_\w+\.(\w+)\.\w+\}", r"\1", assignment["scope"]).rpartition(
            "/secrets/"
        )
        named = {VAULT: "certificate", "vault": "peer_secret"}.get(scope[0], scope[2])
        actions = {*permissions["data_actions"], *permissions.get("actions", ())}
        found.setdefault((own[1] if own else "peer", named), []).append(
            (actions, assignment.get("condition", ""))
        )
    return found


Rows = dict[tuple[str, str], list[tuple[set[str], dict[str, set[str]]]]]
"""(actions, patterns by limited verb) of each grant, by identity and scope."""


def documented(environment: Environment) -> Rows:
    """Return the rows of the document that apply to a deployment."""
    table = re.search(r"^\| identity.*?(?=\n\n)", OPERATIONS.read_text(), re.MULTILINE | re.DOTALL)
    assert table
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]
    ]
    found: Rows = {}
    for identity, needs, scope, actions, limits, _ in rows:
        if not needs or getattr(environment, needs.strip("`")):
            patterns = re.findall(r"(reads|writes|deletes|lists) ((?:`[^`]+`(?:, )?)+)", limits)
            allowed = {verb: set(re.findall(r"`([^`]+)`", listed)) for verb, listed in patterns}
            found.setdefault((identity, scope), []).append(
                (set(re.findall(r"`([^`]+)`", actions)), allowed)
            )
    return found


def limits(condition: str) -> dict[str, set[str]]:
    """Return the patterns of a condition by the verb that they limit, in the words of the
    document."""
    found: dict[str, set[str]] = {}
    for clause in condition.split(" AND (("):
        action = re.search(rf"ActionMatches\{{'{BLOBS}/(\w+)'\}}", clause)
        if action:
            verb = "lists" if ":prefix]" in clause else f"{action[1]}s"
            patterns = {
                pattern.replace(64 * "?", "{digest}")
                for pattern in re.findall(r"StringLike '([^']+)'", clause)
            }
            found[verb] = patterns
    return {verb: patterns for verb, patterns in found.items() if patterns != {"-"}}


@each
def test_every_identity_is_granted_what_is_documented_and_nothing_else(name: str) -> None:
    service = (
        r"^Microsoft\.(Storage/storageAccounts/(\w+/\w+/(?!write)|blobServices/)|KeyVault/vaults/)"
    )
    found = {
        key: [
            ({re.sub(service, "", action) for action in actions}, limits(condition))
            for actions, condition in grants
        ]
        for key, grants in granted(synthesized(name)).items()
    }

    assert in_order(found) == in_order(documented(Environment.load(name, CHOSEN[name])))


def in_order(rows: Rows) -> Rows:
    return {key: sorted(grants, key=lambda grant: sorted(grant[0])) for key, grants in rows.items()}


def test_without_a_domain_and_a_peer_nobody_is_granted_what_they_need() -> None:
    assert granted(synthesized("prod")).keys() - granted(synthesized("dev")).keys() == {
        ("gateway", "certificate"),
        ("web", "peer_secret"),
        ("peer", "artifacts"),
    }


def may(
    program: Program, identity: str, action: str, *, path: str = "", prefix: str | None = None
) -> bool:
    return any(
        f"{BLOBS}/{action}" in actions and holds(condition, action, path=path, prefix=prefix)
        for actions, condition in granted(program)[identity, "artifacts"]
    )


@each
@pytest.mark.parametrize(
    ("path", "web", "worker"),
    [
        (IMAGE, {"write", "delete"}, {"read"}),
        (ART, {"read", "delete"}, {"read", "write"}),
        (STYLED_ART, {"read", "delete"}, {"read", "write"}),
        (LINK, {"read", "write"}, set()),
        ("readiness", set(), set()),
        (READ_ONLY_MARKER, set(), set()),
        (f"{DIGEST}/image/other", set(), set()),
    ],
)
def test_each_tier_may_do_its_own_to_each_kind_of_blob(
    name: str, path: str, web: set[str], worker: set[str]
) -> None:
    if name == "prod":  # with a peer, it copies art and links, and looks for the marker
        web = web | {
            ART: {"write"},
            STYLED_ART: {"write"},
            LINK: {"delete"},
            READ_ONLY_MARKER: {"read"},
        }.get(path, set())
    for identity, expected in (("web", web), ("worker", worker)):
        assert actions_on(path, identity, synthesized(name)) == expected, identity


def actions_on(path: str, identity: str, program: Program) -> set[str]:
    return {
        action
        for action in ("read", "write", "delete")
        if may(program, identity, action, path=path)
    }


def test_the_other_deployment_may_read_and_delete_what_it_can_name_and_nothing_else() -> None:
    program = synthesized("prod")
    copied = {IMAGE: {"read", "delete"}, ART: {"read", "delete"}, LINK: {"read"}}
    expected = {**copied, READ_ONLY_MARKER: set(), "readiness": set()}

    assert {path: actions_on(path, "peer", program) for path in expected} == expected
    for prefix, listed in {
        f"{DIGEST}/": True,
        "": False,
        "migration/": False,
        DIGEST: False,
    }.items():
        assert may(program, "peer", "read", prefix=prefix) is listed


@each
def test_whoever_deletes_blobs_may_send_the_batch_that_they_are_in(name: str) -> None:
    """Azure requires a permission on the container first, and then on each blob of the batch."""
    grants = granted(synthesized(name))
    deleting = {
        key
        for key, rows in grants.items()
        if any(f"{BLOBS}/delete" in actions for actions, _ in rows)
    }

    assert deleting == {("web", "artifacts"), ("peer", "artifacts")} & grants.keys()
    for key, rows in grants.items():
        assert any(CONTAINER_WRITE in actions for actions, _ in rows) is (key in deleting), key


@each
def test_nobody_may_list_keys_without_knowing_the_digest_of_their_image(name: str) -> None:
    program = synthesized(name)

    assert may(program, "web", "read", prefix=f"{DIGEST}/")
    for prefix in ("", "0", "*", DIGEST, f"{DIGEST[:-1]}/", f"{DIGEST}/image"):
        assert not may(program, "web", "read", prefix=prefix), prefix
    for prefix in ("", f"{DIGEST}/", "*"):
        assert not may(program, "worker", "read", prefix=prefix), prefix
    for identity in ("web", "worker"):
        ((_, condition),) = granted(program)[identity, "releases"]
        assert not holds(condition, "read", prefix="")
        assert holds(condition, "read", path="release.zip")


@each
def test_the_web_tier_only_sends_requests_and_workers_only_receive_them(name: str) -> None:
    messages = "Microsoft.Storage/storageAccounts/queueServices/queues/messages"
    found = granted(synthesized(name))

    assert found["web", "requests"] == [({f"{messages}/add/action"}, "")]
    assert all(
        f"{messages}/add/action" not in actions for actions, _ in found["worker", "requests"]
    )
    assert found["worker", "dead_letters"] == [({f"{messages}/add/action"}, "")]
    assert ("web", "dead_letters") not in found
    assert ("worker", "link_keys") not in found
