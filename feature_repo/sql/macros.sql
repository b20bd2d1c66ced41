{#
Exact window features as validity intervals.

A window of w days is right at every moment if each day's amount enters it the day after and leaves
it w days later; summing these signed changes in time gives the value, and a row exists only where
something changed. A distinct thing (an article, a customer) enters only if no earlier purchase of
it still counts, and leaves only if no later purchase of it has taken over.

`over` lists the windows: those that a view does not show must be left out, or the view gets rows
in which nothing changed.

When days are added to a table that is there (`scoped`), the table `scope` holds the keys that
change, the first day on which what is known of each changes (`since`), and whether it has purchases
that are new (`touched`; else only a window ends). Every value on the day before `since` is summed
up first, and from there only the changes are followed. Rows known before `since` are not used.
The table `held` has the rows of the view that hold on that day, each with `since`: columns that stay
as they are go on from there.
#}

{# Purchases, or anything else by key: all of them, those of keys in scope, or those of the part of
   all keys that is computed at a time. #}
{%- macro in_scope(relation, key) -%}
{%- if scoped -%}(SELECT * FROM {{ relation }} SEMI JOIN scope USING ({{ key }}))
{%- elif part -%}(SELECT * FROM {{ relation }} WHERE {{ part }})
{%- else -%}{{ relation }}{%- endif -%}
{%- endmacro %}

{# The same, of keys with new purchases. #}
{%- macro touched(relation, key) -%}
{%- if scoped -%}(SELECT * FROM {{ relation }} SEMI JOIN (SELECT {{ key }} FROM scope WHERE touched) AS new USING ({{ key }}))
{%- else -%}{{ in_scope(relation, key) }}{%- endif -%}
{%- endmacro %}

{# Whether a purchase of `day` enters or leaves a window in the days that are computed. #}
{%- macro moves(over, first="since") -%}
(day + 1 >= {{ first }} {%- for w in over if w.days %} OR day + {{ 1 + w.days }} BETWEEN {{ first }} AND CAST('{{ through }}' AS DATE) + 1{% endfor %})
{%- endmacro %}

{# What may move for any key: fewer rows to join. #}
{%- macro may_move(relation, over) -%}
(SELECT * FROM {{ relation }} WHERE {{ moves(over, "CAST('" ~ since ~ "' AS DATE)") }})
{%- endmacro %}

{# The same as `in_scope`, on days on which something moves. #}
{%- macro moving(relation, key, over=windows) -%}
{%- if scoped -%}(SELECT relation.* FROM {{ may_move(relation, over) }} AS relation INNER JOIN scope USING ({{ key }}) WHERE {{ moves(over) }})
{%- else -%}{{ in_scope(relation, key) }}{%- endif -%}
{%- endmacro %}

{# Purchases that are still in a window at `since`, or enter one later: what is older moves nothing
   where every window ends. #}
{%- macro lately(relation, over) -%}
{%- set longest = over | map(attribute="days") | max -%}
{%- if scoped -%}(SELECT * FROM {{ relation }} WHERE day + {{ 1 + longest }} >= CAST('{{ since }}' AS DATE))
{%- else -%}{{ relation }}{%- endif -%}
{%- endmacro %}

{# Two columns per window for a distinct count: how many things enter and how many leave the count
   because of one day. `key` and `thing` are columns of `things`, which has a row for each (key,
   thing, day) or several. #}
{%- macro distinct_changes(name, things, key, thing, over) %}
SELECT
    {{ key }},
    day
    {%- for w in over %},
    CAST(count(*) FILTER (WHERE previous_day IS NULL {%- if w.days %} OR previous_day + {{ w.days }} < day{% endif %}) AS BIGINT) AS {{ name }}_enter_{{ w.name }}
    {%- if w.days %},
    CAST(count(*) FILTER (WHERE next_day IS NULL OR next_day > day + {{ w.days }}) AS BIGINT) AS {{ name }}_leave_{{ w.name }}
    {%- endif %}
    {%- endfor %}
FROM (
    SELECT
        {{ key }},
        day,
        lag(day) OVER (PARTITION BY {{ key }}, {{ thing }} ORDER BY day) AS previous_day,
        lead(day) OVER (PARTITION BY {{ key }}, {{ thing }} ORDER BY day) AS next_day
    FROM (
        SELECT DISTINCT {{ key }}, {{ thing }}, day
        FROM {{ things if scoped else in_scope(things, key) }} AS things
        {%- if scoped %}
        SEMI JOIN (
            SELECT {{ key }}, {{ thing }}
            FROM {{ may_move(things, over) }} AS things INNER JOIN scope USING ({{ key }})
            WHERE {{ moves(over) }}
        ) AS moving USING ({{ key }}, {{ thing }})
        {%- endif %}
    ) AS occurrences
) AS neighbours
{%- if scoped %} INNER JOIN scope USING ({{ key }}) WHERE {{ moves(over) }}{% endif %}
GROUP BY {{ key }}, day
{%- endmacro %}

{# The CTEs that end in `windowed`: one row per key and moment of change, with each sum and distinct
   count in each window; where `scoped`, also the day before `since`.

   days: a CTE with one row per (key, day), with the sums.
   distincts: {name: column of `things` that is counted}.
   kept: names that the view shows in every window as they are, so that their values on the day
   before `since` need not be summed up again. #}
{%- macro windowed(days, key, sums, distincts={}, things=none, over=windows, kept=[]) %}
{%- for name, thing in distincts.items() %}
{{ name }}_changes AS (
    {{ distinct_changes(name, things, key, thing, over) }}
),
{% endfor %}
daily AS (
    SELECT *
    FROM {{ days }}
    {%- for name in distincts %}
    INNER JOIN {{ name }}_changes USING ({{ key }}, day)
    {%- endfor %}
    {%- if scoped %}
    INNER JOIN scope USING ({{ key }})
    WHERE {{ moves(over) }}
    {%- endif %}
),

changes AS (
    {%- if scoped %}
    {%- if sums | reject("in", kept) | list %}
    SELECT
        {{ key }},
        since - 1 AS known_on
        {%- for w in over %}
        {%- for name in sums %},
        {% if name in kept %}0{% else %}coalesce(sum({{ name }}){% if w.days %} FILTER (WHERE day + {{ 1 + w.days }} >= since){% endif %}, 0){% endif %} AS {{ name }}_{{ w.name }}
        {%- endfor %}
        {%- for name in distincts %},
        0 AS {{ name }}_{{ w.name }}
        {%- endfor %}
        {%- endfor %}
    FROM {{ days }} INNER JOIN scope USING ({{ key }})
    WHERE day + 1 < since
    GROUP BY {{ key }}, since
    UNION ALL
    {%- endif %}
    {%- if kept %}
    SELECT
        {{ key }},
        since - 1 AS known_on
        {%- for w in over %}
        {%- for name in sums + distincts.keys() | list %},
        {{ name ~ "_" ~ w.name if name in kept else 0 }} AS {{ name }}_{{ w.name }}
        {%- endfor %}
        {%- endfor %}
    FROM held
    UNION ALL
    {%- endif %}
    {%- for counted, thing in distincts.items() if counted not in kept %}
    SELECT
        {{ key }},
        since - 1
        {%- for w in over %}
        {%- for name in sums %},
        0
        {%- endfor %}
        {%- for name in distincts %},
        {% if name == counted %}count(*){% if w.days %} FILTER (WHERE last_day + {{ 1 + w.days }} >= since){% endif %}{% else %}0{% endif %}
        {%- endfor %}
        {%- endfor %}
    FROM (
        SELECT {{ key }}, {{ thing }}, since, max(day) AS last_day
        FROM {{ things }} AS things INNER JOIN scope USING ({{ key }})
        WHERE day + 1 < since
        GROUP BY {{ key }}, {{ thing }}, since
    ) AS lately
    GROUP BY {{ key }}, since
    UNION ALL
    {%- endfor %}
    {%- endif %}
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
    FROM daily
    {%- if scoped %} WHERE day + 1 >= since{% endif %}
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
    FROM daily
    {%- if scoped %} WHERE day + {{ 1 + out.days }} >= since{% endif %}
    {%- endfor %}
),

moments AS (
    SELECT
        {{ key }},
        known_on
        {%- for w in over %}
        {%- for name in sums + distincts.keys() | list %},
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
        {%- for name in sums + distincts.keys() | list %},
        sum({{ name }}_{{ w.name }}) OVER so_far AS {{ name }}_{{ w.name }}
        {%- endfor %}
        {%- endfor %}
    FROM moments
    WINDOW so_far AS (PARTITION BY {{ key }} ORDER BY known_on)
)
{%- endmacro %}

{# Two CTEs: `numbered`, of whom and when `asked` says, where a number is quicker to group by than the
   customer and the moment, and `known`, what of the table that the view reads was true then. #}
{%- macro known_when_asked(columns) -%}
numbered AS (
    SELECT
        CAST(row_number() OVER (ORDER BY customer_id, moment) AS INTEGER) AS number,
        customer_id,
        moment
    FROM {{ asked }} AS asked
),

known AS (
    SELECT
        number,
        {{ columns }}
    FROM numbered
    INNER JOIN {{ as_of.table }} AS told
        ON
            told.customer_id = numbered.customer_id
            AND {{ as_of.since }} <= moment
            {%- if as_of.until %}
            AND ({{ as_of.until }} > moment OR {{ as_of.until }} IS NULL)
            {%- endif %}
)
{%- endmacro %}
