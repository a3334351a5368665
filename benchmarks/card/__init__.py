"""The figures of the model card, docs/results/model_card.md: `python -m benchmarks.card`.

In: a network and labelled faces. Out: card.json and the page's tables. Start with `__main__.py`.
"""
