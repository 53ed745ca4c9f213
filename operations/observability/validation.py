"""Finds parts of definitions that Datadog would reject or silently ignore. Only tests use this
module: it needs the package `datadog-api-client`.

The models of Datadog's client list every key and every enumeration value, but accept unknown ones:
a misspelled key is sent and has no effect. This module reads the models' schema and reports
anything outside it. The models treat queries and formulas as text; this module parses them with
`queries` and compares them with the metric catalogue.
"""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Final, Literal

from datadog_api_client.configuration import Configuration
from datadog_api_client.exceptions import OpenApiException
from datadog_api_client.model_utils import (
    ModelComposed,
    ModelNormal,
    ModelSimple,
    composed_model_input_classes,
    validate_and_convert_types,
)
from datadog_api_client.v1.model.dashboard import Dashboard
from datadog_api_client.v1.model.monitor import Monitor
from datadog_api_client.v1.model.service_level_objective_request import ServiceLevelObjectiveRequest
from datadog_api_client.v2.model.metric_tag_configuration_create_request import (
    MetricTagConfigurationCreateRequest,
)

from asciist.telemetry.metrics import CATALOGUE
from operations.observability import queries
from operations.observability.datadog import COMMON_TAGS, INTEGRATION_METRICS, SLO_ID
from operations.observability.queries import MetricQuery, QueryError

Kind = Literal["dashboard", "monitor", "slo", "metric"]

_MODELS: Final[dict[Kind, type]] = {
    "dashboard": Dashboard,
    "monitor": Monitor,
    "slo": ServiceLevelObjectiveRequest,
    "metric": MetricTagConfigurationCreateRequest,
}


class DefinitionError(Exception):
    """Datadog would reject or ignore a part of a definition; the message has one line for each
    mistake, with its path."""


_METRIC_MONITOR: Final = re.compile(
    r"(?P<over_time>avg|min|max|sum|percentile)\(last_\d+[mhd]\):(?P<expression>.+) (?:<=|>=|<|>)"
    r" (?P<threshold>[\d.]+)"
)
_TERM_OF_MONITOR: Final = re.compile(
    r"(?P<default>default_zero\()?(?P<query>.+?)(?P<rollup>\.rollup\((?:sum|avg|min|max),"
    r" \d+\))?(?(default)\))"
)
_COMPOSITE_MONITOR: Final = re.compile(r"(?:<[^<>]+>|\d+)(?: && (?:<[^<>]+>|\d+)){1,9}")
"""Two to ten monitors, each by its id or by a placeholder for it."""
_BURN_MONITOR: Final = re.compile(
    rf'burn_rate\("{SLO_ID}"\)\.over\("(?:7|30|90)d"\)\.long_window\("\d+[mh]"\)\.short_window\("\d+[mh]"\)'
    r" > (?P<threshold>[\d.]+)"
)


def check(kind: Kind, definition: Mapping[str, Any]) -> None:
    """Check the body of an API request; raises DefinitionError."""
    model = _MODELS[kind]
    mistakes = list(_against_type(definition, model, kind)) or list(
        _when_loaded(definition, model, kind)
    )
    if kind == "dashboard":
        variables = {
            f"${variable.get('name')}" for variable in definition.get("template_variables", [])
        }
        mistakes += _in_requests(definition, kind, variables)
    elif kind == "monitor":
        mistakes += _in_monitor(definition, kind)
    elif kind == "slo":
        for part, query in definition.get("query", {}).items():
            mistakes += _in_query(query, f"{kind}.query.{part}")
    if mistakes:
        raise DefinitionError("\n".join(mistakes))


# The schema


def _against(value: Any, kinds: Iterable[Any], path: str) -> list[str]:
    """Mistakes in a value of any of `kinds`, judged by the kind with the fewest mistakes."""
    candidates = [candidate for kind in kinds for candidate in _candidates(kind)]
    return min((list(_against_type(value, candidate, path)) for candidate in candidates), key=len)


def _candidates(kind: Any) -> list[Any]:
    """The alternatives of a composed model (`oneOf` in the schema), or the kind itself."""
    composed = isinstance(kind, type) and issubclass(kind, ModelComposed)
    return _composed_of(kind) if composed else [kind]


@cache
def _composed_of(kind: Any) -> list[Any]:
    # The client's helper has no types.
    kinds: list[Any] = composed_model_input_classes(kind)  # type: ignore[no-untyped-call]
    return kinds


def _against_type(value: Any, kind: Any, path: str) -> Iterator[str]:
    if isinstance(kind, list):
        if not isinstance(value, list):
            yield f"{path}: must be a list"
            return
        for number, item in enumerate(value):
            yield from _against(item, kind, f"{path}[{number}]")
    elif isinstance(kind, dict):
        if not isinstance(value, Mapping):
            yield f"{path}: must be an object"
    elif issubclass(kind, ModelSimple):
        allowed = getattr(kind, "allowed_values", None)
        if allowed and value not in allowed:
            yield f"{path}: {value!r} is not one of {', '.join(sorted(map(str, allowed)))}"
    elif issubclass(kind, ModelNormal):
        yield from _against_model(value, kind, path)
    elif isinstance(value, bool) != (kind is bool) or not isinstance(
        value, (float, int) if kind is float else kind
    ):
        yield f"{path}: {value!r} is not of type {kind.__name__}"


