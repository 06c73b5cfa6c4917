"""The dbt project from outside: building, publishing a copy, exporting the KPI layer. The SQL is in `dbt_project`."""
