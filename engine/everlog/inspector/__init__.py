"""The inspector: an engine or a database in the browser. It needs the extra `ui`: `pip install 'everlog[ui]'`."""

from everlog.inspector.application import inspector
from everlog.inspector.people import Visitor
from everlog.inspector.settings import Change

__all__ = ["Change", "Visitor", "inspector"]
