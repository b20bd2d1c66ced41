-- customer_article: one row per customer, article and day on which the customer bought it.
-- Known from the next day 00:00 UTC; changes only with a purchase of this article. What depends on
-- the moment of asking (days since, the decayed weight now) is computed on demand from these.
WITH pair_days AS (
    SELECT
        customer_id,
        article_id,
        day,
        sum(line_count) AS line_count
    FROM {{ in_scope("staging.purchases", "customer_id, article_id") }} AS purchases
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
        list(day) OVER pair AS bought_on,
        list(CAST(line_count AS DOUBLE)) OVER pair AS line_counts
    FROM pair_days
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
        -- Summed in the order of days: a window sum of DOUBLEs groups its terms by where they stand
        -- among all rows, so that its last bits would change with purchases of other customers.
        list_dot_product(
            line_counts,
            list_transform(bought_on, lambda earlier: exp(CAST(date_diff('day', day, earlier) AS DOUBLE) / {{ decay_days }}))
        ) AS purchase_weight
    FROM so_far
)

SELECT * FROM final
