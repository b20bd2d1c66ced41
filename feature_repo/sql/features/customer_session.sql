-- customer_session: what each customer in `asked` had last done at a moment, newest first, at most
-- {{ session_events }} actions; those of one moment stand in the order of kind and article, from z to a. Exact at
-- every moment. Nothing of it is kept: it is read from staging.actions when it is asked for. Moments
-- are counted in microseconds since 1970-01-01 UTC.
WITH {{ known_when_asked("event_time, kind, article_id, known_at") }},

listed AS (
    SELECT
        number,
        max(event_time) AS valid_from,
        max(known_at) AS created_at,
        -- In the order in which they are sorted.
        max({'event_time': event_time, 'kind': kind, 'article_id': article_id}, {{ session_events }}) AS events
    FROM known
    GROUP BY number
),

final AS (
    SELECT
        customer_id,
        moment,
        valid_from,
        created_at,
        list_transform(events, lambda e: e.article_id) AS session_articles,
        list_transform(events, lambda e: e.kind) AS session_kinds,
        list_transform(events, lambda e: epoch_us(e.event_time)) AS session_moments
    FROM listed
    INNER JOIN numbered USING (number)
)

SELECT * FROM final
