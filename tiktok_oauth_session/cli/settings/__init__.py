"""What this user has set: the app's credentials and redirect URI, which TikTok, and where files go."""