def _against_model(value: Any, model: Any, path: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{path}: must be an object"
        return
    types = model.openapi_types
    attributes = {key: attribute for attribute, key in model.attribute_map.items()}
    for key, item in value.items():
        if key in attributes:
            yield from _against(item, types[attributes[key]], f"{path}.{key}")
        else:
            yield f"{path}.{key}: unknown key"
    yield from (f"{path}.{key}: is missing" for key in _required(model) if key not in value)


@cache
def _required(model: Any) -> list[str]:
    """Required keys: those without a default in the model's constructor."""
    _, *parameters = inspect.signature(model.__init__).parameters.values()
    return [
        model.attribute_map[parameter.name]
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]


def _when_loaded(definition: Mapping[str, Any], model: type, path: str) -> Iterator[str]:
    """Mistakes reported by the client itself, such as an overlong text."""
    try:
        # Neither of these has types.
        client = Configuration()  # type: ignore[no-untyped-call]
        loaded = validate_and_convert_types(  # type: ignore[no-untyped-call]
            definition, (model,), [path], True, True, configuration=client
        )
    except (OpenApiException, TypeError, ValueError) as error:
        yield f"{path}: {error}"
    else:
        if loaded._unparsed:  # noqa: SLF001 - the client reports it in no other way
            yield f"{path}: the client cannot parse a part of it"


# Queries and formulas


def _in_requests(value: Any, path: str, variables: set[str]) -> Iterator[str]:
    """Mistakes in the requests of widgets, at any depth."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _in_requests(item, f"{path}[{number}]", variables)
    elif isinstance(value, Mapping):
        if "queries" in value:
            yield from _in_request(value, path, variables)
        for key, item in value.items():
            yield from _in_requests(item, f"{path}.{key}", variables)


def _in_request(request: Mapping[str, Any], path: str, variables: set[str]) -> Iterator[str]:
    names = [query.get("name") for query in request["queries"]]
    used: set[str] = set()
    for number, query in enumerate(request["queries"]):
        place = f"{path}.queries[{number}]"
        yield from _in_query(str(query.get("query")), f"{place}.query", variables)
        if (request.get("response_format") == "scalar") != ("aggregator" in query):
            yield f"{place}.aggregator: must be set for a scalar request, and for no other"
    for number, formula in enumerate(request.get("formulas", [])):
        place = f"{path}.formulas[{number}].formula"
        try:
            found = set(queries.names(queries.parse_formula(str(formula.get("formula")))))
        except QueryError as error:
            yield f"{place}: {error}"
            continue
        used |= found
        yield from (f"{place}: unknown query {name!r}" for name in sorted(found - set(names)))
    yield from (f"{path}: no formula uses the query {name!r}" for name in names if name not in used)


def _in_query(text: str, path: str, variables: Iterable[str] = ()) -> Iterator[str]:
    try:
        query = MetricQuery.parse(text)
    except QueryError as error:
        yield f"{path}: {error}"
        return
    own = CATALOGUE.get(query.metric)
    if own is None and query.metric not in INTEGRATION_METRICS:
        yield f"{path}: unknown metric {query.metric!r}"
        return
    for term in query.terms:
        if not term.key and term.text != "*" and term.text not in variables:
            yield f"{path}: unknown template variable {term.text!r}"
    tags = {*own.tags, *COMMON_TAGS, "host"} if own else set(INTEGRATION_METRICS[query.metric])
    used = {*query.by, *(term.key for term in query.terms if term.key)}
    yield from (f"{path}: {query.metric} has no tag {tag!r}" for tag in sorted(used - tags))
    if (query.is_percentile or query.aggregator == "count") and not (
        own and own.type == "distribution"
    ):
        yield f"{path}: {query.aggregator} needs a distribution, and {query.metric} is not one"
    if own and own.type == "count" and not (query.aggregator == "sum" and query.as_count):
        yield (
            f"{path}: {query.metric} is a count: query it by sum and .as_count(), or Datadog"
            " returns a rate"
        )
    if query.as_count and query.aggregator not in ("sum", "count"):
        yield f"{path}: .as_count() needs sum or count, not {query.aggregator}"


def _in_monitor(monitor: Mapping[str, Any], path: str) -> Iterator[str]:
    text = str(monitor.get("query"))
    patterns = {"slo alert": _BURN_MONITOR, "composite": _COMPOSITE_MONITOR}
    match = patterns.get(str(monitor.get("type")), _METRIC_MONITOR).fullmatch(text)
    if not match:
        yield f"{path}.query: {text!r} is not a query of a monitor of type {monitor.get('type')!r}"
        return
    if monitor.get("type") == "composite":
        return
    if monitor.get("options", {}).get("thresholds", {}).get("critical") != float(
        match["threshold"]
    ):
        yield (
            f"{path}.options.thresholds.critical: differs from the threshold of the query,"
            f" {match['threshold']}"
        )
    if monitor.get("type") != "slo alert":
        for term in match["expression"].split(" + "):
            yield from _in_monitor_term(term, match["over_time"], f"{path}.query")


def _in_monitor_term(text: str, over_time: str, path: str) -> Iterator[str]:
    term = _TERM_OF_MONITOR.fullmatch(text)
    if not term:
        yield f"{path}: {text!r} is not a term of a monitor"
        return
    query = term["query"]
    # A rollup states the period; without one, a count not queried as a count is a rate.
    yield from _in_query(
        f"{query}.as_count()" if (term["rollup"] or "").startswith(".rollup(sum") else query, path
    )
    if (over_time == "percentile") != bool(re.match(r"p\d", query)):
        yield f"{path}: percentile(…) aggregates percentiles over time, and nothing else does"
    if query.endswith(".as_count()") and over_time != "sum":
        yield f"{path}: Datadog accepts .as_count() only with sum(…) over time"
    if term["default"] and query.endswith(".as_count()"):
        yield f"{path}: Datadog advises against default_zero with .as_count() in monitors"
