"""Every page has an example, so that `make test-browser` looks at all of them."""

from __future__ import annotations

from typing import get_args

from portal.visit import DOORS
from storage.people import Role
from tests.browser.examples import EXAMPLES, NO_PAGES, WITH_PROVIDER, pages


def test_every_page_has_an_example() -> None:
    """A page that is missing here is added to `tests.browser.examples.EXAMPLES`, a file for download to `NO_PAGES`."""
    assert set(EXAMPLES) | set(WITH_PROVIDER) == pages()
    assert {path for _, path in DOORS} >= NO_PAGES


def test_roles_of_the_examples_are_roles() -> None:
    assert {role for own in EXAMPLES.values() for _, role, _ in own if role} <= set(get_args(Role))
