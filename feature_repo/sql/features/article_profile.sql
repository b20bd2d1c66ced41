-- article_profile: one row per article, without history: the files give no dates for attributes.
SELECT
    article_id,
    CAST('1970-01-01' AS TIMESTAMP) AS valid_from,
    left(md5(article_id), 16) AS article_hash
    {%- for column in raw_tables.articles.columns if column.name != "article_id" %},
    {% if column.type == "INTEGER" %}CAST({{ column.name }} AS BIGINT) AS {{ column.name }}{% else %}{{ column.name }}{% endif %}
    {%- endfor %}
    {%- for column in content %},
    {{ column }}
    {%- endfor %}
FROM staging.articles
