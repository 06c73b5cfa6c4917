{# Whether a verdict at the operating threshold names one of the image's labels; an anomaly detector knows no classes. #}
{% macro is_right(judged, truths) -%}
    if(
        {{ judged }}.task = 'anomaly',
        {{ judged }}.is_flagged = {{ truths }}.is_defective,
        list_contains({{ truths }}.gold_labels, {{ judged }}.predicted_label)
    )
{%- endmacro %}
