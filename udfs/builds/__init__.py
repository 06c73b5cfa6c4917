"""Run the dbt project, publish a copy for readers, export the KPI layer. The SQL is in `dbt_project`."""
