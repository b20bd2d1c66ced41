-- product_group_activity: one row per product group and stretch of time in which nothing changes.
-- A day's purchases are known from the next day 00:00 UTC; every column is exact at every moment.
WITH product_group_days AS (
    SELECT
        product_group_name,
        day,
        sum(line_count) AS t_purchases,
        sum(pieces) AS t_pieces,
        sum(spend) AS t_price
    FROM staging.purchases
    INNER JOIN {{ in_scope("staging.articles", "product_group_name") }} AS articles USING (article_id)
    WHERE product_group_name IS NOT NULL
    GROUP BY product_group_name, day
),

{{ windowed(
    "product_group_days", "product_group_name", sums=["t_purchases", "t_pieces", "t_price"],
    over=short_windows
) }},

final AS (
    SELECT
        product_group_name,
        CAST(known_on AS TIMESTAMP) AS valid_from
        {%- for w in short_windows %},
        CAST(t_purchases_{{ w.name }} AS BIGINT) AS t_purchases_{{ w.name }}
        {%- endfor %},
        CAST(t_purchases_7d AS DOUBLE) / 7 / (CAST(nullif(t_purchases_30d, 0) AS DOUBLE) / 30) AS trend,
        CAST(t_price_30d AS DOUBLE) / CAST(nullif(t_pieces_30d, 0) AS DOUBLE) AS mean_price_30d
    FROM windowed
)

SELECT * FROM final
