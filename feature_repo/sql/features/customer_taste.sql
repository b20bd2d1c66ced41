-- customer_taste: how the purchases of each customer in `asked` were shared over the groups of
-- articles at a moment, the largest share first; a share counts lines whose group is known. Exact at every
-- moment. Nothing of it is kept: it is read from features.customer_article when it is asked for.
WITH names AS (
    SELECT
        {%- for name, column in tastes.items() %}
        list_sort(list(DISTINCT {{ column }})) AS {{ name }}s{{ "," if not loop.last }}
        {%- endfor %}
    FROM staging.articles
),

-- Groups as their places among the names: numbers are counted and sorted more quickly.
groups AS (
    SELECT
        article_id
        {%- for name, column in tastes.items() %},
        CASE WHEN {{ column }} IS NOT NULL THEN dense_rank() OVER (ORDER BY {{ column }} NULLS LAST) END AS {{ name }}
        {%- endfor %}
    FROM staging.articles
),

bought AS (
    SELECT
        asked.number,
        asked.customer_id,
        asked.moment,
        pair.valid_from,
        pair.created_at,
        pair.times_bought
        {%- for name in tastes %},
        groups.{{ name }}
        {%- endfor %}
    FROM {{ asked_pairs() }}
    LEFT JOIN groups ON groups.article_id = pair.article_id
),

moments AS (
    SELECT
        number,
        min(customer_id) AS customer_id,
        min(moment) AS moment,
        max(valid_from) AS valid_from,
        max(created_at) AS created_at
    FROM bought
    GROUP BY number
),

{% for name in tastes -%}
{{ name }}_lines AS (
    SELECT
        number,
        {{ name }} AS place,
        CAST(sum(times_bought) AS DOUBLE) AS lines
    FROM bought
    WHERE {{ name }} IS NOT NULL
    GROUP BY number, {{ name }}
),

{{ name }}_shares AS (
    SELECT
        number,
        sum(lines) AS total,
        list_sort(list({'lines': -lines, 'place': place})) AS shares
    FROM {{ name }}_lines
    GROUP BY number
),

{% endfor -%}
final AS (
    SELECT
        moments.customer_id,
        moments.moment,
        valid_from,
        created_at
        {%- for name in tastes %},
        list_transform({{ name }}_shares.shares, lambda s: list_extract(names.{{ name }}s, s.place)) AS {{ name }}s,
        list_transform({{ name }}_shares.shares, lambda s: -s.lines / {{ name }}_shares.total) AS {{ name }}_shares
        {%- endfor %}
    FROM moments
    CROSS JOIN names
    {%- for name in tastes %}
    LEFT JOIN {{ name }}_shares USING (number)
    {%- endfor %}
)

SELECT * FROM final
