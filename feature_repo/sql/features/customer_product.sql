-- customer_product: one row per customer, product and day on which the customer bought the product, in
-- any colour. Known from the next day 00:00 UTC; changes only with a purchase of the product.
WITH purchases AS (
    SELECT
        customer_id,
        article_id,
        product_code AS product,
        day,
        line_count
    FROM staging.purchases
    INNER JOIN staging.articles USING (article_id)
    WHERE product_code IS NOT NULL
),

product_days AS (
    SELECT
        customer_id,
        product,
        day,
        sum(line_count) AS line_count
    FROM {{ in_scope("purchases", "customer_id, product") }} AS purchases
    GROUP BY customer_id, product, day
),

first_days AS (
    SELECT
        customer_id,
        product,
        day,
        count(*) AS new_articles
    FROM (
        SELECT
            customer_id,
            product,
            article_id,
            min(day) AS day
        FROM {{ in_scope("purchases", "customer_id, product") }} AS purchases
        GROUP BY customer_id, product, article_id
    ) AS articles
    GROUP BY customer_id, product, day
),

final AS (
    SELECT
        customer_id,
        product,
        CAST(day + 1 AS TIMESTAMP) AS valid_from,
        CAST(sum(line_count) OVER past AS BIGINT) AS product_times_bought,
        CAST(count(*) OVER past AS BIGINT) AS product_days_bought,
        CAST(sum(new_articles) OVER past AS BIGINT) AS product_articles_bought,
        CAST(day AS TIMESTAMP) AS product_last_bought
    FROM product_days
    LEFT JOIN first_days USING (customer_id, product, day)
    WINDOW past AS (PARTITION BY customer_id, product ORDER BY day)
)

SELECT * FROM final
