{# Intersection over union of the boxes of two relations; 0 where they do not touch. #}
{% macro overlap(one, other) -%}
    {%- set width = "greatest(0, least(" ~ one ~ ".x2, " ~ other ~ ".x2) - greatest(" ~ one ~ ".x1, " ~ other ~ ".x1))" -%}
    {%- set height = "greatest(0, least(" ~ one ~ ".y2, " ~ other ~ ".y2) - greatest(" ~ one ~ ".y1, " ~ other ~ ".y1))" -%}
    {%- set shared = "(" ~ width ~ " * " ~ height ~ ")" -%}
    {%- set area_one = "((" ~ one ~ ".x2 - " ~ one ~ ".x1) * (" ~ one ~ ".y2 - " ~ one ~ ".y1))" -%}
    {%- set area_other = "((" ~ other ~ ".x2 - " ~ other ~ ".x1) * (" ~ other ~ ".y2 - " ~ other ~ ".y1))" -%}
    ({{ shared }} / nullif({{ area_one }} + {{ area_other }} - {{ shared }}, 0))
{%- endmacro %}
