"""Start Streamlit after importing what the first page needs: `python -m dashboard --server.port=8501`."""

from __future__ import annotations

import sys
from pathlib import Path

import altair  # noqa: F401 - here, so that the first visitor does not wait for it
import pandas  # noqa: F401
from streamlit.web.cli import main

import udfs.builds.build
import udfs.session.session  # noqa: F401
from udfs.session.host import prepare_process

if __name__ == "__main__":
    prepare_process()
    sys.argv = ["streamlit", "run", str(Path(__file__).with_name("app.py")), *sys.argv[1:]]
    main()
