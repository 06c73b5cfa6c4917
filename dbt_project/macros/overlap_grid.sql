{# The overlaps (IoU) at which boxes are matched: DeepPCB's, COCO's ten, and the one at which two are the same defect. #}
{% macro overlap_grid() -%}
    select unnest(list_distinct([
        0.33, {{ var('same_defect_overlap') }}, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95
    ]::double [])) as iou_threshold
{%- endmacro %}
