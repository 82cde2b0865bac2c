"""The HTML page that shows extracted values in their texts."""
