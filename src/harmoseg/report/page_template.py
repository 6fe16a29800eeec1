"""The templates of the HTML pages."""

from __future__ import annotations

import jinja2


def page_template(name: str) -> jinja2.Template:
    """Open a template of this folder; what it is given is text, never markup."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("harmoseg.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
