-- customer_taste: how the purchases of each customer in `asked` were shared over the groups of
-- articles at a moment, the largest share first; a share counts lines whose group is known. Exact at every
-- moment. Nothing of it is kept: it is read from features.customer_article when it is asked for.
WITH bought AS (
    SELECT
        asked.customer_id,
        asked.moment,
        pair.valid_from,
        pair.created_at,
        pair.times_bought,
        pair.article_id
    FROM {{ asked_pairs() }}
),

moments AS (
    SELECT
        customer_id,
        moment,
        max(valid_from) AS valid_from,
        max(created_at) AS created_at
    FROM bought
    GROUP BY customer_id, moment
),

{% for name, column in tastes.items() -%}
{{ name }}_lines AS (
    SELECT
        customer_id,
        moment,
        {{ column }} AS name,
        CAST(sum(times_bought) AS DOUBLE) AS lines
    FROM bought
    INNER JOIN staging.articles USING (article_id)
    WHERE {{ column }} IS NOT NULL
    GROUP BY customer_id, moment, {{ column }}
),

{{ name }}_shares AS (
    SELECT
        customer_id,
        moment,
        list(name ORDER BY lines DESC, name) AS names,
        list(lines / total ORDER BY lines DESC, name) AS shares
    FROM (SELECT *, sum(lines) OVER (PARTITION BY customer_id, moment) AS total FROM {{ name }}_lines) AS with_total
    GROUP BY customer_id, moment
),

{% endfor -%}
final AS (
    SELECT
        moments.customer_id,
        moments.moment,
        valid_from,
        created_at
        {%- for name in tastes %},
        {{ name }}_shares.names AS {{ name }}s,
        {{ name }}_shares.shares AS {{ name }}_shares
        {%- endfor %}
    FROM moments
    {%- for name in tastes %}
    LEFT JOIN {{ name }}_shares USING (customer_id, moment)
    {%- endfor %}
)

SELECT * FROM final
