package formats

import "time"

// presence is for any other: that the key exists is all that counts.
func presence() *Format {
	return &Format{
		Name: "presence", Key: "session:{id}", Cookies: []string{"session_id"}, TTL: 7 * 24 * time.Hour,
		PresenceOnly: true, Stored: "a string", Decode: unread,
		verifier: func([]string, string) (Verifier, error) { return anyID(), nil },
	}
}

// scs (Go) writes gob, whose types only the program itself knows.
func scs() *Format {
	return &Format{
		Name: "scs", Key: "scs:session:{id}", Cookies: []string{"session"}, TTL: 24 * time.Hour,
		PresenceOnly: true, Stored: "a string", Decode: unread,
		verifier: func([]string, string) (Verifier, error) { return newPlain(43, 43, alnum+"-_"), nil },
	}
}

func unread(string) map[string]any { return map[string]any{} }
