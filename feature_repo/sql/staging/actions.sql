-- actions: one row per customer, moment, kind and article: what a customer did with an article on a
-- page or in an app. Impressions are no actions, for a page makes dozens at once. An action that was
-- told more than once, of other places or requests, is one, and known from the first time on.
{%- if scoped %}
-- Only those that have been told of since, and that are not there.
{%- endif %}
WITH actions AS (
    SELECT
        customer_id,
        CAST(event_time AS TIMESTAMP) AS event_time,
        kind,
        article_id,
        CAST(min(known_at) AS TIMESTAMP) AS known_at
    FROM raw.interactions
    WHERE kind <> 'impression'
    {%- if scoped %}
        AND known_at > (SELECT coalesce(max(known_at), TIMESTAMP '1900-01-01') FROM staging.actions)
    {%- endif %}
    {%- if part %}
        AND {{ part }}
    {%- endif %}
    GROUP BY customer_id, event_time, kind, article_id
),

final AS (
    SELECT *
    FROM actions
    {%- if scoped %}
    ANTI JOIN staging.actions USING (customer_id, event_time, kind, article_id)
    {%- endif %}
)

SELECT * FROM final
