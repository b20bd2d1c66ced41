-- articles: one row per article, attributes as last delivered, and what its text and picture say.
SELECT
{%- for column in raw_tables.articles.column_names %}
    articles.{{ column }},
{%- endfor %}
{%- for column in content %}
    content.{{ column }}{{ "," if not loop.last }}
{%- endfor %}
FROM raw.articles AS articles
LEFT JOIN raw.article_content AS content ON articles.article_id = content.article_id
