"""The dashboard: `duckspect dashboard` starts it."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from types import ModuleType

import streamlit as st

from dashboard.filters import choose
from dashboard.published_copy import find_source
from dashboard.views import about, models, overview, review_desk, vision_lab
from models_py.errors import DuckspectError

st.set_page_config(
    "duckspect", ":material/frame_inspect:", "wide", menu_items={"About": "Visual quality inspection in SQL."}
)
_PAGES = (
    (overview, "Overview", ":material/monitoring:"),
    (vision_lab, "Vision Lab", ":material/science:"),
    (review_desk, "Review desk", ":material/rate_review:"),
    (models, "Models", ":material/model_training:"),
    (about, "About", ":material/info:"),
)


def _page(view: ModuleType) -> Callable[[], None]:
    def show() -> None:
        source = find_source()
        view.show(source, choose(source, view.FILTERS))

    return show


@st.cache_resource(show_spinner=False)
def _get_ready() -> None:
    """Import the slow libraries in the background while the user reads the first page."""
    threading.Thread(target=importlib.import_module, args=("udfs.runtime",), daemon=True).start()


def main() -> None:
    """Show the page that the URL names."""
    pages = [
        st.Page(
            _page(view),
            title=title,
            icon=icon,
            url_path=title.lower().replace(" ", "-"),
            default=view is overview,
        )
        for view, title, icon in _PAGES
    ]
    chosen = st.navigation(pages)
    try:
        chosen.run()
        _get_ready()
    except DuckspectError as error:
        st.error(str(error), icon=":material/error:")


main()
