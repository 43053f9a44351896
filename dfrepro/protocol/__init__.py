"""One network under many protocols: what a printed number owes to how it was measured.

- `declared`: protocols.yaml, checked
- `views`: how a face is cut, resized and compressed under one; `sources`: where its pixels come from
- `scoring`: the network on faces, each once a view whatever number of protocols asks
- `measure`: the metric of a protocol on test sets, with intervals; differences, spread, the nearest to a printed value
"""
