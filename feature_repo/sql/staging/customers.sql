-- customers: one row per customer, attributes as last delivered.
SELECT
    customer_id,
    "FN",
    "Active",
    club_member_status,
    fashion_news_frequency,
    age,
    CASE
        WHEN age < 20 THEN 'under 20'
        WHEN age < 25 THEN '20-24'
        WHEN age < 30 THEN '25-29'
        WHEN age < 40 THEN '30-39'
        WHEN age < 50 THEN '40-49'
        WHEN age < 60 THEN '50-59'
        WHEN age >= 60 THEN '60 and over'
    END AS age_bucket,
    postal_code
FROM raw.customers
