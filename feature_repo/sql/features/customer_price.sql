-- customer_price: one row per customer and day with a purchase: what prices the customer pays.
-- Known from the next day 00:00 UTC; changes only with a purchase. Prices are compared as logarithms,
-- to six decimals, so that their sums are exact; a price of 0 is left out.
WITH lines AS (
    SELECT
        purchases.customer_id,
        purchases.day,
        line_count,
        CAST(ln(CAST(purchases.price AS DOUBLE)) AS DECIMAL(9, 6)) AS log_price,
        CAST(ln(CAST(purchases.price AS DOUBLE) / nullif(product_group_price, 0)) AS DECIMAL(9, 6)) AS above_product_group,
        -- Means of a day carry rounding, and a personal offer of a cent is none.
        CAST(purchases.price AS DOUBLE) <= 0.99 * highest_price AS discounted
    FROM {{ in_scope("staging.purchases", "customer_id") }} AS purchases
    INNER JOIN staging.prices USING (article_id, day)
    WHERE purchases.price > 0
),

customer_days AS (
    SELECT
        customer_id,
        day,
        sum(line_count) AS line_count,
        sum(line_count * log_price) AS log_prices,
        sum(line_count * CAST(log_price * log_price AS DECIMAL(18, 12))) AS squares,
        sum(line_count) FILTER (WHERE above_product_group IS NOT NULL) AS compared,
        sum(line_count * above_product_group) AS above_product_group,
        sum(line_count) FILTER (WHERE discounted) AS discounted
    FROM lines
    GROUP BY customer_id, day
),

so_far AS (
    SELECT
        customer_id,
        day,
        CAST(sum(line_count) OVER past AS DOUBLE) AS line_count,
        CAST(sum(log_prices) OVER past AS DOUBLE) AS log_prices,
        CAST(sum(squares) OVER past AS DOUBLE) AS squares,
        CAST(sum(compared) OVER past AS DOUBLE) AS compared,
        CAST(sum(above_product_group) OVER past AS DOUBLE) AS above_product_group,
        CAST(coalesce(sum(discounted) OVER past, 0) AS DOUBLE) AS discounted
    FROM customer_days
    WINDOW past AS (PARTITION BY customer_id ORDER BY day)
),

final AS (
    SELECT
        customer_id,
        CAST(day + 1 AS TIMESTAMP) AS valid_from,
        exp(log_prices / line_count) AS typical_price,
        sqrt(greatest(squares / line_count - (log_prices / line_count) * (log_prices / line_count), 0.0)) AS price_spread,
        exp(above_product_group / compared) AS price_to_product_group,
        discounted / line_count AS discount_share
    FROM so_far
)

SELECT * FROM final
