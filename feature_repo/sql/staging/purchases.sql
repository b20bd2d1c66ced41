-- purchases: one row per customer, article, day, channel and price, with the pieces bought.
-- Money is kept as DECIMAL, so that what enters a window leaves it again exactly and sums do not
-- depend on the order of rows. The files repeat an identical row for a quantity: `line_count` counts rows.
SELECT
    customer_id,
    article_id,
    t_dat AS day,
    sales_channel_id AS channel,
    CAST(price AS DECIMAL(18, 9)) AS price,
    CAST(count(*) AS BIGINT) AS line_count,
    CAST(sum(quantity) AS BIGINT) AS pieces,
    CAST(CAST(price AS DECIMAL(18, 9)) * sum(quantity) AS DECIMAL(38, 9)) AS spend
FROM raw.transactions
{%- if scoped %}
SEMI JOIN changed ON changed.customer_id = transactions.customer_id
    AND changed.article_id = transactions.article_id AND changed.day = t_dat
{%- endif %}
WHERE t_dat <= CAST('{{ through }}' AS DATE)
{%- if part %} AND {{ part }}{% endif %}
GROUP BY customer_id, article_id, t_dat, sales_channel_id, CAST(price AS DECIMAL(18, 9))
