-- customer_recent: the articles that each customer in `asked` had last bought at a moment, newest
-- first, each once, at most {{ recent_articles }}. Exact at every moment. Nothing of it is kept:
-- it is read from features.customer_article when it is asked for. Days are counted since 1970-01-01.
WITH {{ known_when_asked("valid_from, created_at, article_id, times_bought, purchase_weight, CAST(last_bought AS DATE) AS last_day") }},

listed AS (
    SELECT
        number,
        max(valid_from) AS valid_from,
        max(created_at) AS created_at,
        -- In the order in which they are sorted: newest and heaviest first.
        list({
            'day': date_diff('day', last_day, CAST('1970-01-01' AS DATE)),
            'weight': -purchase_weight,
            'article_id': article_id,
            'times': times_bought
        }) AS articles
    FROM known
    GROUP BY number
),

ordered AS (
    SELECT
        number,
        valid_from,
        created_at,
        list_slice(list_sort(articles, 'ASC', 'NULLS LAST'), 1, {{ recent_articles }}) AS articles
    FROM listed
),

final AS (
    SELECT
        customer_id,
        moment,
        valid_from,
        created_at,
        list_transform(articles, lambda a: a.article_id) AS recent_articles,
        list_transform(articles, lambda a: CAST(-a.day AS BIGINT)) AS recent_days,
        list_transform(articles, lambda a: a.times) AS recent_times,
        list_transform(articles, lambda a: -a.weight) AS recent_weights
    FROM ordered
    INNER JOIN numbered USING (number)
)

SELECT * FROM final
