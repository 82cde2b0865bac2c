"""Hugging Face Hub: repositories, downloads, uploads and the local cache."""
