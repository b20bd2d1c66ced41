-- article_activity: one row per article and stretch of time in which nothing changes.
-- A day's purchases are known from the next day 00:00 UTC. Windowed columns and trend are exact at
-- every moment; prices, shares, median_age_buyers and the sold days change only on days with a sale.
WITH article_customers AS (
    {{ distinct_changes("u_customers", "staging.purchases", "article_id", "customer_id") }}
),

first_purchases AS (
    SELECT
        article_id,
        customer_id,
        min(day) AS first_day
    FROM staging.purchases
    GROUP BY article_id, customer_id
),

article_days AS (
    SELECT
        purchases.article_id,
        purchases.day,
        sum(line_count) AS t_purchases,
        sum(spend) AS spend,
        sum(pieces) AS pieces,
        sum(line_count) FILTER (WHERE channel = 2) AS online_purchases,
        sum(line_count) FILTER (WHERE purchases.day > first_day) AS repeat_purchases
    FROM staging.purchases AS purchases
    INNER JOIN first_purchases USING (article_id, customer_id)
    GROUP BY purchases.article_id, purchases.day
),

daily AS (
    SELECT *
    FROM article_days
    INNER JOIN article_customers USING (article_id, day)
),

{{ windowed("daily", "article_id", sums=["t_purchases"], distincts=["u_customers"]) }},

ages AS (
    SELECT DISTINCT
        article_id,
        first_day AS day,
        median(age) OVER (PARTITION BY article_id ORDER BY first_day) AS median_age_buyers
    FROM first_purchases
    INNER JOIN staging.customers USING (customer_id)
),

prices AS (
    SELECT
        article_id,
        day,
        CAST(spend AS DOUBLE) / CAST(pieces AS DOUBLE) AS latest_price
    FROM article_days
),

recent_prices AS (
    SELECT
        article_id,
        day,
        latest_price,
        max(latest_price) OVER (
            PARTITION BY article_id ORDER BY day
            RANGE BETWEEN INTERVAL 89 DAY PRECEDING AND CURRENT ROW
        ) AS recent_max_price
    FROM prices
),

sales AS (
    SELECT
        article_id,
        day + 1 AS known_on,
        day AS last_day,
        min(day) OVER so_far AS first_day,
        count(*) OVER so_far AS days_sold,
        latest_price,
        1 - latest_price / recent_max_price AS discount,
        median_age_buyers,
        CAST(coalesce(sum(online_purchases) OVER so_far, 0) AS DOUBLE) / sum(t_purchases) OVER so_far AS online_share,
        CAST(coalesce(sum(repeat_purchases) OVER so_far, 0) AS DOUBLE) / sum(t_purchases) OVER so_far AS repurchase_rate
    FROM article_days
    INNER JOIN recent_prices USING (article_id, day)
    LEFT JOIN ages USING (article_id, day)
    WINDOW so_far AS (PARTITION BY article_id ORDER BY day)
),

final AS (
    SELECT
        article_id,
        CAST(windowed.known_on AS TIMESTAMP) AS valid_from
        {%- for w in windows %},
        CAST(t_purchases_{{ w.name }} AS BIGINT) AS t_purchases_{{ w.name }},
        CAST(u_customers_{{ w.name }} AS BIGINT) AS u_customers_{{ w.name }}
        {%- endfor %},
        CAST(t_purchases_7d AS DOUBLE) / 7 / (CAST(nullif(t_purchases_30d, 0) AS DOUBLE) / 30) AS trend,
        CAST(last_value(first_day IGNORE NULLS) OVER so_far AS TIMESTAMP) AS first_sold,
        CAST(last_value(last_day IGNORE NULLS) OVER so_far AS TIMESTAMP) AS last_sold,
        last_value(days_sold IGNORE NULLS) OVER so_far AS article_availability,
        last_value(latest_price IGNORE NULLS) OVER so_far AS latest_price,
        last_value(discount IGNORE NULLS) OVER so_far AS discount,
        last_value(median_age_buyers IGNORE NULLS) OVER so_far AS median_age_buyers,
        last_value(online_share IGNORE NULLS) OVER so_far AS online_share,
        last_value(repurchase_rate IGNORE NULLS) OVER so_far AS repurchase_rate
    FROM windowed
    LEFT JOIN sales USING (article_id, known_on)
    WINDOW so_far AS (PARTITION BY article_id ORDER BY windowed.known_on)
)

SELECT * FROM final
