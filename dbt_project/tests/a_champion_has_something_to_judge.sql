{{ config(severity='warn') }}
-- A model that is registered but assigned to no product that was inspected looks like a plant without defects.
select versions.model
from {{ ref('dim_model_versions') }} as versions
anti join {{ ref('int_inspections__assigned') }} as assigned on versions.model = assigned.model
where versions.is_champion and exists (from {{ ref('stg_raw__inspections') }})
