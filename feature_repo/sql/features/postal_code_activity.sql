-- postal_code_activity: one row per postal code and stretch of time in which nothing changes.
-- A day's purchases are known from the next day 00:00 UTC; every column is exact at every moment.
{%- set shown = short_windows + windows[-1:] %}
WITH purchases AS (
    SELECT
        postal_code,
        customer_id,
        day,
        line_count,
        spend
    FROM staging.purchases
    INNER JOIN {{ in_scope("staging.customers", "postal_code") }} AS customers USING (customer_id)
    WHERE postal_code IS NOT NULL
),

postal_code_days AS (
    SELECT
        postal_code,
        day,
        sum(line_count) AS t_purchases,
        sum(spend) AS t_price
    FROM purchases
    GROUP BY postal_code, day
),

{{ windowed(
    "postal_code_days", "postal_code", sums=["t_purchases", "t_price"],
    distincts={"u_customers": "customer_id"}, things="purchases", over=shown
) }},

final AS (
    SELECT
        postal_code,
        CAST(known_on AS TIMESTAMP) AS valid_from
        {%- for w in short_windows %},
        CAST(t_purchases_{{ w.name }} AS BIGINT) AS t_purchases_{{ w.name }},
        CAST(t_price_{{ w.name }} AS DOUBLE) AS t_price_{{ w.name }}
        {%- endfor %},
        CAST(u_customers_lifetime AS BIGINT) AS u_customers_lifetime,
        CAST(t_price_lifetime AS DOUBLE) / u_customers_lifetime AS spend_per_customer
    FROM windowed
)

SELECT * FROM final
