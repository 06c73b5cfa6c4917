{# The adapter asks for the columns of each relation first, which takes longer than the comments. A test holds that what
   is described is what is there. #}
{% macro duckdb__alter_column_comment(relation, column_dict) %}
    {% for name, column in column_dict.items() %}
        comment on column {{ relation }}.{{ name }} is {{ duckdb_escape_comment(column['description']) }};
    {% endfor %}
{% endmacro %}
