-- prices: one row per article and day with a sale: its mean price that day, the highest of such
-- prices in the 90 days to it, and the mean price of its product group in the 30 days before it.
{%- if scoped %}
-- Only days from {{ since }} on.
{%- endif %}
WITH article_days AS (
    SELECT
        article_id,
        day,
        sum(spend) AS spend,
        sum(pieces) AS pieces
    FROM staging.purchases
    {%- if scoped %}
    WHERE day >= CAST('{{ since }}' AS DATE) - 89
    {%- endif %}
    GROUP BY article_id, day
),

product_group_days AS (
    SELECT
        product_group_name,
        day,
        sum(spend) AS spend,
        sum(pieces) AS pieces
    FROM article_days
    INNER JOIN staging.articles USING (article_id)
    GROUP BY product_group_name, day
),

product_group_prices AS (
    SELECT
        product_group_name,
        day,
        CAST(sum(spend) OVER month AS DOUBLE) / CAST(sum(pieces) OVER month AS DOUBLE) AS product_group_price
    FROM product_group_days
    WINDOW month AS (
        PARTITION BY product_group_name ORDER BY day
        RANGE BETWEEN INTERVAL 30 DAY PRECEDING AND INTERVAL 1 DAY PRECEDING
    )
),

prices AS (
    SELECT
        article_id,
        day,
        CAST(spend AS DOUBLE) / CAST(pieces AS DOUBLE) AS price
    FROM article_days
),

final AS (
    SELECT
        prices.article_id,
        prices.day,
        price,
        max(price) OVER (
            PARTITION BY prices.article_id ORDER BY prices.day
            RANGE BETWEEN INTERVAL 89 DAY PRECEDING AND CURRENT ROW
        ) AS highest_price,
        product_group_price
    FROM prices
    INNER JOIN staging.articles ON articles.article_id = prices.article_id
    LEFT JOIN product_group_prices
        ON product_group_prices.product_group_name = articles.product_group_name
            AND product_group_prices.day = prices.day
)

SELECT * FROM final
{%- if scoped %}
WHERE day >= CAST('{{ since }}' AS DATE)
{%- endif %}
