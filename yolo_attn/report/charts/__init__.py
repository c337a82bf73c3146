"""The charts of the page in SVG; colours are the page's own, for light, dark and print."""
