-- customer_activity: one row per customer and stretch of time in which nothing changes.
-- A day's purchases are known from the next day 00:00 UTC. Windowed columns are exact at every
-- moment; last_purchase, median_gap_days and bulk_share change only with a purchase.
WITH customer_days AS (
    SELECT
        customer_id,
        day,
        sum(spend) AS t_price,
        sum(line_count) AS t_transactions,
        sum(pieces) AS t_pieces,
        count(*) FILTER (WHERE pieces > 1) AS bulk_purchases,
        count(*) AS purchases,
        1 AS u_active_days
    FROM {{ in_scope("staging.purchases", "customer_id") }} AS purchases
    GROUP BY customer_id, day
),

{{ windowed(
    "customer_days", "customer_id", sums=["t_price", "t_transactions", "t_pieces", "u_active_days"],
    distincts={"u_articles": "article_id", "n_sales_channel": "channel"}, things="staging.purchases",
    kept=["t_transactions", "u_active_days", "u_articles", "n_sales_channel"]
) }},

gaps AS (
    SELECT
        *,
        date_diff('day', lag(day) OVER (PARTITION BY customer_id ORDER BY day), day) AS gap_days
    FROM {{ touched("customer_days", "customer_id") }} AS customer_days
),

habits AS (
    SELECT
        customer_id,
        day + 1 AS known_on,
        day AS last_day,
        median(gap_days) OVER so_far AS median_gap_days,
        sum(bulk_purchases) OVER so_far / sum(purchases) OVER so_far AS bulk_share
    FROM gaps
    WINDOW so_far AS (PARTITION BY customer_id ORDER BY day)
    {%- if scoped %}
    UNION ALL
    SELECT customer_id, since - 1, CAST(last_purchase AS DATE), median_gap_days, bulk_share
    FROM held
    {%- endif %}
),

final AS (
    SELECT
        customer_id,
        CAST(windowed.known_on AS TIMESTAMP) AS valid_from
        {%- for w in windows %},
        CAST(t_price_{{ w.name }} AS DOUBLE) AS t_price_{{ w.name }},
        CAST(t_transactions_{{ w.name }} AS BIGINT) AS t_transactions_{{ w.name }},
        CAST(u_articles_{{ w.name }} AS BIGINT) AS u_articles_{{ w.name }},
        CAST(u_active_days_{{ w.name }} AS BIGINT) AS u_active_days_{{ w.name }},
        CAST(n_sales_channel_{{ w.name }} AS BIGINT) AS n_sales_channel_{{ w.name }}
        {%- endfor %},
        CAST(last_value(last_day IGNORE NULLS) OVER so_far AS TIMESTAMP) AS last_purchase,
        last_value(median_gap_days IGNORE NULLS) OVER so_far AS median_gap_days,
        CAST(t_transactions_lifetime AS DOUBLE) / CAST(u_active_days_lifetime AS DOUBLE) AS basket_size,
        CAST(t_price_lifetime AS DOUBLE) / CAST(t_pieces_lifetime AS DOUBLE) AS mean_price_paid,
        last_value(bulk_share IGNORE NULLS) OVER so_far AS bulk_share
    FROM windowed
    LEFT JOIN habits USING (customer_id, known_on)
    WINDOW so_far AS (PARTITION BY customer_id ORDER BY windowed.known_on)
)

SELECT * FROM final
