"""What every HTTP face shares: client address, cookies, CSRF, problem documents."""
