-- product_group_activity: one row per product group and stretch of time in which nothing changes.
-- A day's purchases are known from the next day 00:00 UTC; every column is exact at every moment.
WITH product_groups AS (
    SELECT
        article_id,
        product_group_name AS product_group
    FROM staging.articles
    WHERE product_group_name IS NOT NULL
),

product_group_days AS (
    SELECT
        product_group,
        day,
        sum(line_count) AS t_purchases,
        sum(pieces) AS t_pieces,
        sum(spend) AS t_price
    FROM {{ lately("staging.purchases", short_windows) }} AS purchases
    INNER JOIN {{ in_scope("product_groups", "product_group") }} AS of_articles USING (article_id)
    GROUP BY product_group, day
),

{{ windowed(
    "product_group_days", "product_group", sums=["t_purchases", "t_pieces", "t_price"],
    over=short_windows
) }},

final AS (
    SELECT
        product_group,
        CAST(known_on AS TIMESTAMP) AS valid_from
        {%- for w in short_windows %},
        CAST(t_purchases_{{ w.name }} AS BIGINT) AS t_purchases_{{ w.name }}
        {%- endfor %},
        CAST(t_purchases_7d AS DOUBLE) / 7 / (CAST(nullif(t_purchases_30d, 0) AS DOUBLE) / 30) AS trend,
        CAST(t_price_30d AS DOUBLE) / CAST(nullif(t_pieces_30d, 0) AS DOUBLE) AS mean_price_30d
    FROM windowed
)

SELECT * FROM final
