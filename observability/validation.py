"""Finds what Datadog would refuse, or worse: silently ignore. For tests; needs the package `datadog-api-client`.

The models of Datadog's own client know every key and every value of an enumeration, but take what they do not know as it is: a
misspelled key is kept, and means nothing. So their schema is read here, and anything outside of it is a mistake. What they keep
as text, queries and formulas, is read by the grammar of `queries` and compared with the catalogue.
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
from datadog_api_client.v2.model.metric_tag_configuration_create_request import MetricTagConfigurationCreateRequest

from asciist.telemetry.metrics import CATALOGUE
from observability import queries
from observability.datadog import COMMON_TAGS, NEIGHBOURS, SLO_ID
from observability.queries import MetricQuery, QueryError

Kind = Literal["dashboard", "monitor", "slo", "metric"]

_MODELS: Final[dict[Kind, type]] = {
    "dashboard": Dashboard,
    "monitor": Monitor,
    "slo": ServiceLevelObjectiveRequest,
    "metric": MetricTagConfigurationCreateRequest,
}


class DefinitionError(Exception):
    """A definition is not what Datadog takes; the message lists every mistake with its place, a line each."""


_METRIC_MONITOR: Final = re.compile(
    r"(?P<over_time>avg|min|max|sum|percentile)\(last_\d+[mhd]\):(?P<query>.+) (?:<=|>=|<|>) (?P<threshold>[\d.]+)"
)
_BURN_MONITOR: Final = re.compile(
    rf'burn_rate\("{SLO_ID}"\)\.over\("(?:7|30|90)d"\)\.long_window\("\d+[mh]"\)\.short_window\("\d+[mh]"\)'
    r" > (?P<threshold>[\d.]+)"
)


def check(kind: Kind, definition: Mapping[str, Any]) -> None:
    """Raises DefinitionError."""
    model = _MODELS[kind]
    mistakes = list(_against_type(definition, model, kind)) or list(_when_loaded(definition, model, kind))
    if kind == "dashboard":
        variables = {f"${variable.get('name')}" for variable in definition.get("template_variables", [])}
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
    """What is wrong with a value that may be of any of `kinds`: the mistakes of the kind that it is most like."""
    candidates = [candidate for kind in kinds for candidate in _candidates(kind)]
    return min((list(_against_type(value, candidate, path)) for candidate in candidates), key=len)


def _candidates(kind: Any) -> list[Any]:
    """The kinds of which `kind` is one, where it is one of several."""
    composed = isinstance(kind, type) and issubclass(kind, ModelComposed)
    return _composed_of(kind) if composed else [kind]


@cache
def _composed_of(kind: Any) -> list[Any]:
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
    elif isinstance(value, bool) != (kind is bool) or not isinstance(value, (float, int) if kind is float else kind):
        yield f"{path}: {value!r} is no {kind.__name__}"


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
            yield f"{path}.{key}: Datadog knows no such key"
    yield from (f"{path}.{key}: is missing" for key in _required(model) if key not in value)


@cache
def _required(model: Any) -> list[str]:
    """The keys that the constructor of a model has no default for."""
    _, *parameters = inspect.signature(model.__init__).parameters.values()
    return [
        model.attribute_map[parameter.name]
        for parameter in parameters
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]


def _when_loaded(definition: Mapping[str, Any], model: type, path: str) -> Iterator[str]:
    """What the client itself complains of, such as a text that is too long."""
    try:
        client = Configuration()  # type: ignore[no-untyped-call]
        loaded = validate_and_convert_types(  # type: ignore[no-untyped-call]
            definition, (model,), [path], True, True, configuration=client
        )
    except (OpenApiException, TypeError, ValueError) as error:
        yield f"{path}: {error}"
    else:
        if loaded._unparsed:  # noqa: SLF001 - how the client says so
            yield f"{path}: the client does not understand a part of it"


# Queries and formulas


def _in_requests(value: Any, path: str, variables: set[str]) -> Iterator[str]:
    """What is wrong with the requests of widgets, wherever they are."""
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
            yield f"{place}.aggregator: belongs to the queries of scalars, and to no other"
    for number, formula in enumerate(request.get("formulas", [])):
        place = f"{path}.formulas[{number}].formula"
        try:
            found = set(queries.names(queries.parse_formula(str(formula.get("formula")))))
        except QueryError as error:
            yield f"{place}: {error}"
            continue
        used |= found
        yield from (f"{place}: there is no query {name!r}" for name in sorted(found - set(names)))
    yield from (f"{path}: no formula uses the query {name!r}" for name in names if name not in used)


def _in_query(text: str, path: str, variables: Iterable[str] = ()) -> Iterator[str]:
    try:
        query = MetricQuery.parse(text)
    except QueryError as error:
        yield f"{path}: {error}"
        return
    own = CATALOGUE.get(query.metric)
    if own is None and query.metric not in NEIGHBOURS:
        yield f"{path}: there is no metric {query.metric!r}"
        return
    for term in query.terms:
        if not term.key and term.text != "*" and term.text not in variables:
            yield f"{path}: there is no template variable {term.text!r}"
    tags = {*own.tags, *COMMON_TAGS, "host"} if own else set(NEIGHBOURS[query.metric])
    asked = {*query.by, *(term.key for term in query.terms if term.key)}
    yield from (f"{path}: {query.metric} has no tag {tag!r}" for tag in sorted(asked - tags))
    if (query.is_percentile or query.aggregator == "count") and not (own and own.type == "distribution"):
        yield f"{path}: {query.aggregator} is of distributions, and {query.metric} is none"
    if own and own.type == "count" and not (query.aggregator == "sum" and query.as_count):
        yield f"{path}: {query.metric} is a count, which is added up: sum, and .as_count(), or it is a rate"
    if query.as_count and query.aggregator not in ("sum", "count"):
        yield f"{path}: .as_count() is of what is added up, and {query.aggregator} is not"


def _in_monitor(monitor: Mapping[str, Any], path: str) -> Iterator[str]:
    text = str(monitor.get("query"))
    match = (_BURN_MONITOR if monitor.get("type") == "slo alert" else _METRIC_MONITOR).fullmatch(text)
    if not match:
        yield f"{path}.query: {text!r} is no query of a monitor of type {monitor.get('type')!r}"
        return
    if monitor.get("options", {}).get("thresholds", {}).get("critical") != float(match["threshold"]):
        yield f"{path}.options.thresholds.critical: is not the threshold of the query, {match['threshold']}"
    if "query" in match.groupdict():
        yield from _in_query(match["query"], f"{path}.query")
        if (match["over_time"] == "percentile") != bool(re.match(r"p\d", match["query"])):
            yield f"{path}.query: a percentile is taken over time by percentile(…), and nothing else is"
