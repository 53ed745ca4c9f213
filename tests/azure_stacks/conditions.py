"""Evaluator for conditions of Azure's role assignments, limited to the syntax used in this
project."""

import re

BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"

_CLAUSE = re.compile(
    r"\(\(!\(ActionMatches\{'(?P<action>[^']+)'\}(?: AND (?P<suboperation>(?:NOT"
    r" )?SubOperationMatches\{'Blob\.List'\}))?\)\)"
    r" OR \((?P<matches>[^()]+)\)\)"
)


def _like(value: str, pattern: str) -> bool:
    """Return the result of StringLike: * matches any characters and ? matches one, including
    slashes."""
    expression = "".join(
        {"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern
    )
    return re.fullmatch(expression, value, re.DOTALL) is not None


def holds(condition: str, action: str, *, path: str = "", prefix: str | None = None) -> bool:
    """Return True if a condition allows an action on a blob, or, with a prefix, listing blobs.

    Raises AssertionError for unsupported syntax.
    """
    clauses = list(_CLAUSE.finditer(condition))
    assert " AND ".join(clause[0] for clause in clauses) == condition
    for clause in clauses:
        is_list = prefix is not None
        applies = {"": True, "NOT ": not is_list}.get(
            (clause["suboperation"] or "").partition("Sub")[0], True
        )
        if clause["suboperation"] and not clause["suboperation"].startswith("NOT "):
            applies = is_list
        if clause["action"] != f"{BLOBS}/{action}" or not applies:
            continue
        matches = []
        for attribute in clause["matches"].split(" OR "):
            found = re.fullmatch(
                rf"@(Resource|Request)\[{BLOBS}:(path|prefix)\] StringLike '([^']*)'", attribute
            )
            assert found, attribute
            matches.append(_like((prefix or "") if found[2] == "prefix" else path, found[3]))
        if not any(matches):
            return False
    return True
