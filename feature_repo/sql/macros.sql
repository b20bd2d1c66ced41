{#
Exact window features as validity intervals.

A window of w days is right at every moment if each day's amount enters it the day after and leaves
it w days later; summing these signed changes in time gives the value, and a row exists only where
something changed. A distinct thing (an article, a customer) enters only if no earlier purchase of
it still counts, and leaves only if no later purchase of it has taken over.

`over` lists the windows: those that a view does not show must be left out, or the view gets rows
in which nothing changed.
#}

{# Two columns per window for a distinct count: how many things enter and how many leave the count
   because of one day. `key` and `thing` are columns of a CTE with one row per (key, thing, day). #}
{%- macro distinct_changes(name, things, key, thing, over=windows) %}
SELECT
    {{ key }},
    day
    {%- for w in over %},
    CAST(count(*) FILTER (WHERE previous_day IS NULL {%- if w.days %} OR day - previous_day > {{ w.days }}{% endif %}) AS BIGINT) AS {{ name }}_enter_{{ w.name }}
    {%- if w.days %},
    CAST(count(*) FILTER (WHERE next_day IS NULL OR next_day - day > {{ w.days }}) AS BIGINT) AS {{ name }}_leave_{{ w.name }}
    {%- endif %}
    {%- endfor %}
FROM (
    SELECT
        {{ key }},
        day,
        lag(day) OVER (PARTITION BY {{ key }}, {{ thing }} ORDER BY day) AS previous_day,
        lead(day) OVER (PARTITION BY {{ key }}, {{ thing }} ORDER BY day) AS next_day
    FROM (SELECT DISTINCT {{ key }}, {{ thing }}, day FROM {{ things }}) AS occurrences
) AS neighbours
GROUP BY {{ key }}, day
{%- endmacro %}

{# The CTEs `changes`, `moments` and `windowed`: one row per key and moment of change, with each sum
   and distinct count in each window. `daily` is a CTE with one row per (key, day). #}
{%- macro windowed(daily, key, sums=[], distincts=[], over=windows) %}
changes AS (
    SELECT
        {{ key }},
        day + 1 AS known_on
        {%- for w in over %}
        {%- for name in sums %},
        {{ name }} AS {{ name }}_{{ w.name }}
        {%- endfor %}
        {%- for name in distincts %},
        {{ name }}_enter_{{ w.name }} AS {{ name }}_{{ w.name }}
        {%- endfor %}
        {%- endfor %}
    FROM {{ daily }}
    {%- for out in over if out.days %}
    UNION ALL
    SELECT
        {{ key }},
        day + {{ 1 + out.days }}
        {%- for w in over %}
        {%- for name in sums %},
        {{ "-" ~ name if w is sameas out else 0 }}
        {%- endfor %}
        {%- for name in distincts %},
        {{ "-" ~ name ~ "_leave_" ~ w.name if w is sameas out else 0 }}
        {%- endfor %}
        {%- endfor %}
    FROM {{ daily }}
    {%- endfor %}
),

moments AS (
    SELECT
        {{ key }},
        known_on
        {%- for w in over %}
        {%- for name in sums + distincts %},
        sum({{ name }}_{{ w.name }}) AS {{ name }}_{{ w.name }}
        {%- endfor %}
        {%- endfor %}
    FROM changes
    WHERE known_on <= CAST('{{ through }}' AS DATE) + 1
    GROUP BY {{ key }}, known_on
),

windowed AS (
    SELECT
        {{ key }},
        known_on
        {%- for w in over %}
        {%- for name in sums + distincts %},
        sum({{ name }}_{{ w.name }}) OVER so_far AS {{ name }}_{{ w.name }}
        {%- endfor %}
        {%- endfor %}
    FROM moments
    WINDOW so_far AS (PARTITION BY {{ key }} ORDER BY known_on)
)
{%- endmacro %}
