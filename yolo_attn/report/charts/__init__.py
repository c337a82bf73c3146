"""The charts of the page, as SVG: text stays text, and colours are the page's own, for light, dark and print."""
