"""Makes pages of templates. What comes from outside is text on them: no script is run, and none is needed."""

from collections.abc import Mapping
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader

HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of each answer with a page or its style."""


@cache
def environment() -> Environment:
    """The templates."""
    return Environment(loader=PackageLoader("s3d.page"), autoescape=True, trim_blocks=True, lstrip_blocks=True)


def render(name: str, **values: object) -> bytes:
    """A page."""
    # A key may have what is no character, which HTML cannot say.
    return environment().get_template(name).render(**values).encode("utf-8", "replace")


@cache
def style() -> bytes:
    """The style sheet of all pages."""
    return resources.files("s3d.page").joinpath("templates/style.css").read_bytes()
