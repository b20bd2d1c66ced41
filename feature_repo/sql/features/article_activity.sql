-- article_activity: one row per article and stretch of time in which nothing changes.
-- A day's purchases are known from the next day 00:00 UTC. Windowed columns and trend are exact at
-- every moment; prices, shares, median_age_buyers and the sold days change only on days with a sale.
-- Built on features.customer_article, which knows who buys an article for the first time.
WITH article_days AS (
    SELECT
        article_id,
        day,
        sum(line_count) AS t_purchases,
        sum(line_count) FILTER (WHERE channel = 2) AS online_purchases
    FROM {{ moving("staging.purchases", "article_id") }} AS purchases
    GROUP BY article_id, day
),

{{ windowed(
    "article_days", "article_id", sums=["t_purchases"],
    distincts={"u_customers": "customer_id"}, things="staging.purchases",
    kept=["t_purchases", "u_customers"]
) }},

new_buyers AS (
    SELECT
        article_id,
        customer_id,
        CAST(valid_from AS DATE) - 1 AS day,
        times_bought
    FROM {{ touched("features.customer_article", "article_id") }} AS pairs
    WHERE days_bought = 1
),

new_buyer_days AS (
    SELECT
        article_id,
        day,
        sum(times_bought) AS first_purchases
    FROM new_buyers
    GROUP BY article_id, day
),

ages AS (
    {%- if few_days %}
    SELECT
        sales.article_id,
        sales.day,
        median(age) AS median_age_buyers
    FROM article_days AS sales
    INNER JOIN scope ON scope.article_id = sales.article_id AND touched AND sales.day + 1 >= since
    INNER JOIN new_buyers ON new_buyers.article_id = sales.article_id AND new_buyers.day <= sales.day
    INNER JOIN staging.customers USING (customer_id)
    GROUP BY sales.article_id, sales.day
    {%- else %}
    SELECT DISTINCT
        article_id,
        day,
        median(age) OVER (PARTITION BY article_id ORDER BY day) AS median_age_buyers
    FROM new_buyers
    INNER JOIN staging.customers USING (customer_id)
    {%- endif %}
),

sale_days AS (
    SELECT
        sold.article_id,
        sold.day,
        sold.day AS first_day,
        sold.day AS last_day,
        1 AS days_sold,
        t_purchases,
        online_purchases,
        first_purchases,
        price AS latest_price,
        1 - price / nullif(highest_price, 0) AS discount,
        median_age_buyers
    FROM {{ touched("article_days", "article_id") }} AS sold
    INNER JOIN staging.prices AS prices ON prices.article_id = sold.article_id AND prices.day = sold.day
    LEFT JOIN new_buyer_days ON new_buyer_days.article_id = sold.article_id AND new_buyer_days.day = sold.day
    LEFT JOIN ages ON ages.article_id = sold.article_id AND ages.day = sold.day
    {%- if scoped %}
    INNER JOIN scope ON scope.article_id = sold.article_id AND sold.day + 1 >= since
    UNION ALL
    -- What was counted before is kept as shares of a count; rounding gives the counts back.
    SELECT
        article_id,
        since - 2,
        CAST(first_sold AS DATE),
        CAST(last_sold AS DATE),
        article_availability,
        t_purchases_lifetime,
        round(online_share * t_purchases_lifetime),
        t_purchases_lifetime - round(repurchase_rate * t_purchases_lifetime),
        latest_price,
        discount,
        median_age_buyers
    FROM held
    {%- endif %}
),

sales AS (
    SELECT
        article_id,
        day + 1 AS known_on,
        last_day,
        min(first_day) OVER so_far AS first_day,
        sum(days_sold) OVER so_far AS days_sold,
        latest_price,
        discount,
        median_age_buyers,
        CAST(coalesce(sum(online_purchases) OVER so_far, 0) AS DOUBLE) / sum(t_purchases) OVER so_far AS online_share,
        1 - CAST(coalesce(sum(first_purchases) OVER so_far, 0) AS DOUBLE) / sum(t_purchases) OVER so_far AS repurchase_rate
    FROM sale_days
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
        CAST(last_value(days_sold IGNORE NULLS) OVER so_far AS BIGINT) AS article_availability,
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
