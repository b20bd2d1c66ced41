-- customer_article: one row per customer, article and day on which the customer bought it.
-- Known from the next day 00:00 UTC; changes only with a purchase of this article. What depends on
-- the moment of asking (days since, the decayed weight now) is computed on demand from these.
WITH pair_days AS (
    SELECT
        customer_id,
        article_id,
        day,
        sum(line_count) AS line_count
    FROM staging.purchases
    GROUP BY customer_id, article_id, day
),

so_far AS (
    SELECT
        customer_id,
        article_id,
        day,
        min(day) OVER pair AS first_day,
        sum(line_count) OVER pair AS times_bought,
        count(*) OVER pair AS days_bought,
        -- The exponent is counted from the pair's first day, so that it cannot overflow a DOUBLE
        -- within some sixty years, and scaled back to the latest day.
        sum(line_count * exp((day - epoch) / {{ decay_days }})) OVER pair
            / exp((day - epoch) / {{ decay_days }}) AS purchase_weight
    FROM (
        SELECT
            *,
            min(day) OVER (PARTITION BY customer_id, article_id) AS epoch
        FROM pair_days
    ) AS dated
    WINDOW pair AS (PARTITION BY customer_id, article_id ORDER BY day)
),

final AS (
    SELECT
        customer_id,
        article_id,
        CAST(day + 1 AS TIMESTAMP) AS valid_from,
        CAST(times_bought AS BIGINT) AS times_bought,
        CAST(days_bought AS BIGINT) AS days_bought,
        CAST(first_day AS TIMESTAMP) AS first_bought,
        CAST(day AS TIMESTAMP) AS last_bought,
        purchase_weight
    FROM so_far
)

SELECT * FROM final
