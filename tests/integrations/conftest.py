"""The tests of an integration are collected where its framework is installed: `make test-integrations`."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("pydantic_ai") else ["test_pydantic_ai*.py"]
