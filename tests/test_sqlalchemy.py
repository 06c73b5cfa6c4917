"""SQLAlchemy, and with it Superset, finds its way in the published copy, and may only read."""

import shutil
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest
from sqlalchemy import MetaData, Table, create_engine, func, inspect, select, text, types
from sqlalchemy.exc import SQLAlchemyError

from udfs.builds.build import publish

VIEWS = sorted(file.stem for file in (Path(__file__).parents[1] / "dbt_project/models/kpi").glob("kpi_*.sql"))
pytestmark = pytest.mark.filterwarnings("ignore:duckdb-engine doesn't yet support reflection on indices")


@pytest.fixture(scope="module")
def engine(built_plant, tmp_path_factory):
    """As Superset opens the published copy, by URL alone."""
    published = publish(shutil.copy(built_plant, tmp_path_factory.mktemp("readers")))
    engine = create_engine(f"duckdb:///{published}?access_mode=read_only")
    yield engine
    engine.dispose()


def test_finds_schemas_tables_and_views(engine):
    plant = inspect(engine)
    assert {"w.main", "w.raw", "w.staging"} <= set(plant.get_schema_names())
    for schema in ("main", "w.main"):
        assert set(VIEWS) <= set(plant.get_view_names(schema=schema))
        assert {"dim_dates", "dim_lines", "defect_log"} <= set(plant.get_table_names(schema=schema))


def test_finds_columns_with_types_and_comments(engine, built_plant):
    plant = inspect(engine)
    expected = {"version": types.Integer, "is_false_positive": types.Boolean, "confidence": types.Float}
    expected |= {"production_date": types.Date, "captured_at": types.DateTime, "line_id": types.String}
    with duckdb.connect(built_plant, read_only=True) as con:
        for view in [*VIEWS, "dim_dates", "defect_log"]:
            columns = plant.get_columns(view, schema="main")
            described = con.execute(
                "select column_name, comment from duckdb_columns() where schema_name = 'main' and table_name = ? "
                "order by column_index",
                [view],
            ).fetchall()
            assert [(column["name"], column["comment"]) for column in columns] == described
            assert all(comment for _, comment in described)
            for column in columns:
                assert isinstance(column["type"], expected.get(column["name"], object))
            assert plant.get_table_comment(view, schema="main")["text"].startswith("One row")
            plant.get_indexes(view, schema="main")
            assert plant.get_foreign_keys(view, schema="main") == []
            assert plant.get_pk_constraint(view, schema="main")["constrained_columns"] == []
    table = Table("kpi_daily_quality", MetaData(), autoload_with=engine)
    assert isinstance(table.c.unit_count.type, types.BigInteger)


def test_answers_a_query_with_a_time_filter_and_refuses_to_write(engine, built_plant):
    daily = Table("kpi_daily_quality", MetaData(), autoload_with=engine)
    week = func.date_trunc("week", daily.c.production_date)
    with engine.connect() as con, duckdb.connect(built_plant, read_only=True) as plain:
        for view in VIEWS:
            query = f"select * from {view}"
            assert len(con.execute(text(query)).fetchall()) == len(plain.execute(query).fetchall())
        first, last = con.execute(select(func.min(daily.c.production_date), func.max(daily.c.production_date))).one()
        units = select(week, func.sum(daily.c.unit_count)).group_by(week)
        everything, nothing, some = (
            con.execute(units.where(daily.c.production_date >= start, daily.c.production_date < end)).fetchall()
            for start, end in ((first, last + timedelta(1)), (last + timedelta(1), last), (first, first + timedelta(7)))
        )
        assert nothing == []
        assert sum(count for _, count in everything) == 120
        assert 0 < sum(count for _, count in some) < 120
        with pytest.raises(SQLAlchemyError, match="read-only mode"):
            con.execute(text("create table notes (words varchar)"))


def test_reads_a_new_copy_once_its_connections_are_closed(plant_copy):
    """And the old one until then: a file that is replaced stays there for those who have it open."""
    engine = create_engine(f"duckdb:///{publish(plant_copy)}?access_mode=read_only")
    query = text("select unit_count from kpi_summary")
    with engine.connect() as con:
        assert con.execute(query).scalar() == 120
        with duckdb.connect(plant_copy) as writer:
            writer.execute("update agg_inspections_daily set unit_count = 0")
        publish(plant_copy)
        assert con.execute(query).scalar() == 120
    with engine.connect() as con:  # from the pool
        assert con.execute(query).scalar() == 120
    engine.dispose()
    with engine.connect() as con:
        assert con.execute(query).scalar() == 0
    engine.dispose()
