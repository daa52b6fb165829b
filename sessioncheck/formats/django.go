package formats

import "time"

// django is django.contrib.sessions.backends.cache on Django's own RedisCache or on
// django-redis. Django renews a session only when it was changed, so renewal is off
// unless asked for, as with SESSION_SAVE_EVERY_REQUEST.
func django() *Format {
	return &Format{
		Name: "django", Key: ":1:django.contrib.sessions.cache{id}", Cookies: []string{"sessionid"},
		TTL: 14 * 24 * time.Hour, User: "_auth_user_id", Login: []string{"_auth_user_id"},
		Stored: "a pickled dict of str, int, float, bool, None, list and tuple, of at most 64 KiB", Decode: pickle,
		verifier: func([]string, string) (Verifier, error) { return newPlain(32, 40, digits+lower), nil },
	}
}
