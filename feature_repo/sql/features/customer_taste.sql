-- customer_taste: how the purchases of each customer in `asked` were shared over the groups of
-- articles at a moment, the largest share first; a share counts lines whose group is known. Exact at every
-- moment. Nothing of it is kept: it is read from features.customer_article when it is asked for.
WITH {{ known_when_asked("valid_from, created_at, article_id, times_bought") }},

names AS (
    SELECT
        {%- for name, column in tastes.items() %}
        list_sort(list(DISTINCT {{ column }}), 'ASC', 'NULLS LAST') AS {{ name }}s{{ "," if not loop.last }}
        {%- endfor %}
    FROM staging.articles
),

-- Groups as their places among the names: numbers are counted and sorted more quickly.
groups AS (
    SELECT
        article_id
        {%- for name, column in tastes.items() %},
        CASE WHEN {{ column }} IS NOT NULL THEN CAST(dense_rank() OVER (ORDER BY {{ column }} ASC NULLS LAST) AS SMALLINT) END AS {{ name }}
        {%- endfor %}
    FROM staging.articles
),

counted AS (
    SELECT
        number,
        max(valid_from) AS valid_from,
        max(created_at) AS created_at,
        sum(CAST(times_bought AS DOUBLE)) AS lines
        {%- for name in tastes %},
        {{ name }}
        {%- endfor %}
    FROM known
    LEFT JOIN groups USING (article_id)
    GROUP BY GROUPING SETS ({% for name in tastes %}(number, {{ name }}){{ ", " if not loop.last }}{% endfor %})
),

listed AS (
    SELECT
        number,
        max(valid_from) AS valid_from,
        max(created_at) AS created_at
        {%- for name in tastes %},
        sum(lines) FILTER (WHERE {{ name }} IS NOT NULL) AS {{ name }}_lines,
        list({'lines': -lines, 'place': {{ name }}}) FILTER (WHERE {{ name }} IS NOT NULL) AS {{ name }}_shares
        {%- endfor %}
    FROM counted
    GROUP BY number
),

-- A list of nothing is null in DuckDB and empty in Spark; here it is null.
ordered AS (
    SELECT
        number,
        valid_from,
        created_at
        {%- for name in tastes %},
        {{ name }}_lines,
        CASE WHEN {{ name }}_lines IS NOT NULL THEN list_sort({{ name }}_shares, 'ASC', 'NULLS LAST') END AS {{ name }}_shares
        {%- endfor %}
    FROM listed
),

final AS (
    SELECT
        customer_id,
        moment,
        valid_from,
        created_at
        {%- for name in tastes %},
        list_transform({{ name }}_shares, lambda s: list_extract({{ name }}s, s.place)) AS {{ name }}s,
        list_transform({{ name }}_shares, lambda s: -s.lines / {{ name }}_lines) AS {{ name }}_shares
        {%- endfor %}
    FROM ordered
    INNER JOIN numbered USING (number)
    CROSS JOIN names
)

SELECT * FROM final
