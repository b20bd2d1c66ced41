-- customer_profile: one row per customer, without history: the files give no dates for attributes.
SELECT
    customer_id,
    CAST('1970-01-01' AS TIMESTAMP) AS valid_from,
    left(md5(customer_id), 16) AS customer_hash,
    CAST(age AS BIGINT) AS age,
    age_bucket,
    club_member_status,
    fashion_news_frequency,
    "FN",
    "Active",
    postal_code
FROM staging.customers
