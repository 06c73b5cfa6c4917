{# What counts as a defect, for stored predictions: the rule of `models_py/model/verdict.py`, which a test holds equal. #}

{# What holds for a version without an operating point; of the other tasks nothing can be said without one. #}
{% macro default_threshold(task) -%}
    case {{ task }} when 'detect' then 0.25e0 when 'segment' then 0.0e0 end
{%- endmacro %}

{# The regions with the threshold of each: that of its class, else of all classes. `thresholds` is a map, or null. #}
{% macro operated_regions(regions, thresholds, threshold) -%}
    list_transform(
        {{ regions }},
        lambda region, number: struct_pack(
            region_number := number,
            label := region.label,
            confidence := region.confidence,
            threshold := coalesce({{ thresholds }}[region.label], {{ threshold }}),
            x1 := region.x1,
            y1 := region.y1,
            x2 := region.x2,
            y2 := region.y2,
            area_px := coalesce(region.area, (region.x2 - region.x1) * (region.y2 - region.y1))
        )
    )
{%- endmacro %}

{# The regions that count; an anomaly has no place. Null where nothing can be decided: an image that nobody judged is not good. #}
{% macro defects(task, score, confidence, threshold, regions) -%}
    case
        when {{ task }} in ('detect', 'segment')
            then list_filter({{ regions }}, lambda region: region.confidence >= region.threshold)
        when {{ task }} = 'classify' and coalesce({{ score }} >= {{ threshold }}, {{ regions }}[1].label <> 'good')
            then list_filter({{ regions }}, lambda region: region.label <> 'good')[1:1]
        when {{ task }} = 'anomaly' and {{ threshold }} is null then null
        when {{ task }} = 'anomaly' and {{ score }} >= {{ threshold }}
            then [
                struct_pack(
                    region_number := 1,
                    label := 'anomaly',
                    confidence := {{ confidence }},
                    threshold := {{ threshold }},
                    x1 := cast(null as double),
                    y1 := cast(null as double),
                    x2 := cast(null as double),
                    y2 := cast(null as double),
                    area_px := cast(null as double)
                )
            ]
        else []
    end
{%- endmacro %}

{# The class of the surest defect, of equally sure ones the last in the alphabet; good without any. #}
{% macro verdict_label(defects) -%}
    case
        when len({{ defects }}) > 0
            then list_reverse_sort(list_transform(
                {{ defects }}, lambda defect: struct_pack(confidence := defect.confidence, label := defect.label)
            ))[1].label
        when {{ defects }} is not null then 'good'
    end
{%- endmacro %}
