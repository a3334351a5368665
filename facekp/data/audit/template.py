"""The page of the contact sheet, a jinja2 template."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Audit of {{ root }}</title>
<style>
:root { color-scheme: light dark; --line: #8884; --card: #8881; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 1680px; padding: 1.5rem; }
h1 { font-size: 1.4rem; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { border-top: 1px solid var(--line); font-size: 1.1rem; margin: 2rem 0 .6rem; padding-top: 1rem; }
h2 small, .quiet { font-weight: normal; opacity: .7; }
nav { display: flex; flex-wrap: wrap; gap: .4rem .6rem; margin: 1rem 0; }
nav a, .mark { border: 1px solid var(--line); border-radius: 1rem; color: inherit; padding: .1rem .7rem; }
nav a { text-decoration: none; }
.mark { font-size: .8rem; padding: 0 .5rem; }
.warn { background: #d33; border-color: #d33; color: #fff; }
.legend { display: flex; flex-wrap: wrap; font-size: .85rem; gap: .1rem .9rem; }
.legend i { border-radius: 2px; display: inline-block; height: .7rem; margin-right: .3rem; width: .7rem; }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; }
figure { background: var(--card); border-radius: 6px; margin: 0; overflow: hidden; width: {{ 2 * side }}px; }
figure.wide { width: {{ 4 * side }}px; }
figure img, figure div { display: block; height: auto; max-width: 100%; }
figure div { padding: 2rem; text-align: center; }
figcaption { overflow-wrap: anywhere; padding: .4rem .6rem .6rem; }
</style>
</head>
<body>
<h1>Audit of {{ root }}</h1>
<p class="quiet">{{ images }} images. With data.exclude and audit.csv as it was written, {{ left_out }} training images
are left out.
Each picture: the photo, and its label over it. l_ is the person's own left, on the right of the picture.</p>
<div class="legend">
{% for name, colour in legend %}
<span><i style="background: {{ colour }}"></i>{{ name }}</span>
{% endfor %}
</div>
<nav>
{% for section in sections %}
<a href="#{{ section.name }}">{{ section.name }} {{ section.total }}</a>
{% else %}
<p>Nothing was found.</p>
{% endfor %}
</nav>
{% for section in sections %}
<h2 id="{{ section.name }}">{{ section.name }}: {{ section.title }}
<small>{{ section.total }}
{% if section.total > section.cards|length %}
, the first {{ section.cards|length }} shown
{% endif %}
</small></h2>
<div class="cards">
{% for card in section.cards %}
{% set found = card.finding %}
<figure{% if found.other_id %} class="wide"{% endif %}>
{% if card.picture %}
<img alt="{{ found.id }}: {{ found.detail }}" loading="lazy" src="data:image/jpeg;base64,{{ card.picture }}">
{% else %}
<div class="quiet">no picture</div>
{% endif %}
<figcaption><b>{{ found.id }}</b> {{ found.split }}
{% if found.other_id %}and <b>{{ found.other_id }}</b> {{ found.other_split }}{% endif %}
{% if found.crosses %}<span class="mark warn">crosses the split</span>{% endif %}
{% if found.excluded %}<span class="mark">left out</span>{% endif %}
<br>{{ found.detail }}{% if found.score < 1 %} <span class="quiet">({{ "%.2f"|format(found.score) }})</span>{% endif %}
</figcaption>
</figure>
{% endfor %}
</div>
{% endfor %}
</body>
</html>
"""
