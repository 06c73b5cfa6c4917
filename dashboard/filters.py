"""The filters of all pages, stored in the URL so that a view can be shared."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import streamlit as st

from dashboard.published_copy import PublishedCopy

_LISTS = ("line", "product", "shift", "model")


@dataclass(frozen=True, slots=True)
class PageFilters:
    """The values of the filters; an empty list means all."""

    since: date
    until: date
    line: list[str]
    product: list[str]
    shift: list[str]
    model: list[str]

    @property
    def values(self) -> dict[str, Any]:
        """The values for the parameters of the SQL."""
        return {name: getattr(self, name) for name in ("since", "until", *_LISTS)}

    @property
    def before(self) -> dict[str, Any]:
        """The period before, as long as this one."""
        days = (self.until - self.since).days + 1
        return {**self.values, "since": self.since - timedelta(days), "until": self.since - timedelta(1)}


def choose(source: PublishedCopy, names: tuple[str, ...]) -> PageFilters:
    """Show the filters that a page has, and read them; `time` is from and to."""
    known = source.rows("choices").iloc[0]
    first, last = _day(known["first_date"]), _day(known["last_date"])
    since, until = first, last
    lists: dict[str, list[str]] = {name: [] for name in _LISTS}
    with st.sidebar:
        if names:
            st.subheader("PageFilters", anchor=False)
        if "time" in names:
            since = st.date_input("From", _recent(first, last), first, last, key="from", bind="query-params")
            until = st.date_input("To", last, first, last, key="to", bind="query-params")
        for name in (item for item in _LISTS if item in names):
            title = name.capitalize()
            lists[name] = st.multiselect(title, list(known[name]), key=name, placeholder="all", bind="query-params")
    return PageFilters(min(since, until), max(since, until), **lists)


def _day(value: Any) -> date:
    return date.today() if value is None or value != value else value.date()


def _recent(first: date, last: date) -> date:
    """The default period: the later half of the data, at most a month, so that there is a period before it."""
    return max(first, last - timedelta(min(29, (last - first).days // 2)))
