{# What false-positive and escape rates were measured on, or why there are none; over the counts of these names. #}
{% macro rate_evidence() -%}
    case
        when labelled_count = 0 then 'none: no scored unit has a label or a review'
        when unseen_count = 0
            then 'none: training or the threshold saw all ' || cast(labelled_count as varchar)
                || ' labelled units (review others, or train with -o test=0.2)'
        else cast(good_count as varchar) || ' good and ' || cast(defective_count as varchar)
            || ' defective units that neither training nor the threshold saw'
    end
{%- endmacro %}
