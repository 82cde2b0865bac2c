"""From one text to one result: prompt, chunks, requests, answer."""
