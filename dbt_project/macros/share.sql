{# A share of nothing is no evidence: NULL, not 0. #}
{% macro share(part, whole) -%}
    (cast({{ part }} as double) / nullif({{ whole }}, 0))
{%- endmacro %}
