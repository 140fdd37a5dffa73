"""A Django site that people log in to with TikTok."""
