-- customer_recent: the articles that each customer in `asked` had last bought at a moment, newest
-- first, each once, at most {{ recent_articles }}. Exact at every moment. Nothing of it is kept:
-- it is read from features.customer_article when it is asked for. Days are counted since 1970-01-01.
WITH bought AS (
    SELECT
        asked.customer_id,
        asked.moment,
        pair.article_id,
        pair.valid_from,
        pair.created_at,
        CAST(pair.last_bought AS DATE) AS last_day,
        pair.times_bought,
        pair.purchase_weight,
        row_number() OVER (
            PARTITION BY asked.customer_id, asked.moment
            ORDER BY pair.last_bought DESC, pair.purchase_weight DESC, pair.article_id
        ) AS place
    FROM {{ asked_pairs() }}
),

final AS (
    SELECT
        customer_id,
        moment,
        max(valid_from) AS valid_from,
        max(created_at) AS created_at,
        list(article_id ORDER BY place) AS recent_articles,
        list(CAST(date_diff('day', CAST('1970-01-01' AS DATE), last_day) AS BIGINT) ORDER BY place) AS recent_days,
        list(times_bought ORDER BY place) AS recent_times,
        list(purchase_weight ORDER BY place) AS recent_weights
    FROM bought
    WHERE place <= {{ recent_articles }}
    GROUP BY customer_id, moment
)

SELECT * FROM final
