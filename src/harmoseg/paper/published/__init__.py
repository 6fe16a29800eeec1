"""The numbers of the paper's Tables 1 to 6 as data, and looking them up."""

from harmoseg.paper.published.cells import (
    PublishedCell,
    PublishedColumn,
    find_published,
    published_columns,
    read_published,
)

__all__ = [
    "PublishedCell",
    "PublishedColumn",
    "find_published",
    "published_columns",
    "read_published",
]
