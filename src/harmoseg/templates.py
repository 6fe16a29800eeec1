"""Templates of pages.

Jinja2 is imported with this module, so that a command that ends with a page says that it is missing
before the work is begun.
"""

from __future__ import annotations

import jinja2


def open_template(package: str, name: str) -> jinja2.Template:
    """Open a template of a page in a package; what it is given is text, never markup."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package, "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
