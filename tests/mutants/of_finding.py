"""Mutants of how the SQLite store keeps attributes, and finds and counts by them."""

from __future__ import annotations

from tests.mutants.making import Mutant

PLAN = "planning.py"
STORE = "store.py"
WRITING = "writing.py"
LISTINGS = "listings.py"
FIND = "sql/find_by_attribute.sql"
LIST = "sql/list_workflows.sql"
COUNT = "sql/count_workflows.sql"

FINDING = [
    Mutant(
        "attributes-of-the-created-lost",
        "a creation has its attributes",
        PLAN,
        "self._keep(head, new.attributes)",
        "pass",
    ),
    Mutant(
        "old-attributes-stay",
        "a name that is given anew has no value of before",
        WRITING,
        'connection.execute(sql.DROP_ATTRIBUTES, {"dropped": array(plan.dropped)})',
        "pass",
    ),
    Mutant(
        "attributes-change-all-together",
        "attributes change name by name",
        "sql/drop_attributes.sql",
        "(workflow_id, name) IN (\n    SELECT json_extract(dropped.value, '$[0]'), json_extract(dropped.value, '$[1]')",
        "workflow_id IN (\n    SELECT json_extract(dropped.value, '$[0]')",
    ),
    Mutant(
        "attributes-outlive-the-workflow",
        "what is removed leaves no attributes",
        "statements.py",
        '        "delete_attributes",\n',
        "",
    ),
    Mutant(
        "attributes-change-on-the-short-way",
        "a commit that only changes attributes changes them",
        PLAN,
        "            or commit.attributes\n",
        "",
    ),
    Mutant(
        "any-value-fits", "the value is what was asked for", FIND, "                AND fit.value = wanted.value\n", ""
    ),
    Mutant(
        "two-values-twice",
        "what has two of the values is given once",
        FIND,
        "SELECT DISTINCT heads.*",
        "SELECT heads.*",
    ),
    Mutant(
        "a-page-of-each-value",
        "a page by attribute is no longer than was asked for",
        FIND,
        "    ORDER BY heads.created_at DESC, heads.workflow_id DESC\n    LIMIT :limit\n",
        "    ORDER BY heads.created_at DESC, heads.workflow_id DESC\n",
    ),
    Mutant(
        "one-attribute-will-do",
        "all attributes that are asked for are there",
        FIND,
        "AND :others_wanted = (",
        "AND 0 <= (",
    ),
    Mutant(
        "absent-or-not",
        "a name that is not to be there is not",
        FIND,
        "absent.name IN (SELECT value FROM json_each(:absent))",
        "absent.name IN (SELECT value FROM json_each('[]'))",
    ),
    Mutant(
        "absent-alone-or-not",
        "a name that is not to be there is not, where nothing else is asked",
        LIST,
        "FROM json_each(:absent) AS missing",
        "FROM json_each('[]') AS missing",
    ),
    Mutant(
        "by-attribute-of-any-state",
        "a listing by attribute is of the states that were asked for",
        FIND,
        "                AND (:states IS NULL OR found.state IN (SELECT value FROM json_each(:states)))\n",
        "",
    ),
    Mutant(
        "by-attribute-upside-down",
        "the first page by attribute has the newest",
        FIND,
        "ORDER BY fit.created_at DESC, fit.workflow_id DESC",
        "ORDER BY fit.created_at, fit.workflow_id",
    ),
    Mutant(
        "newest-only", "a listing can begin with the oldest", "statements.py", 'sql.replace(" DESC", " ASC")', "sql"
    ),
    Mutant(
        "prefix-anywhere",
        "ids begin with the prefix",
        LISTINGS,
        '"id_until": after_prefix(query.id_prefix)',
        '"id_until": None',
    ),
    Mutant(
        "ended-at-the-border",
        "what ended at the second time is not meant",
        LIST,
        "ended_at < :ended_until",
        "ended_at <= :ended_until",
    ),
    Mutant(
        "counts-of-a-page",
        "counts are of all pages",
        LISTINGS,
        "structs.replace(query, after=None)",
        "structs.replace(query)",
    ),
    Mutant(
        "counts-of-one-attribute",
        "counts are of what has all attributes",
        COUNT,
        "HAVING count(DISTINCT other.name) = :others_wanted",
        "HAVING count(DISTINCT other.name) > 0",
    ),
]
