{# The relations of this warehouse are written as schema.table, without the database: DuckDB stores a view's text as it is
   and looks such names up in the view's own file first, whatever the file is called and attached as. #}
{% macro ref() %}
    {{ return(name_within_warehouse(builtins.ref(*varargs, **kwargs))) }}
{% endmacro %}

{% macro source() %}
    {{ return(name_within_warehouse(builtins.source(*varargs, **kwargs))) }}
{% endmacro %}

{% macro name_within_warehouse(relation) %}
    {{ return(relation.include(database=relation.database != target.database)) }}
{% endmacro %}
