"""Check the seed `scoring_assignments` (which model scores which products), and warn about rows without effect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from models_py.suggestions import nearest

if TYPE_CHECKING:
    import duckdb

SHIPPED = {("pcb", "PCB-%"), ("tile", "TILE-%"), ("plate", "LGP-%"), ("strip", "STRIP-%")}
"""The demo's rows, which come with duckspect: no user wrote them, so there are no warnings about them."""

_SEED = "dbt_project/seeds/scoring_assignments.csv"
_MOST_NAMED = 20
_PRODUCTS = "select distinct product_type from raw.inspections where product_type is not null order by product_type"
_MODELS = "select distinct name from ml.model_versions order by name"
_ROWS = f"""
select assignments.model, assignments.product_pattern, count(products.product_type) > 0
from reference.scoring_assignments as assignments
left join ({_PRODUCTS}) as products on products.product_type like assignments.product_pattern
group by all
order by all
"""
_IDLE = """
select model
from dim_model_versions
where is_champion and model not in (select model from intermediate.int_inspections__assigned)
order by model
"""
_LEARNED_FROM = """
select distinct inspections.product_type
from ml.version_images as frozen
inner join raw.inspections as inspections using (image_id)
where
    frozen.name = ? and inspections.product_type is not null
    and frozen.version = (select version from ml.model_aliases where name = frozen.name and alias = 'champion')
order by inspections.product_type
"""


def doubts_about_assignments(con: duckdb.DuckDBPyConnection) -> list[str]:
    """A warning for each row of the seed that has no effect, and for each champion that scores nothing."""
    products, models = _column(con, _PRODUCTS), _column(con, _MODELS)
    if not products:
        return []
    idle = _column(con, _IDLE)
    doubts = []
    for model, pattern, has_products in con.execute(_ROWS).fetchall():
        if (model, pattern) in SHIPPED:
            continue
        if has_products and model not in models:
            doubts.append(
                f"scoring_assignments: there is no model {model!r} to judge {pattern}.{nearest(model, models)} "
                f"Registered: {_listed(models) or 'none'}. Correct the row in {_SEED}, or train the model."
            )
        elif not has_products and model in models and model not in idle:
            doubts.append(
                f"scoring_assignments: {pattern!r}, for the model {model}, is like no product that was inspected."
                f"{nearest(pattern, products)} Products: {_listed(products)}. Correct the row in {_SEED}."
            )
    return doubts + [_advice(con, model, products) for model in idle]


def _advice(con: duckdb.DuckDBPyConnection, model: str, products: Sequence[str]) -> str:
    """The products to suggest for a champion: those it was trained on, or all if none of these was inspected."""
    learned_from = _column(con, _LEARNED_FROM, [model])
    rows = [f"{model},{product}" for product in learned_from or products]
    which = "" if learned_from or len(rows) == 1 else "those that are right of "
    what = which + ("this row" if len(rows) == 1 else "these rows")
    return (
        f"{model} judges nothing: the seed scoring_assignments gives it none of the products {_listed(products)}. "
        f"Add {what} to {_SEED}: {'; '.join(rows)}"
    )


def _column(con: duckdb.DuckDBPyConnection, query: str, values: Sequence[str] = ()) -> list[str]:
    return [value for (value,) in con.execute(query, values).fetchall()]


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")
