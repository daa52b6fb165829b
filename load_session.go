package pillion

import "github.com/pillion-proxy/pillion/sessioncheck"

// sessionDefaults gives the keys of session that the user has not set the defaults of
// the format that the user has set.
func (l *loader) sessionDefaults() {
	s, d := &l.cfg.Session, sessioncheck.DefaultFor(l.cfg.Session.Format)
	for key, apply := range map[string]func(){
		"sources":  func() { s.Sources = d.Sources },
		"key":      func() { s.Key = d.Key },
		"ttl":      func() { s.TTL = d.TTL },
		"sliding":  func() { s.Sliding = d.Sliding },
		"identity": func() { s.Identity = d.Identity },
		"user":     func() { s.User = d.User },
		"login":    func() { s.Login = d.Login },
	} {
		if !l.isSet("session." + key) {
			apply()
		}
	}
}

// isSet says whether the file or a variable sets the key, even if to its default.
func (l *loader) isSet(key string) bool {
	_, env := l.fromEnv[key]
	_, file := l.yaml.Positions[key]
	return env || file
}
