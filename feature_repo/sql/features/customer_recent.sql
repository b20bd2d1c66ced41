-- customer_recent: the articles that each customer in `asked` had last bought at a moment, newest
-- first, each once, at most {{ recent_articles }}. Exact at every moment. Nothing of it is kept:
-- it is read from features.customer_article when it is asked for. Days are counted since 1970-01-01.
WITH bought AS (
    SELECT
        asked.number,
        asked.customer_id,
        asked.moment,
        pair.valid_from,
        pair.created_at,
        -- In the order in which they are sorted: newest and heaviest first.
        {
            'day': date_diff('day', CAST(pair.last_bought AS DATE), CAST('1970-01-01' AS DATE)),
            'weight': -pair.purchase_weight,
            'article_id': pair.article_id,
            'times': pair.times_bought
        } AS purchase
    FROM {{ asked_pairs() }}
),

listed AS (
    SELECT
        min(customer_id) AS customer_id,
        min(moment) AS moment,
        max(valid_from) AS valid_from,
        max(created_at) AS created_at,
        list_slice(list_sort(list(purchase)), 1, {{ recent_articles }}) AS purchases
    FROM bought
    GROUP BY number
),

final AS (
    SELECT
        customer_id,
        moment,
        valid_from,
        created_at,
        list_transform(purchases, lambda p: p.article_id) AS recent_articles,
        list_transform(purchases, lambda p: CAST(-p.day AS BIGINT)) AS recent_days,
        list_transform(purchases, lambda p: p.times) AS recent_times,
        list_transform(purchases, lambda p: -p.weight) AS recent_weights
    FROM listed
)

SELECT * FROM final
