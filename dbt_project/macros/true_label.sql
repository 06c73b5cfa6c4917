{# What an image is, for somebody who compares it with a label: that label if it is one of the image's, else the most frequent one. #}
{% macro true_label(said, images) -%}
    if(list_contains({{ images }}.gold_labels, {{ said }}), {{ said }}, {{ images }}.gold_label)
{%- endmacro %}
