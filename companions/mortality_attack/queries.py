"""The queries on MIMIC-III: one text for DuckDB on CSV files and for a PostgreSQL server.

Both know ``extract(epoch from …)``, ``interval '12 hours'`` and inline ``values``, so nothing of
the text differs; what does is how the tables come to have their names
(:mod:`~companions.mortality_attack.extract`).
"""

from __future__ import annotations

from companions.mortality_attack import features

#: Hours of observation; the prediction is made at their end.
HOURS = 48
#: ITEMID of the specimen of a blood gas analysis.
SPECIMEN = 50800
#: In °F, as the reported query has it.
FAHRENHEIT = (70, 120)

#: A row an ICU stay, with what decides whether it is kept. Times in hours, age in years.
STAYS = """
select i.icustay_id as stay, i.subject_id as patient, i.hadm_id, i.intime, a.admittime, a.dischtime,
       a.hospital_expire_flag as died, p.gender, i.first_careunit as unit,
       extract(epoch from (i.intime - p.dob)) / 31557600 as age,
       extract(epoch from (a.dischtime - a.admittime)) / 3600 as hospital_hours,
       extract(epoch from (i.outtime - i.intime)) / 3600 as icu_hours,
       row_number() over (partition by i.hadm_id order by i.intime, i.icustay_id) as place,
       a.has_chartevents_data as charted
from icustays i
join admissions a on a.hadm_id = i.hadm_id
join patients p on p.subject_id = i.subject_id
"""

#: Why a stay is left out, in this order, and the condition under which it stays.
KEPT = {
    "without chart events": "charted = 1",
    "with a time missing": (
        "age is not null and hospital_hours is not null and icu_hours is not null"
    ),
    "younger than 18 years": "age >= 18",
    "in hospital for less than a day": "hospital_hours >= 24",
    "in the ICU for less than a day": "icu_hours >= 24",
    f"in the ICU for less than {HOURS} hours": f"icu_hours >= {HOURS}",
    "a later stay of an admission": "place = 1",
}


def stays() -> str:
    """All stays with a column a condition of :data:`KEPT`, ``kept_0`` and so on."""
    flags = ", ".join(
        f"case when {condition} then 1 else 0 end as kept_{place}"
        for place, condition in enumerate(KEPT.values())
    )
    return f"with every as ({STAYS}) select every.*, {flags} from every order by stay"


def events() -> str:
    """Hourly means of the kept stays: stay, hour, feature (its place), value, repeated.

    ``repeated`` says how often the one row of an hour (by ROW_ID) stands in its table again: a
    table pasted twice shows in all hours of one measurement. Hours before admission and from hour
    48 on are cut to those next to the window, which only the reported interpolation uses. Gas
    analyses of more than one specimen are left out; laboratory values without an admission are
    those of the one at most 12 hours away.
    """
    return f"""
with every as ({STAYS}),
stays as (select * from every where {" and ".join(KEPT.values())}),
items (itemid, feature, low, high, scale, shift, gas) as (values {_items()}),
mixed as (
    select hadm_id, charttime from labevents where itemid = {SPECIMEN}
    group by hadm_id, charttime having count(*) > 1
),
measured as (
    select s.stay, floor(extract(epoch from (e.charttime - s.intime)) / 3600) as hour, i.feature,
           e.valuenum * i.scale + i.shift as value, e.row_id
    from chartevents e
    join items i on i.itemid = e.itemid
    join stays s on s.stay = e.icustay_id
    where e.valuenum > i.low and e.valuenum < i.high and coalesce(e.error, 0) <> 1
    union all
    select s.stay, floor(extract(epoch from (e.charttime - s.intime)) / 3600) as hour, i.feature,
           e.valuenum as value, e.row_id
    from labevents e
    join items i on i.itemid = e.itemid
    join stays s on s.patient = e.subject_id
    left join mixed m on m.hadm_id = e.hadm_id and m.charttime = e.charttime and i.gas = 1
    where e.valuenum > i.low and e.valuenum < i.high and m.hadm_id is null
      and (e.hadm_id = s.hadm_id or (e.hadm_id is null
           and e.charttime between s.admittime - interval '12 hours'
                               and s.dischtime + interval '12 hours'))
),
hourly as (
    select stay, hour, feature, avg(value) as value,
           case when count(row_id) > 1 and min(row_id) = max(row_id) then count(row_id) - 1
                else 0 end as repeated
    from measured group by stay, hour, feature
),
bounded as (
    select hourly.*,
           max(case when hour < 0 then hour end) over series as last_before,
           min(case when hour >= {HOURS} then hour end) over series as first_after
    from hourly window series as (partition by stay, feature)
)
select stay, cast(hour as integer) as hour, feature, value, repeated from bounded
where hour between 0 and {HOURS - 1} or hour = last_before or hour = first_after
order by stay, feature, hour
"""


def itemids(group: str) -> list[int]:
    """ITEMIDs of laboratory (the specimen among them) or vital signs."""
    found = [
        int(item.rstrip("F"))
        for feature in features.table()
        if feature.group == group
        for item in feature.items
    ]
    return found + [SPECIMEN] * (group == "laboratory")


def _items() -> str:
    """Rows of the inline table: a Fahrenheit item has its own limits, and becomes Celsius."""
    rows = []
    for place, feature in enumerate(features.table()):
        for item in feature.items:
            low, high, scale, shift = feature.low, feature.high, 1.0, 0.0
            if item.endswith("F"):
                (low, high), scale, shift = FAHRENHEIT, 1 / 1.8, -32 / 1.8
            row = (
                int(item.rstrip("F")),
                place,
                low,
                high,
                scale,
                shift,
                int(feature.specimen == "gas"),
            )
            rows.append(f"({', '.join(map(repr, row))})")
    return ", ".join(rows)
