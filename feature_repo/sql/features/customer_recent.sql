-- customer_recent: one row per customer and day with a purchase: the articles last bought, newest
-- first, each once, at most {{ recent_articles }}. Known from the next day 00:00 UTC; changes only
-- with a purchase. Built on features.customer_article; days are counted since 1970-01-01.
WITH customer_moments AS (
    SELECT DISTINCT
        customer_id,
        valid_from
    FROM features.customer_article
),

known_articles AS (
    SELECT
        customer_moments.customer_id,
        customer_moments.valid_from,
        article_id,
        last_bought,
        times_bought,
        purchase_weight,
        row_number() OVER (
            PARTITION BY customer_moments.customer_id, customer_moments.valid_from
            ORDER BY last_bought DESC, purchase_weight DESC, article_id
        ) AS place
    FROM customer_moments
    INNER JOIN features.customer_article AS pair
        ON
            pair.customer_id = customer_moments.customer_id
            AND pair.valid_from <= customer_moments.valid_from
            AND (pair.valid_to > customer_moments.valid_from OR pair.valid_to IS NULL)
),

final AS (
    SELECT
        customer_id,
        valid_from,
        list(article_id ORDER BY place) AS recent_articles,
        list(CAST(date_diff('day', CAST('1970-01-01' AS DATE), CAST(last_bought AS DATE)) AS BIGINT) ORDER BY place) AS recent_days,
        list(times_bought ORDER BY place) AS recent_times,
        list(purchase_weight ORDER BY place) AS recent_weights
    FROM known_articles
    WHERE place <= {{ recent_articles }}
    GROUP BY customer_id, valid_from
)

SELECT * FROM final
