"""Postfix's own file about a MySQL server, mysql_table(5), as far as it is of use to us.  Pure.

A site that has such a file for its Postfix names it, and writes nothing down twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_WORD = r"`?([A-Za-z0-9_$]+)`?"

_FROM = re.compile(rf"\bfrom\s+{_WORD}", re.IGNORECASE)

_WHERE = re.compile(rf"\b{_WORD}\s*=\s*'%[su]'", re.IGNORECASE)
"""The column that a query compares with what was looked up."""


def settings(text: str) -> dict[str, str]:
    """The settings of a file in the syntax of main.cf: ``name = value``, indented lines go on."""
    joined: list[str] = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace() and joined:
            joined[-1] += " " + line.strip()
        else:
            joined.append(line.strip())
    pairs = (line.partition("=") for line in joined)
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def table_of(found: Mapping[str, str]) -> tuple[str, str]:
    """The table and the column of addresses that the file names, in the old way of saying it or in
    a query; empty where it does not.
    """
    query = found.get("query", "")
    name, column = _FROM.search(query), _WHERE.search(query)
    return (
        found.get("table") or (name[1] if name else ""),
        found.get("where_field") or (column[1] if column else ""),
    )
