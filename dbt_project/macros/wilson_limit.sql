{# Lower ('-') or upper ('+') limit of Wilson's 95 % interval of a share; NULL without any evidence, never outside 0 to 1. #}
{% macro wilson_limit(part, whole, side) -%}
    {%- set z2 = "3.841458820694124e0" -%} {#- 1.96 squared, the 97.5 % quantile of the normal distribution -#}
    {%- set p = "(cast(" ~ part ~ " as double) / nullif(" ~ whole ~ ", 0))" -%}
    {%- set bound = "(" ~ p ~ " + " ~ z2 ~ " / (2 * " ~ whole ~ ") " ~ side ~ " sqrt(" ~ z2 ~ " * (" ~ p ~ " * (1 - "
        ~ p ~ ") + " ~ z2 ~ " / (4 * " ~ whole ~ ")) / " ~ whole ~ ")) / (1 + " ~ z2 ~ " / " ~ whole ~ ")" -%}
    {%- if side == '-' -%}
        case when {{ whole }} > 0 then case when {{ part }} = 0 then 0.0e0 else {{ bound }} end end
    {%- else -%}
        case when {{ whole }} > 0 then case when {{ part }} = {{ whole }} then 1.0e0 else {{ bound }} end end
    {%- endif -%}
{%- endmacro %}
